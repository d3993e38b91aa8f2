"""Is a user a program? Statistics of a user's boxes that add up, and the verdict on them.

Rules:

1. `UserStatistics` of a union are the sum of those of its parts (`+`, in any order), so that a cluster can add them up.
2. Only who drew much is judged (`RobotSettings.min_boxes`): a person who draws thousands at a person's pace stays,
   under the cap of `cleaning`.
3. Too fast: more boxes in one hour than a person draws. Too alike: the boxes fall into so few shapes that their
   entropy (Shannon, bits, of edges rounded to an eighth of the photo) is below what any person's boxes have.

::

    verdict = robot_verdict(sum_of(statistics_of(box) for box in boxes), RobotSettings())
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from handlens_conversion.boxes.drawn import DrawnBox, Edges

__all__ = ["RobotSettings", "RobotVerdict", "UserStatistics", "hour_of", "robot_verdict", "shape_of", "statistics_of"]

_STEPS = 8  # of an edge, when shapes are counted


@dataclass(frozen=True, slots=True)
class UserStatistics:
    """Counts of one user's boxes: by hour since 1970, and by rounded shape (`shape_of`)."""

    hours: Mapping[int, int] = field(default_factory=dict)
    shapes: Mapping[int, int] = field(default_factory=dict)

    @property
    def boxes(self) -> int:
        """How many boxes there are."""
        return sum(self.hours.values())

    def __add__(self, other: UserStatistics) -> UserStatistics:
        return UserStatistics(Counter(self.hours) + Counter(other.hours), Counter(self.shapes) + Counter(other.shapes))


@dataclass(frozen=True, slots=True)
class RobotSettings:
    """Where a person ends and a program begins."""

    min_boxes: int = 60
    max_hourly: int = 400  # boxes in one hour: one every 9 s without a pause
    min_entropy: float = 2.5  # bits


@dataclass(frozen=True, slots=True)
class RobotVerdict:
    """Whether the user is a robot, and the two figures that say why."""

    is_robot: bool
    boxes: int
    busiest_hour: int  # boxes
    entropy: float  # bits


def hour_of(at: float) -> int:
    """The hour since 1970 of a second."""
    return math.floor(at / 3600)


def shape_of(box: Edges) -> int:
    """The box with its edges rounded to an eighth of the photo, as one number."""
    code = 0
    for edge in box:
        code = code * (_STEPS + 1) + math.floor(edge * _STEPS + 0.5)
    return code


def statistics_of(boxes: Iterable[DrawnBox]) -> UserStatistics:
    """The statistics of some of a user's boxes."""
    listed = list(boxes)
    return UserStatistics(Counter(hour_of(one.at) for one in listed), Counter(shape_of(one.box) for one in listed))


def robot_verdict(statistics: UserStatistics, settings: RobotSettings | None = None) -> RobotVerdict:
    """The verdict on all of a user's boxes."""
    rules = settings or RobotSettings()
    boxes, busiest = statistics.boxes, max(statistics.hours.values(), default=0)
    entropy = _entropy(statistics.shapes.values())
    much = boxes >= rules.min_boxes
    return RobotVerdict(much and (busiest > rules.max_hourly or entropy < rules.min_entropy), boxes, busiest, entropy)


def _entropy(counts: Iterable[int]) -> float:
    # Sorted and summed exactly, so that the verdict is the same in whatever order the counts came.
    listed = sorted(counts)
    total = sum(listed)
    return math.fsum(-count / total * math.log2(count / total) for count in listed) if total else 0.0
