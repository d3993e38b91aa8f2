"""Average precision on photos drawn again is COCO's, of those photos."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from support.paths import ROOT

from handlens.geometry import Box
from handlens.vision.detector import Detection

pytest.importorskip("pycocotools", reason="pycocotools comes with the extra 'conversion'")

from handlens_conversion.detector_metrics import ScoredPhoto, Truth, average_precision

sys.path.append(str(ROOT / "benchmarks"))
from resampled import Matches

LABELS = ("cup", "dog", "sign")


def photos(seed: int, count: int = 12) -> list[ScoredPhoto]:
    """Objects, and detections near them, beside them and of other labels."""
    random = np.random.default_rng(seed)

    def box(near: Box | None = None, off: float = 0.04) -> Box:
        if near is None:
            left, top, width, height = random.uniform([0, 0, 0.1, 0.1], [0.6, 0.6, 0.3, 0.3])
            return Box(left, top, left + width, top + height)
        moved = Box.clipped(*(edge + random.normal(0, off) for edge in near.edges))
        return moved or near

    found = []
    for _ in range(count):
        truths = [Truth(box(), LABELS[random.integers(2)]) for _ in range(random.integers(4))]
        seen = [Detection(box(truth.box), truth.label, float(random.random())) for truth in truths for _ in range(2)]
        seen += [Detection(box(), LABELS[random.integers(3)], float(random.random())) for _ in range(3)]
        found.append(ScoredPhoto((640, 480), tuple(truths), tuple(seen)))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_every_photo_once_is_the_usual_figure(seed: int) -> None:
    scored = photos(seed)
    precision, expected = Matches(scored, LABELS).precision(np.ones(12)), average_precision(scored, labels=LABELS)
    assert precision == pytest.approx({"ap50": expected.ap50, "map": expected.map}, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_a_photo_drawn_twice_counts_twice_and_one_not_drawn_is_not_there(seed: int) -> None:
    scored = photos(seed)
    drawn = np.random.default_rng(seed).integers(0, 12, 12)
    weights = np.bincount(drawn, minlength=12).astype(float)
    expected = average_precision([scored[at] for at in drawn], labels=LABELS)
    # Of equal scores, which copies of a photo have, the reference counts one after the other: a little more or less.
    precision = Matches(scored, LABELS).precision(weights)
    assert precision == pytest.approx({"ap50": expected.ap50, "map": expected.map}, abs=0.03)
