"""The boxes of one photo -> its objects, each with a box, its uncertainty, and how far its users agree.

Rules:

1. A user counts once for an object, however many boxes they draw on it, and an object needs `min_users` different
   users: for privacy as much as for quality.
2. The answer is a function of the set of boxes: any order gives the same bytes. Edges are rounded to `Box.to_list`'s
   1/100,000 of the photo.
3. The time is bounded: of a photo with more than `max_boxes` boxes those of least `cleaning.rank_of` are looked at.

::

    for found in find_objects(boxes, ConsensusSettings()):
        print(found.box, found.uncertainty, found.agreement, found.users)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handlens_conversion.boxes.cleaning import keep_fewest
from handlens_conversion.boxes.drawn import DrawnBox, Edges
from handlens_conversion.boxes.reasons import RejectReason

__all__ = ["ConsensusObject", "ConsensusSettings", "Member", "find_objects"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ConsensusSettings:
    """How boxes become objects; lengths are shares of the object's own width and height."""

    min_users: int = 3
    spread: float = 0.06  # standard deviation of an edge that a careful user draws
    reach: float = 4.0  # a box is of an object when its four edges together are within this many deviations
    max_boxes: int = 400  # of one photo
    rounds: int = 5  # of assigning boxes and estimating objects


@dataclass(frozen=True, slots=True)
class Member:
    """One user's box of an object: `iou` with the consensus box, and the words it came with."""

    event_id: str
    user: str
    words: str | None
    iou: float


@dataclass(frozen=True, slots=True)
class ConsensusObject:
    """What several users drew.

    `box` and `uncertainty` (a standard error for each edge) are fractions of the photo. `agreement` is the share of the
    users who drew about here whose box fits. `members` has one box for each of `users` users, by event id.
    """

    photo: str
    box: Edges
    uncertainty: Edges
    agreement: float
    users: int
    members: tuple[Member, ...]


_SETTINGS = ConsensusSettings()


def find_objects(boxes: Sequence[DrawnBox], settings: ConsensusSettings = _SETTINGS) -> tuple[ConsensusObject, ...]:
    """The objects of one photo, from left to right."""
    if len({drawn.user for drawn in boxes}) < settings.min_users:
        return ()
    listed = keep_fewest(boxes, settings.max_boxes, RejectReason.OVER_PHOTO_CAP).kept
    edges = np.array([drawn.box for drawn in listed])
    codes = {user: code for code, user in enumerate(sorted({drawn.user for drawn in listed}))}
    users = np.array([codes[drawn.user] for drawn in listed])
    found = _seeds(edges, users, settings)
    for _ in range(settings.rounds):
        if not len(found):
            return ()
        owner, misfit = _assign(edges, users, found, settings)
        found = np.array(
            [
                np.average(edges[own], axis=0, weights=1 - misfit[own])
                for at in range(len(found))
                if (own := owner == at).any()
            ]
        )
    owner, _ = _assign(edges, users, found, settings)
    objects = [_object(listed, edges, np.flatnonzero(owner == at), box, settings) for at, box in enumerate(found)]
    return tuple(sorted((one for one in objects if one is not None), key=lambda one: one.box))


def _distances(first: Floats, second: Floats, spread: float) -> Floats:
    """Squared distances of boxes in deviations of a careful edge, (n, 4) and (m, 4) -> (n, m)."""
    size = (first[:, 2:] - first[:, :2])[:, None] + (second[:, 2:] - second[:, :2])[None]
    apart = (first[:, None] - second[None]) / (np.concatenate([size, size], axis=2) / 2)
    return np.asarray((apart * apart).sum(axis=2) / (spread * spread))


def _seeds(edges: Floats, users: NDArray[np.int64], settings: ConsensusSettings) -> Floats:
    """Boxes that more users are near to than to any box about them."""
    far = _distances(edges, edges, settings.spread) / (2 * settings.reach**2)
    near = np.maximum(1 - far, 0) ** 2
    own = users[:, None] == users[None]
    support = near @ (1 / (near * own).sum(axis=1))
    order = np.argsort(-support, kind="stable")
    taken: list[int] = []
    for row in order:
        if not taken or far[row, taken].min() > 0.5:
            taken.append(int(row))
    enough = [row for row in taken if len(set(users[near[row] > 0].tolist())) >= settings.min_users]
    return edges[enough]


def _assign(
    edges: Floats, users: NDArray[np.int64], found: Floats, settings: ConsensusSettings
) -> tuple[NDArray[np.int64], Floats]:
    """The object of each box (-1: none), one box a user and object; and its misfit, 0 (fits) to 1."""
    far = _distances(edges, found, settings.spread) / settings.reach**2
    owner, misfit = far.argmin(axis=1), far.min(axis=1)
    owner[misfit >= 1] = -1
    order = np.lexsort((misfit, owner, users))
    repeated = (np.diff(users[order]) == 0) & (np.diff(owner[order]) == 0)
    owner[order[1:][repeated]] = -1
    return owner, misfit


def _object(
    listed: Sequence[DrawnBox], edges: Floats, own: NDArray[np.int64], box: Floats, settings: ConsensusSettings
) -> ConsensusObject | None:
    if len(own) < settings.min_users:
        return None
    low, high = np.maximum(edges[:, :2], box[:2]), np.minimum(edges[:, 2:], box[2:])
    shared = np.maximum(high - low, 0).prod(axis=1)
    iou = shared / ((edges[:, 2:] - edges[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod() - shared)
    about = {listed[row].user for row in np.flatnonzero(iou > 0.3).tolist()}
    deviation = np.sqrt(((edges[own] - box) ** 2).sum(axis=0) / max(len(own) - 1, 1) / len(own))
    members = tuple(
        Member(listed[row].event_id, listed[row].user, listed[row].words, round(float(iou[row]), 4)) for row in own
    )
    return ConsensusObject(
        listed[0].photo,
        _rounded(box),
        _rounded(deviation),
        round(len(own) / max(len(about), len(own)), 4),
        len(own),
        members,
    )


def _rounded(values: Floats) -> Edges:
    x_min, y_min, x_max, y_max = (round(float(value), 5) for value in values)
    return x_min, y_min, x_max, y_max
