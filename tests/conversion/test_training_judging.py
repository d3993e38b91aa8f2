"""When a trained detector is refused, and how it is measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.paths import CATALOG, MODELS

pytest.importorskip("pycocotools", reason="pycocotools comes with the extra 'conversion'")

from handlens.errors import TrainingDataError
from handlens.vision.detector import Detector
from handlens.vision.image import read_size
from handlens_conversion.detector_metrics import OperatingPoint, Precision
from handlens_conversion.training.judging import Judgement, Shown, guard_of, judge
from handlens_conversion.training.records import BoxedPhoto, TrainingOptions

OPTIONS = TrainingOptions(least_ap50=0.1, most_map_lost=0.01, most_shown_lost=0.02)
GOOD = Judgement(
    new=Precision(0.3, 0.6, None, None, 0.3, 0.5, {"windmill": 0.3}),
    new_shown=OperatingPoint(0.25, 0.7, 0.7, 1.0),
    held_out=10,
    guard_photos=10,
    own_guard=False,
    old_map=(0.3, 0.295),
    old_ap50=(0.5, 0.49),
    shown=(Shown(0.7, 0.5, 3.0), Shown(0.69, 0.49, 3.1)),
)


def photo(name: str, *boxes: tuple[float, ...], label: str = "bus") -> BoxedPhoto:
    file: Path = CATALOG / "images" / name
    return BoxedPhoto(file, read_size(file), np.array(boxes).reshape(-1, 4), (label,) * len(boxes), np.zeros((0, 4)))


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.open(MODELS / "detector", threads=1)


def test_what_is_within_the_limits_may_be_used() -> None:
    assert GOOD.reasons(OPTIONS) == ()


@pytest.mark.parametrize(
    ("worse", "said"),
    [
        (replace(GOOD, old_map=(0.3, 0.289)), "mAP of the old labels on the guard photos 0.300 -> 0.289"),
        (replace(GOOD, shown=(GOOD.shown[0], Shown(0.67, 0.5, 4.0))), "precision of the boxes shown"),
        (replace(GOOD, shown=(GOOD.shown[0], Shown(0.7, 0.47, 3.0))), "recall of the boxes shown"),
        (replace(GOOD, new=replace(GOOD.new, ap50=0.09)), "AP50 of the new labels on photos held out 0.090"),
    ],
    ids=["map", "precision", "recall", "ap50"],
)
def test_each_limit_is_a_reason_with_its_figures(worse: Judgement, said: str) -> None:
    (reason,) = worse.reasons(OPTIONS)
    assert said in reason


def test_without_guard_photos_new_boxes_are_not_false_alarms() -> None:
    drowned = replace(GOOD, shown=(Shown(1.0, 1.0, 1.0), Shown(0.5, 1.0, 2.0)))
    assert drowned.reasons(OPTIONS)
    assert not replace(drowned, own_guard=True).reasons(OPTIONS)


def test_a_detector_is_as_good_as_itself(detector: Detector) -> None:
    photos = [photo("bus-1.jpg", (0.05, 0.1, 0.95, 0.9)), photo("cow-1.jpg")]
    found = judge(
        detector, detector, labels=("bus",), held_out=photos, guard=guard_of(detector, photos), progress=False
    )
    assert found.old_map[0] == found.old_map[1]
    assert found.shown[0] == found.shown[1]
    assert found.new.ap50 > 0.9


def test_the_guard_is_what_the_old_detector_shows(detector: Detector) -> None:
    (guarded,) = guard_of(detector, [photo("cow-1.jpg")])
    assert "cow" in guarded.labels
    assert len(guarded.boxes) == len(guarded.labels)


def test_photos_in_which_it_shows_nothing_cannot_guard(detector: Detector) -> None:
    with pytest.raises(TrainingDataError, match="--guard"):
        guard_of(detector, [])
