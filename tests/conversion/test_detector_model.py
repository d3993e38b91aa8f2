"""The detector as it is shipped: its files agree with each other, and it finds what is in the demo's photos."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.paths import MODELS

from handlens.vision.detector import Detector
from handlens_conversion.calibration import check_list, load_list
from handlens_conversion.detector_labels import COCO_LABELS

FOLDER = MODELS / "detector"
ROOT = MODELS.parent
LARGEST = 3_000_000  # bytes
CLOSE = 0.005  # mAP that quantization may cost


def record(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / name).read_bytes())
    return content


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.open(FOLDER, threads=1)


def test_model_json_names_the_file_it_stands_beside(detector: Detector) -> None:
    content = (FOLDER / detector.spec.file).read_bytes()
    assert detector.spec.sha256 == hashlib.sha256(content).hexdigest()
    assert detector.spec.size == len(content) <= LARGEST


def test_its_labels_are_cocos_in_cocos_order(detector: Detector) -> None:
    assert detector.spec.labels == COCO_LABELS
    assert len(set(COCO_LABELS)) == 80


def test_the_figures_were_measured_on_this_very_model(detector: Detector) -> None:
    assert record("parity.json")["sha256"] == detector.spec.sha256


def test_quantization_costs_at_most_what_was_promised() -> None:
    maps = {(row["model"], row["runtime"]): row["precision"]["map"] for row in record("parity.json")["quality"]}
    for (model, runtime), value in maps.items():
        if model == "quantized":
            assert value >= maps["float parent", runtime] - CLOSE


def test_the_card_gives_the_measured_figures(detector: Detector) -> None:
    card = (FOLDER / "CARD.md").read_text(encoding="utf-8")
    first = record("parity.json")["quality"][0]
    assert f"| {first['precision']['map']:.3f} | {first['precision']['ap50']:.3f} |" in card
    assert str(detector.spec.decode["min_score"]) in card


def test_the_calibration_photographs_are_in_the_repository_unchanged() -> None:
    assert len(check_list(load_list(FOLDER / "calibration.json"), root=ROOT)) >= 100


def test_the_recipe_names_the_calibration_list_and_the_parent() -> None:
    recipe = record("recipe.json")
    assert recipe["calibration"]["list"] == "calibration.json"
    assert len(recipe["parent_sha256"]) == 64


def test_an_empty_picture_holds_no_object(detector: Detector) -> None:
    from handlens.vision.image import load_photo

    grey = load_photo(np.full((320, 320, 3), 128, np.uint8))
    assert detector.detect(grey) == ()


def test_boxes_come_out_inside_the_photo_best_first(detector: Detector) -> None:
    from handlens.vision.image import load_photo

    photos = sorted(Path(ROOT / "demo" / "queries").rglob("*.jpg"))[:4]
    for photo in photos:
        found = detector.detect(load_photo(photo), min_score=0.05)
        scores = [detection.score for detection in found]
        assert scores == sorted(scores, reverse=True)
