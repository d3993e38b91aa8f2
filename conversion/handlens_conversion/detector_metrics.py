"""How good detections are: COCO's average precision, and precision and recall at a score.

Average precision is computed by pycocotools, the reference of the COCO challenge, so figures compare with published
ones. Photos and boxes come in and numbers go out; nothing here reads a file or runs a model.

Use::

    quality = average_precision([ScoredPhoto((640, 480), truths, detections)], labels=("person", "bicycle"))
    quality.map, quality.ap50
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from handlens.geometry import Box
from handlens.vision.detector import Detection

__all__ = ["OperatingPoint", "Precision", "ScoredPhoto", "Truth", "average_precision", "operating_point"]

MAX_DETECTIONS = 100  # a photo, as COCO's rules say


@dataclass(frozen=True, slots=True)
class Truth:
    """One annotated object."""

    box: Box
    label: str


@dataclass(frozen=True, slots=True)
class ScoredPhoto:
    """A photo's (width, height) in pixels, what is in it, and what a detector found."""

    size: tuple[int, int]
    truths: tuple[Truth, ...]
    detections: tuple[Detection, ...]


@dataclass(frozen=True, slots=True)
class Precision:
    """COCO's figures, 0..1: `map` over IoU 0.50 to 0.95, `ap50` at IoU 0.50, and `map` by object size in pixels.

    Sizes with no object have None. `by_label` holds the labels that occur among the truths.
    """

    map: float
    ap50: float
    small: float | None
    medium: float | None
    large: float | None
    recall100: float
    by_label: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What a user sees at one score threshold: a detection is right when label fits and IoU is at least 0.5."""

    min_score: float
    precision: float
    recall: float
    per_photo: float


def average_precision(photos: Sequence[ScoredPhoto], *, labels: Sequence[str]) -> Precision:
    """Return COCO's average precision of the detections in `photos`, at most 100 a photo.

    Raises:
        ValueError: no photo has an annotated object, or a label is not in `labels`.
    """
    if not any(photo.truths for photo in photos):
        raise ValueError("no photo has an annotated object: average precision is not defined")
    numbers = {label: number for number, label in enumerate(labels, start=1)}
    # pycocotools reports its progress on standard output.
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = _coco_evaluation(photos, numbers)
    return _read(evaluation, labels)


def operating_point(photos: Sequence[ScoredPhoto], *, min_score: float, same_label: bool = True) -> OperatingPoint:
    """Return precision and recall of the detections that score at least `min_score`.

    Each truth is found at most once, by the best-scoring detection that fits it. With `same_label` False any label
    fits: what matters to a search that only cuts the box out.
    """
    hits = shown = objects = 0
    for photo in photos:
        detections = [found for found in photo.detections if found.score >= min_score]
        hits += _hits(photo.truths, detections, same_label)
        shown, objects = shown + len(detections), objects + len(photo.truths)
    return OperatingPoint(
        min_score, hits / shown if shown else 1.0, hits / max(objects, 1), shown / max(len(photos), 1)
    )


def _hits(truths: Sequence[Truth], detections: Sequence[Detection], same_label: bool) -> int:
    left = list(truths)
    for found in sorted(detections, key=lambda detection: -detection.score):
        fitting = [truth for truth in left if truth.label == found.label or not same_label]
        best = max(fitting, key=lambda truth: found.box.iou(truth.box), default=None)
        if best is not None and found.box.iou(best.box) >= 0.5:
            left.remove(best)
    return len(truths) - len(left)


def _coco_evaluation(photos: Sequence[ScoredPhoto], numbers: Mapping[str, int]) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, found = COCO(), COCO()
    for side, rows in ((truth, _truth_rows(photos, numbers)), (found, _found_rows(photos, numbers))):
        side.dataset = {
            "images": [{"id": number} for number in range(1, len(photos) + 1)],
            "categories": [{"id": number} for number in numbers.values()],
            "annotations": [{**row, "id": number} for number, row in enumerate(rows, start=1)],
        }
        side.createIndex()
    evaluation = COCOeval(truth, found, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def _truth_rows(photos: Sequence[ScoredPhoto], numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    return [
        {
            **_box_row(truth.box, photo.size),
            "image_id": number,
            "category_id": _number(numbers, truth.label),
            "iscrowd": 0,
        }
        for number, photo in enumerate(photos, start=1)
        for truth in photo.truths
    ]


def _found_rows(photos: Sequence[ScoredPhoto], numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    return [
        {
            **_box_row(found.box, photo.size),
            "image_id": number,
            "category_id": _number(numbers, found.label),
            "iscrowd": 0,
            "score": found.score,
        }
        for number, photo in enumerate(photos, start=1)
        for found in sorted(photo.detections, key=lambda detection: -detection.score)[:MAX_DETECTIONS]
    ]


def _number(numbers: Mapping[str, int], label: str) -> int:
    if label not in numbers:
        raise ValueError(f"the label {label!r} is not among the model's {len(numbers)} labels")
    return numbers[label]


def _box_row(box: Box, size: tuple[int, int]) -> dict[str, Any]:
    width, height = (box.x_max - box.x_min) * size[0], (box.y_max - box.y_min) * size[1]
    return {"bbox": [box.x_min * size[0], box.y_min * size[1], width, height], "area": width * height}


def _read(evaluation: Any, labels: Sequence[str]) -> Precision:
    stats = [float(value) for value in evaluation.stats]
    # (IoU thresholds, recall steps, labels, all sizes, at most 100 detections); -1 where a label has no truth.
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    present = [number for number in range(len(labels)) if np.any(precision[:, :, number] > -1)]
    return Precision(
        map=stats[0],
        ap50=stats[1],
        small=_known(stats[3]),
        medium=_known(stats[4]),
        large=_known(stats[5]),
        recall100=stats[8],
        by_label={labels[number]: float(precision[:, :, number].mean()) for number in present},
    )


def _known(value: float) -> float | None:
    return None if value < 0 else value
