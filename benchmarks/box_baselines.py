"""Other ways to make objects of the boxes of one photo, to measure `handlens_conversion.boxes.consensus` beside.

All but Weighted Boxes Fusion take the same greedy clusters (the box that most others overlap by `GREEDY_IOU`, with
those others; then the next) and differ in the box that they make of a cluster. Every one wants `k` different users.

* `mean`, `median` of the edges: each edge alone.
* `best`: the user's box with the largest mean IoU with the others of its cluster (the medoid).
* `fusion`: Weighted Boxes Fusion (Solovyev, Wang, Gabruseva, "Weighted boxes fusion: Ensembling boxes from different
  object detection models", Image and Vision Computing, 2021), each user a model of score 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handlens_conversion.boxes.drawn import DrawnBox
from handlens_conversion.boxes.labels import normal_word

__all__ = ["BASELINES", "Found", "fused", "most_said"]

GREEDY_IOU = 0.6  # of 0.4, 0.5, 0.6 and 0.7 the one at which the median is best
FUSION_IOU = 0.55  # the default of the authors' library

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Found:
    """An object: its box (4,), its word (empty: none said) and how many users drew it."""

    box: Floats
    word: str
    users: int


def _clusters(boxes: Sequence[DrawnBox], k: int) -> list[list[int]]:
    edges = np.array([drawn.box for drawn in boxes])
    overlap = iou(edges, edges) > GREEDY_IOU
    left = np.ones(len(boxes), dtype=np.bool_)
    clusters = []
    while left.any():
        first = int(np.argmax(np.where(left, (overlap & left).sum(axis=1), -1)))
        mine = np.flatnonzero(overlap[first] & left)
        left[mine] = False
        left[first] = False
        if len({boxes[row].user for row in mine.tolist()}) >= k:
            clusters.append(mine.tolist())
    return clusters


def _by_cluster(make: Callable[[Floats], Floats]) -> Callable[[Sequence[DrawnBox], int], list[Found]]:
    def method(boxes: Sequence[DrawnBox], k: int) -> list[Found]:
        ordered = sorted(boxes, key=lambda one: one.event_id)
        return [
            Found(
                make(np.array([ordered[row].box for row in rows])),
                most_said([ordered[row].words for row in rows]),
                len({ordered[row].user for row in rows}),
            )
            for rows in (_clusters(ordered, k) if len(ordered) >= k else [])
        ]

    return method


def _medoid(edges: Floats) -> Floats:
    return edges[iou(edges, edges).mean(axis=1).argmax()]


def fused(edges: Floats, threshold: float = FUSION_IOU) -> tuple[Floats, list[list[int]]]:
    """Weighted Boxes Fusion of boxes of score 1, (n, 4): the fused boxes (m, 4) and the rows that each is made of.

    Each box joins the fused box that it overlaps most, above the threshold, and moves it to the mean of its members.
    """
    means: list[Floats] = []
    members: list[list[int]] = []
    for row, box in enumerate(edges):
        overlaps = iou(box[None], np.array(means))[0] if means else np.zeros(0)
        if len(overlaps) and overlaps.max() > threshold:
            at = int(overlaps.argmax())
            members[at].append(row)
            means[at] = edges[members[at]].mean(axis=0)
        else:
            members.append([row])
            means.append(box)
    return np.array(means).reshape(-1, 4), members


def _fusion(boxes: Sequence[DrawnBox], k: int) -> list[Found]:
    ordered = sorted(boxes, key=lambda one: one.event_id)
    means, members = fused(np.array([drawn.box for drawn in ordered]).reshape(-1, 4))
    return [
        Found(box, most_said([ordered[row].words for row in rows]), users)
        for box, rows in zip(means, members, strict=True)
        if (users := len({ordered[row].user for row in rows})) >= k
    ]


BASELINES: dict[str, Callable[[Sequence[DrawnBox], int], list[Found]]] = {
    "mean": _by_cluster(lambda edges: edges.mean(axis=0)),
    "median": _by_cluster(lambda edges: np.median(edges, axis=0)),
    "single best user": _by_cluster(_medoid),
    "weighted boxes fusion": _fusion,
}


def most_said(words: Sequence[str | None]) -> str:
    """The word that most users said; the first of the alphabet where there are several."""
    said = Counter(normal_word(one) for one in words if one)
    return min(said, key=lambda word: (-said[word], word)) if said else ""


def iou(first: Floats, second: Floats) -> Floats:
    """Intersection over union, (n, 4) and (m, 4) -> (n, m)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    area = [(edges[:, 2:] - edges[:, :2]).prod(axis=1) for edges in (first, second)]
    return np.asarray(shared / (area[0][:, None] + area[1][None] - shared))
