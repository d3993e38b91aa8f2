"""Ways of drawing: how people's boxes lie about the object they mean.

Most draw around it, each edge a little off. Others draw in another way, and alike: loosely, with air on all sides; only
the upper half; only the face. Such a box is no junk: where it lies says where the object is. A way of drawing is a
shift of the four edges and how much people vary about it, both in widths and heights of the object. (Annotators with a
bias of their own, learned beside the truth: Welinder, Branson, Belongie, Perona, "The Multidimensional Wisdom of
Crowds", NIPS 2010.)

The first way of a list is the careful one, without a shift. `mode_fit.fit_modes` learns the others from boxes alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handlens.wire.fields import Fields
from handlens_conversion.boxes.drawn import Edges

__all__ = ["CAREFUL", "DrawingMode"]


@dataclass(frozen=True, slots=True)
class DrawingMode:
    """One way of drawing: `share` of the boxes, `shift` of their edges and `spread` (standard deviation) about it.

    Edges are left, top, right, bottom; `shift` and `spread` are shares of the object's own width and height.
    """

    share: float
    shift: Edges
    spread: float

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {"share": self.share, "shift": list(self.shift), "spread": self.spread}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DrawingMode:
        """Read one back.

        Raises:
            DecodeError: a field is missing or no number.
        """
        fields = Fields(values, what="drawing mode")
        shift = values.get("shift")
        if not isinstance(shift, list) or len(shift) != 4 or not all(isinstance(edge, float | int) for edge in shift):
            raise fields.wrong("shift", "four numbers")
        return cls(fields.number("share"), (shift[0], shift[1], shift[2], shift[3]), fields.number("spread"))


CAREFUL = DrawingMode(0.9, (0.0, 0.0, 0.0, 0.0), 0.06)
