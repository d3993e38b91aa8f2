"""The committed models are what the documented command makes from the published packages.

Quantization calibrates with floating-point arithmetic, which may differ between processors in the last bit: the rebuilt
model must answer as the committed one does, not be it byte for byte.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support.paths import MODELS, QUERIES, ROOT

from handlens.vision.detector import Detector
from handlens.vision.embedder import Embedder
from handlens.vision.image import load_photo
from handlens_conversion.cli import main

pytest.importorskip("torch", reason="needs the conversion extra; scripts/test all installs it")
pytestmark = pytest.mark.heavy

PHOTOS = [QUERIES / "images" / name for name in ("horses.jpg", "taj-mahal.jpg", "giraffes.jpg", "scissors.jpg")]


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("npm") is None:
        pytest.skip("the detector's source is an npm package: install npm")
    out = tmp_path_factory.mktemp("rebuilt") / "models"
    for kind, needed in (("detector", ("calibration.json",)), ("embedder", ("calibration.json", "head.npz"))):
        (out / kind).mkdir(parents=True)
        for name in needed:
            shutil.copy(MODELS / kind / name, out / kind / name)
    done = CliRunner().invoke(main, ["models", "build", "all", "--out", str(out), "--photos", str(ROOT), "--quiet"])
    assert done.exit_code == 0, done.output
    return out


def test_the_rebuilt_detector_finds_what_the_committed_one_finds(rebuilt: Path) -> None:
    for photo in map(load_photo, PHOTOS):
        first, second = (Detector.open(folder / "detector", threads=2).detect(photo) for folder in (MODELS, rebuilt))
        assert [found.label for found in first[:2]] == [found.label for found in second[:2]]
        assert all(a.box.iou(b.box) > 0.9 for a, b in zip(first[:2], second[:2], strict=True))


def test_the_rebuilt_embedder_sees_as_the_committed_one_does(rebuilt: Path) -> None:
    for photo in map(load_photo, PHOTOS):
        first, second = (Embedder.open(folder / "embedder", threads=2).embed(photo) for folder in (MODELS, rebuilt))
        assert float(np.dot(first.vectors[0], second.vectors[0])) > 0.995
        assert first.label_scores[0][0][0] == second.label_scores[0][0][0]
