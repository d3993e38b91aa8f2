"""Which parts of the photo are worth a search, the main one first.

Rules:

* The main object is large, near the middle and surely detected: prominence is ``confidence * size * place``. Size is
  the root of the area, because a photographer doubles an object's width, not its area; place falls from 1 in the middle
  of the photo to one half in a corner. Each region carries the three numbers, and the first that it is the main one.
* Several objects of one label are one subject: a herd has the area of all its horses, and its most prominent horse is
  searched for it. Searching every horse would bring the same answer again.
* The detector knows 80 labels. When nothing prominent was found, the photo may be of something it cannot name (a person
  before a monument): the whole photo then leads, and what was detected follows.
* There is always at least one region.

>>> choose_regions([], limit=3)[0].found_by
'whole'
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from handlens.geometry import WHOLE
from handlens.results import Prominence, Region

__all__ = ["SubjectRules", "choose_regions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectRules:
    """When an object is the photo's subject. Both are values of prominence, 0..1."""

    subject: float = 0.2  # from here on an object is the subject: a quarter of the area, in the middle, with score 0.4
    worth: float = 0.03  # below this an object is background and is left out


_DEFAULT = SubjectRules()


def choose_regions(regions: Sequence[Region], *, limit: int, rules: SubjectRules = _DEFAULT) -> tuple[Region, ...]:
    """At most `limit` regions, the most prominent first; the whole photo leads where no region is its subject.

    Of several regions with one label the most prominent stands for all; regions without a label stand alone. Each says
    its prominence, and the first that it is the main one.
    """
    subjects = [_judged(group) for group in _groups(regions)]
    subjects.sort(key=lambda one: (-_value(one), one.box.edges, one.label or ""))
    kept = [region for region in subjects if _value(region) >= rules.worth]
    if not kept or _value(kept[0]) < rules.subject:
        kept.insert(0, Region(WHOLE, "whole"))
    return tuple(replace(region, is_main=at == 0) for at, region in enumerate(kept[:limit]))


def _groups(regions: Sequence[Region]) -> list[list[Region]]:
    """Regions of one label together, in each group the most prominent first."""
    groups: dict[object, list[Region]] = {}
    ordered = sorted(regions, key=lambda one: (-_prominence([one]).value, one.box.edges))
    for at, region in enumerate(ordered):
        groups.setdefault(at if region.label is None else region.label, []).append(region)
    return list(groups.values())


def _judged(group: Sequence[Region]) -> Region:
    return replace(group[0], prominence=_prominence(group))


def _value(region: Region) -> float:
    return 0.0 if region.prominence is None else region.prominence.value


def _prominence(group: Sequence[Region]) -> Prominence:
    first, area = group[0], min(1.0, sum(region.box.area for region in group))
    aside = math.hypot((first.box.x_min + first.box.x_max) / 2 - 0.5, (first.box.y_min + first.box.y_max) / 2 - 0.5)
    return Prominence(size=math.sqrt(area), place=1.0 - aside / math.sqrt(2.0), confidence=first.score)
