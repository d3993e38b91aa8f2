"""Cleaning: what is taken out before boxes are compared, one rule a function.

Rules:

1. Each function takes boxes and gives those that stay with a `Reject` for each that does not; what stays is in the
   order of `event_id`, so the same boxes give the same answer in any order, and cleaning twice is cleaning once.
2. A choice among many (caps) is by a hash of `event_id`: every event has the same chance, and the n least hashes of a
   union are among the n least of its parts, so that a cluster can cap each part first.
3. One user counts once for one object: of boxes that overlap, the last drawn stays, as it corrects the others.

::

    kept, rejects = clean_photo(boxes, CleaningSettings())
"""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from handlens_conversion.boxes.drawn import DrawnBox, Edges
from handlens_conversion.boxes.reasons import Reject, RejectReason

__all__ = [
    "CleaningSettings",
    "Cleaned",
    "clean_photo",
    "drop_repeats",
    "fault_of",
    "keep_fewest",
    "overlap",
    "rank_of",
]


@dataclass(frozen=True, slots=True)
class CleaningSettings:
    """How much of a mess is let through; sizes are fractions of the photo."""

    min_side: float = 0.01  # the shorter side; thinner is a slip
    min_area: float = 0.0003
    whole_margin: float = 0.005  # a box whose four edges are this near to the photo's is lazy
    repeat_iou: float = 0.5  # two boxes of one user above this are of one object
    per_user: int = 2000  # boxes of one user in all
    per_user_photo: int = 60  # boxes of one user on one photo
    per_photo: int = 400  # boxes of one photo


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What stays, in the order of `event_id`, and a reject for each box that does not."""

    kept: tuple[DrawnBox, ...]
    rejects: tuple[Reject, ...]


_SETTINGS = CleaningSettings()


def clean_photo(boxes: Sequence[DrawnBox], settings: CleaningSettings = _SETTINGS) -> Cleaned:
    """All rules for the boxes of one photo (`per_user`, which is about all photos, is `keep_fewest`'s)."""
    rejects: list[Reject] = []
    sound: list[DrawnBox] = []
    for drawn in boxes:
        fault = fault_of(drawn.box, settings)
        if fault is None:
            sound.append(drawn)
        else:
            rejects.append(_reject(fault, drawn))
    by_user: dict[str, list[DrawnBox]] = defaultdict(list)
    for drawn in sound:
        by_user[drawn.user].append(drawn)
    once: list[DrawnBox] = []
    for mine in by_user.values():
        if len(mine) == 1 <= settings.per_user_photo:  # most users; neither rule can hold for one box
            once.append(mine[0])
            continue
        capped = keep_fewest(mine, settings.per_user_photo, RejectReason.OVER_USER_CAP)
        lasting = drop_repeats(capped.kept, settings)
        once.extend(lasting.kept)
        rejects.extend(capped.rejects + lasting.rejects)
    capped = keep_fewest(once, settings.per_photo, RejectReason.OVER_PHOTO_CAP)
    return Cleaned(capped.kept, tuple(rejects) + capped.rejects)


def fault_of(box: Edges, settings: CleaningSettings = _SETTINGS) -> RejectReason | None:
    """What is wrong with the shape of a box: `DEGENERATE`, `WHOLE_PHOTO` or nothing."""
    x_min, y_min, x_max, y_max = box
    width, height = x_max - x_min, y_max - y_min
    if min(width, height) < settings.min_side or width * height < settings.min_area:
        return RejectReason.DEGENERATE
    if max(x_min, y_min, 1 - x_max, 1 - y_max) <= settings.whole_margin:
        return RejectReason.WHOLE_PHOTO
    return None


def drop_repeats(boxes: Iterable[DrawnBox], settings: CleaningSettings = _SETTINGS) -> Cleaned:
    """Of the boxes of one user on one photo, the last of each object."""
    kept: list[DrawnBox] = []
    rejects: list[Reject] = []
    for drawn in sorted(boxes, key=lambda one: (-one.at, one.event_id)):
        if any(overlap(drawn.box, later.box) > settings.repeat_iou for later in kept):
            rejects.append(_reject(RejectReason.REPEAT, drawn))
        else:
            kept.append(drawn)
    return Cleaned(_ordered(kept), tuple(rejects))


def keep_fewest(boxes: Iterable[DrawnBox], most: int, reason: RejectReason) -> Cleaned:
    """At most `most` boxes, those of least `rank_of`; the others are rejected for `reason`."""
    listed = list(boxes)
    if len(listed) <= most:
        return Cleaned(_ordered(listed), ())
    kept = heapq.nsmallest(most, listed, key=lambda one: (rank_of(one.event_id), one.event_id))
    chosen = {one.event_id for one in kept}
    return Cleaned(_ordered(kept), tuple(_reject(reason, one) for one in listed if one.event_id not in chosen))


def rank_of(event_id: str) -> int:
    """A number from 0 to 2^63 - 1 that a hash gives to an event, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(event_id.encode(), digest_size=8).digest(), "big") >> 1


def overlap(first: Edges, second: Edges) -> float:
    """Intersection over union of two boxes."""
    across = min(first[2], second[2]) - max(first[0], second[0])
    down = min(first[3], second[3]) - max(first[1], second[1])
    if across <= 0 or down <= 0:
        return 0.0
    shared = across * down
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / (areas[0] + areas[1] - shared)


def _ordered(boxes: Iterable[DrawnBox]) -> tuple[DrawnBox, ...]:
    return tuple(sorted(boxes, key=lambda one: one.event_id))


def _reject(reason: RejectReason, drawn: DrawnBox) -> Reject:
    return Reject(reason, f"event {drawn.event_id}: box={list(drawn.box)!r}")
