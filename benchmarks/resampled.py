"""Average precision of the same detections on photos drawn again and again, for a bootstrap.

Detections are matched with the truth once (COCO's rule: best score first, each to the best free object of its label),
so a draw costs sums. With every photo once the figures are those of `detector_metrics.average_precision`.
"""

from __future__ import annotations

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)


class Matches:
    """What was found right on each photo."""

    def __init__(self, scored, labels):
        self.photos = len(scored)
        self._labels = [_Label(scored, label) for label in labels]

    def precision(self, weights):
        """AP50 and mAP with each photo counted `weights` (photos,) times; labels without a truth are left out."""
        values = [label.precision(weights) for label in self._labels if label.objects @ weights > 0]
        by_threshold = np.mean(values, axis=0)
        return {"ap50": float(by_threshold[0]), "map": float(by_threshold.mean())}


class _Label:
    def __init__(self, scored, label):
        self.objects = np.array([sum(truth.label == label for truth in photo.truths) for photo in scored], float)
        rows = [(found.score, number, hit) for number, photo in enumerate(scored) for found, hit in _hits(photo, label)]
        rows.sort(key=lambda row: -row[0])
        self._photo = np.array([number for _, number, _ in rows], int)
        self._hit = np.array([hit for *_, hit in rows], float).reshape(-1, len(THRESHOLDS))

    def precision(self, weights):
        counted = weights[self._photo][:, None]
        right = (counted * self._hit).cumsum(axis=0)
        shown = counted.cumsum(axis=0)
        precision = right / np.maximum(shown, 1e-12)
        # The best precision at this recall or a higher one.
        precision = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        recall = right / (self.objects @ weights)
        return np.array(
            [
                _at(precision[:, column], np.searchsorted(recall[:, column], RECALLS, side="left")).mean()
                for column in range(len(THRESHOLDS))
            ]
        )


def _at(precision, places):
    return np.append(precision, 0.0)[places]


def _hits(photo, label):
    """Each detection of the label with, for each threshold, whether it found an object."""
    truths = [truth.box for truth in photo.truths if truth.label == label]
    found = [one for one in sorted(photo.detections, key=lambda one: -one.score) if one.label == label]
    iou = np.array([[one.box.iou(box) for box in truths] for one in found]).reshape(len(found), len(truths))
    hits = np.zeros((len(found), len(THRESHOLDS)), bool)
    for column, threshold in enumerate(THRESHOLDS):
        free = np.ones(len(truths), bool)
        for row in range(len(found)):
            fitting = np.where(free, iou[row], 0.0)
            if len(truths) and fitting.max() >= threshold - 1e-10:
                free[fitting.argmax()] = False
                hits[row, column] = True
    return list(zip(found, hits, strict=True))
