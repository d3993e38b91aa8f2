"""Which parts of the photo are worth a search, the main one first.

Rules:

* The main object is large, near the middle and surely detected: prominence is ``score * sqrt(area) * centrality``. The
  square root because a photographer doubles an object's width, not its area; centrality falls from 1 in the middle of
  the photo to one half in a corner.
* The detector knows 80 labels. When nothing prominent was found, the photo may be of something it cannot name (a person
  before a monument): the whole photo then leads, and what was detected follows.
* There is always at least one region.

>>> choose_regions([], limit=3)[0].found_by
'whole'
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from handlens.geometry import WHOLE
from handlens.results import Region

__all__ = ["Prominence", "choose_regions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prominence:
    """When an object is the photo's subject. Prominence is 0..1."""

    subject: float = 0.2  # from here on an object is the subject: a quarter of the area, in the middle, with score 0.4
    worth: float = 0.03  # below this an object is background and is left out


_DEFAULT = Prominence()


def choose_regions(regions: Sequence[Region], *, limit: int, prominence: Prominence = _DEFAULT) -> tuple[Region, ...]:
    """At most `limit` regions, the most prominent first; the whole photo leads where no region is its subject."""
    ranked = sorted(regions, key=lambda region: (-_prominence(region), region.box.to_list(), region.label or ""))
    kept = [region for region in ranked if _prominence(region) >= prominence.worth]
    if not kept or _prominence(kept[0]) < prominence.subject:
        kept.insert(0, Region(WHOLE, "whole"))
    return tuple(kept[:limit])


def _prominence(region: Region) -> float:
    box = region.box
    aside = math.hypot((box.x_min + box.x_max) / 2 - 0.5, (box.y_min + box.y_max) / 2 - 0.5)
    return region.score * math.sqrt(box.area) * (1.0 - aside / math.sqrt(2.0))
