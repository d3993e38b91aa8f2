"""The places of a photo where somebody drew and nobody agreed: what is there is not known, so it is no background.

What one or two users drew is no object of a data set. It often is one all the same, and a detector that is taught it
as background unlearns what it looks like. (Missing objects as wrong background: Wu et al., "Soft Sampling for Robust
Object Detection", BMVC 2019, whose remedy is to learn less where nothing is known, too.)

Rules:

1. A box makes a place when it is of no object and not about one (`ConsensusSettings.about`).
2. A place is the middle half of a box, where a detector would look for an object, widened to the cells of a grid of
   `GRID` x `GRID`: it shows nobody's edges, has no word and no count, and places that are alike are one.
3. Only photos on which `min_users` different users drew have places: which of them drew there cannot be told.
4. The answer is a function of the set of boxes.

::

    places = unsettled_places(boxes, find_objects(boxes, settings), settings)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from handlens_conversion.boxes.cleaning import overlap
from handlens_conversion.boxes.consensus import ConsensusObject, ConsensusSettings
from handlens_conversion.boxes.drawn import DrawnBox, Edges

__all__ = ["GRID", "unsettled_places"]

GRID = 32  # cells across and down

_SETTINGS = ConsensusSettings()


def unsettled_places(
    boxes: Sequence[DrawnBox], objects: Sequence[ConsensusObject], settings: ConsensusSettings = _SETTINGS
) -> tuple[Edges, ...]:
    """The places of one photo, from left to right, as fractions of it; `objects` are what `find_objects` found."""
    if len({drawn.user for drawn in boxes}) < settings.min_users:
        return ()
    agreed = {member.event_id for one in objects for member in one.members}
    unsettled = (
        drawn.box
        for drawn in boxes
        if drawn.event_id not in agreed and all(overlap(drawn.box, one.box) <= settings.about for one in objects)
    )
    return tuple(sorted({_widened(box) for box in unsettled}))


def _widened(box: Edges) -> Edges:
    """The cells of the grid that the middle half of a box touches."""
    x_min, y_min, x_max, y_max = box
    across, down = (x_max - x_min) / 4, (y_max - y_min) / 4
    return (
        math.floor((x_min + across) * GRID) / GRID,
        math.floor((y_min + down) * GRID) / GRID,
        math.ceil((x_max - across) * GRID) / GRID,
        math.ceil((y_max - down) * GRID) / GRID,
    )
