"""The boxes of one photo -> its objects, each with a box, its uncertainty, and how far its users agree.

Method: a mixture of objects fitted by hard EM (Celeux and Govaert, "A Classification EM Algorithm", 1992), robust
because what fits no object is left out (Torr and Zisserman, "MLESAC", 2000) and what fits badly weighs less (Tukey's
biweight), with annotators' ways of drawing (`modes`) as in Welinder et al. (2010) and in Branson, Van Horn, Perona,
"Lean Crowdsourcing" (CVPR 2017):

1. *Seeds*: boxes that more users are near to than to any box about them (modes of a kernel density, one vote a user).
2. *Assign*: each box to the object and the way of drawing that explain it best, or to none.
3. *Estimate*: each object from what its boxes say it is, by their precision. An edge that the photo's border cut off
   counts as "at the border or beyond" (Tobin 1958), not as drawn there.
4. *Merge* what stands too near to be two, and objects that are another one drawn in a known way. Boxes that fit badly
   seed once more, so that neighbours and nested objects come apart.

Rules:

1. A user counts once for an object, however many boxes they draw on it, and an object needs `min_users` different
   users: for privacy as much as for quality. On a photo of very many users it needs `min_share` of them.
2. The answer is a function of the set of boxes: any order gives the same bytes. Edges are rounded to 1/100,000.
3. The time is bounded: of a photo with more than `max_boxes` boxes those of least `cleaning.rank_of` are looked at.

::

    for found in find_objects(boxes, ConsensusSettings()):
        print(found.box, found.uncertainty, found.agreement, found.users)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from handlens_conversion.boxes.cleaning import keep_fewest
from handlens_conversion.boxes.crowd import Crowd, Floats, Ints, crowd_of, sizes
from handlens_conversion.boxes.drawn import DrawnBox, Edges
from handlens_conversion.boxes.mixture import Assigned, MixtureSettings, Objects, fit_objects
from handlens_conversion.boxes.modes import CAREFUL, DrawingMode
from handlens_conversion.boxes.reasons import RejectReason

__all__ = ["ConsensusObject", "ConsensusSettings", "Member", "find_objects"]

_DOUBT = 4.0  # boxes' worth of belief in the spread of the ways of drawing, when an object's own scatter is asked


@dataclass(frozen=True, slots=True)
class ConsensusSettings:
    """How boxes become objects."""

    min_users: int = 3
    min_share: float = 0.015  # of the photo's users that an object needs: of very many some agree by chance
    max_boxes: int = 400  # of one photo
    min_trust: float = 0.3  # boxes of users below it are not looked at
    about: float = 0.3  # IoU with an object from which a box was drawn about there
    mixture: MixtureSettings = field(default_factory=MixtureSettings)


@dataclass(frozen=True, slots=True)
class Member:
    """One user's box of an object: its IoU with the consensus box, its way of drawing (0: careful) and its words."""

    event_id: str
    user: str
    words: str | None
    iou: float
    mode: int


@dataclass(frozen=True, slots=True)
class ConsensusObject:
    """What several users drew.

    `box` and `uncertainty` (a standard error for each edge) are fractions of the photo. `agreement` is the share of the
    users who drew about here, and on no other object, whose box fits. `members` has one box for each of `users` users,
    by event id.
    """

    photo: str
    box: Edges
    uncertainty: Edges
    agreement: float
    users: int
    members: tuple[Member, ...]


_SETTINGS = ConsensusSettings()


def find_objects(
    boxes: Sequence[DrawnBox],
    settings: ConsensusSettings = _SETTINGS,
    *,
    modes: Sequence[DrawingMode] = (CAREFUL,),
    trust: Mapping[str, float] | None = None,
) -> tuple[ConsensusObject, ...]:
    """The objects of one photo, from left to right.

    `modes` are the ways of drawing that are known (`mode_fit.fit_modes`), the careful one first; `trust` of a user,
    0..1, weighs their boxes (`users.trust_of`; 1 where it is not given).
    """
    heard = boxes if trust is None else [one for one in boxes if trust.get(one.user, 1.0) >= settings.min_trust]
    if len({drawn.user for drawn in heard}) < settings.min_users:
        return ()
    listed = keep_fewest(heard, settings.max_boxes, RejectReason.OVER_PHOTO_CAP).kept
    crowd = crowd_of(listed, trust)
    fitted = fit_objects(crowd, modes, settings.mixture)
    if fitted is None:
        return ()
    objects, assigned = fitted
    needed = max(settings.min_users, settings.min_share * len({one.user for one in listed}))
    counts = np.bincount(assigned.owner[assigned.owner >= 0], minlength=len(objects.boxes))
    found = [
        _object(listed, crowd, objects, assigned, at, modes, settings)
        for at in np.flatnonzero(counts >= needed).tolist()
    ]
    return tuple(sorted(found, key=lambda one: one.box))


def _object(
    listed: Sequence[DrawnBox],
    crowd: Crowd,
    objects: Objects,
    assigned: Assigned,
    at: int,
    modes: Sequence[DrawingMode],
    settings: ConsensusSettings,
) -> ConsensusObject:
    box = objects.boxes[at]
    own = np.flatnonzero(assigned.owner == at)
    iou = _iou(crowd.edges, box)
    free = np.flatnonzero((assigned.owner < 0) & (iou > settings.about))
    drawn = [listed[row] for row in own.tolist()]
    about = {one.user for one in drawn} | {listed[row].user for row in free.tolist()}
    members = tuple(
        Member(one.event_id, one.user, one.words, round(fit, 4), mode)
        for one, fit, mode in zip(drawn, iou[own].tolist(), assigned.mode[own].tolist(), strict=True)
    )
    return ConsensusObject(
        listed[0].photo,
        _rounded(box),
        _rounded(_deviation(crowd, own, objects, assigned, at, modes)),
        round(len(own) / len(about), 4),
        len(own),
        members,
    )


def _deviation(
    crowd: Crowd, own: Ints, objects: Objects, assigned: Assigned, at: int, modes: Sequence[DrawingMode]
) -> Floats:
    """The standard error of each edge: what the ways of drawing promise, widened where the boxes scatter more."""
    mode = assigned.mode[own]
    spread = np.array([one.spread for one in modes])[mode]
    size = sizes(objects.boxes[at : at + 1])[0]
    shift = np.array([one.shift for one in modes])[mode]
    off = (crowd.edges[own] - objects.boxes[at]) / size - shift
    seen = ~(crowd.low[own] | crowd.high[own])
    scatter = (np.square(off / spread[:, None]) * seen).sum() / max(seen.sum() - 4, 1)
    weight = seen.sum() / 4
    widened = (_DOUBT + weight * scatter) / (_DOUBT + weight)
    return np.asarray(size * np.sqrt(objects.variance[at] * max(widened, 1.0)))


def _iou(edges: Floats, box: Floats) -> Floats:
    common = np.maximum(np.minimum(edges[:, 2:], box[2:]) - np.maximum(edges[:, :2], box[:2]), 0)
    own, other = edges[:, 2:] - edges[:, :2], box[2:] - box[:2]
    shared = common[:, 0] * common[:, 1]
    return np.asarray(shared / (own[:, 0] * own[:, 1] + other[0] * other[1] - shared))


def _rounded(values: Floats) -> Edges:
    x_min, y_min, x_max, y_max = (round(value, 5) for value in values.tolist())
    return x_min, y_min, x_max, y_max
