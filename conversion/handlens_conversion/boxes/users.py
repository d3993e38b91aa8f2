"""How far a user's boxes can be trusted, from how often others agree with them on all photos.

A second pass over the photos, in the manner of Dawid and Skene, "Maximum Likelihood Estimation of Observer Error-Rates"
(1979): the first pass finds objects, a user's score says how many of their boxes are of one, and the second pass weighs
boxes by it (`consensus.find_objects`, `trust`).

Rules:

1. Scores add up (`+`), so that a cluster can sum them.
2. Only boxes on photos where objects were found count: where nobody else drew, nobody can agree.
3. A user is measured by the mean of all users, and believed to be like them until their own boxes say otherwise
   (`TrustSettings.prior` boxes' worth). Trust is never above 1.

::

    scores = sum_by_user(scores_of(boxes, find_objects(boxes)) for boxes in photos)
    trust = trust_of(scores)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from handlens_conversion.boxes.consensus import ConsensusObject
from handlens_conversion.boxes.drawn import DrawnBox

__all__ = ["TrustSettings", "UserScore", "scores_of", "sum_by_user", "trust_of"]


@dataclass(frozen=True, slots=True)
class UserScore:
    """Of a user's boxes those that others could have agreed with, and those that they did agree with."""

    boxes: int = 0
    agreed: int = 0

    def __add__(self, other: UserScore) -> UserScore:
        return UserScore(self.boxes + other.boxes, self.agreed + other.agreed)


@dataclass(frozen=True, slots=True)
class TrustSettings:
    """How soon a user's own boxes count more than the mean of all."""

    prior: float = 10.0  # boxes


_SETTINGS = TrustSettings()


def scores_of(boxes: Sequence[DrawnBox], objects: Sequence[ConsensusObject]) -> dict[str, UserScore]:
    """The scores of the users of one photo."""
    agreed = {member.event_id for one in objects for member in one.members}
    if not objects:
        return {}
    return sum_by_user({drawn.user: UserScore(1, int(drawn.event_id in agreed))} for drawn in boxes)


def sum_by_user(scores: Iterable[Mapping[str, UserScore]]) -> dict[str, UserScore]:
    """Scores of several photos, added up."""
    total: dict[str, UserScore] = {}
    for some in scores:
        for user, score in some.items():
            total[user] = total.get(user, UserScore()) + score
    return total


def trust_of(scores: Mapping[str, UserScore], settings: TrustSettings = _SETTINGS) -> dict[str, float]:
    """The trust of each user, 0..1."""
    whole = sum(scores.values(), UserScore())
    if not whole.agreed:
        return dict.fromkeys(scores, 1.0)
    mean = whole.agreed / whole.boxes
    return {
        user: round(min((one.agreed + settings.prior * mean) / (one.boxes + settings.prior) / mean, 1.0), 4)
        for user, one in scores.items()
    }
