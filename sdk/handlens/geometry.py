"""Boxes and what can be computed from them.

A box lives in the *upright* image (after the EXIF turn), origin at the top left, x to the right, y down, all four edges
as fractions 0..1 of width and height. Nothing in handlens passes pixel boxes between modules; pixels appear only where
an image is cut (`Box.to_pixels`) or a label file is read (`Box.from_pixels`).

>>> Box(0.1, 0.2, 0.5, 0.6).area
0.16
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from handlens.errors import BoxError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["WHOLE", "Box", "iou_matrix", "nms"]


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-parallel rectangle, edges as fractions 0..1 of the upright image.

    Raises:
        BoxError: an edge is not finite or outside 0..1, or the box is empty or inverted.
    """

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    def __post_init__(self) -> None:
        edges = self.edges
        if not all(math.isfinite(edge) and 0.0 <= edge <= 1.0 for edge in edges):
            raise BoxError(f"box {edges} leaves the photo: its edges must be numbers from 0 to 1")
        if self.x_min >= self.x_max or self.y_min >= self.y_max:
            raise BoxError(f"box {edges} is empty or inverted: it needs x_min < x_max and y_min < y_max")

    @classmethod
    def clipped(cls, x_min: float, y_min: float, x_max: float, y_max: float) -> Box | None:
        """The part of a rectangle inside the image, or None when nothing is left of it."""
        edges = [min(max(edge, 0.0), 1.0) for edge in (x_min, y_min, x_max, y_max)]
        if not edges[0] < edges[2] or not edges[1] < edges[3]:
            return None
        return cls(*edges)

    @classmethod
    def from_pixels(cls, x: float, y: float, width: float, height: float, *, image_size: tuple[int, int]) -> Box:
        """A box from its left, top, width and height in pixels of an image of `image_size` (width, height).

        Raises:
            BoxError: the box is empty, inverted, or not wholly inside the image.
        """
        image_width, image_height = image_size
        edges = (x, y, x + width, y + height)
        limits = (image_width, image_height, image_width, image_height)
        if not all(math.isfinite(edge) for edge in edges):
            raise BoxError(f"box {x:g},{y:g},{width:g},{height:g} has an edge that is not a finite number")
        if width <= 0 or height <= 0:
            raise BoxError(f"box {x:g},{y:g},{width:g},{height:g} is empty or inverted: its size must be above 0")
        if any(edge < 0 or edge > limit for edge, limit in zip(edges, limits, strict=True)):
            raise BoxError(
                f"box {x:g},{y:g},{width:g},{height:g} leaves the photo, which is {image_width} x {image_height} pixels"
            )
        return cls(*(edge / limit for edge, limit in zip(edges, limits, strict=True)))

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom, as fractions. (`dataclasses.astuple` copies deeply, 20 times as slow.)"""
        return self.x_min, self.y_min, self.x_max, self.y_max

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole image. (A comparison with `WHOLE` is three times as slow.)"""
        return self.x_min == 0.0 and self.y_min == 0.0 and self.x_max == 1.0 and self.y_max == 1.0

    @property
    def width(self) -> float:
        """Fraction of the image's width."""
        return self.x_max - self.x_min

    @property
    def height(self) -> float:
        """Fraction of the image's height."""
        return self.y_max - self.y_min

    @property
    def area(self) -> float:
        """Fraction of the image's area."""
        return self.width * self.height

    def iou(self, other: Box) -> float:
        """Intersection over union, 0..1 (Jaccard index)."""
        across = min(self.x_max, other.x_max) - max(self.x_min, other.x_min)
        down = min(self.y_max, other.y_max) - max(self.y_min, other.y_min)
        shared = max(across, 0.0) * max(down, 0.0)
        return shared / (self.area + other.area - shared)

    def expanded(self, margin: float) -> Box:
        """The box grown on each side by `margin` of its own size, clipped to the image."""
        across, down = self.width * margin, self.height * margin
        grown = Box.clipped(self.x_min - across, self.y_min - down, self.x_max + across, self.y_max + down)
        return self if grown is None else grown

    def to_pixels(self, image_size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Left, top, right, bottom in pixels of an image of `image_size` (width, height)."""
        width, height = image_size
        return self.x_min * width, self.y_min * height, self.x_max * width, self.y_max * height

    def to_list(self) -> list[float]:
        """The four edges, rounded to a 1/100,000 of the image, for the wire."""
        return [round(edge, 5) for edge in self.edges]

    @classmethod
    def from_list(cls, edges: Iterable[float]) -> Box:
        """The box of four edges as `to_list` writes them.

        Raises:
            BoxError: not four numbers that make a box.
        """
        try:
            x_min, y_min, x_max, y_max = (float(edge) for edge in edges)
        except (TypeError, ValueError) as error:
            raise BoxError(f"a box is four numbers x_min, y_min, x_max, y_max, not {edges!r}") from error
        return cls(x_min, y_min, x_max, y_max)


WHOLE = Box(0.0, 0.0, 1.0, 1.0)


def iou_matrix(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of every pair: (n, 4) and (m, 4) edges -> (n, m)."""
    import numpy as np

    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(edges[:, 2:] - edges[:, :2]).prod(axis=1) for edges in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0), dtype=np.float32)


def nms(edges: NDArray[np.float32], scores: NDArray[np.float32], *, max_iou: float, limit: int) -> list[int]:
    """Greedy non-maximum suppression: the rows kept, best score first, at most `limit`.

    `edges` is (n, 4), `scores` is (n,). A row is dropped when its IoU with a better kept row is above `max_iou`.
    Ties keep the earlier row, so the same input always gives the same answer.
    """
    import numpy as np

    order = np.argsort(-scores, kind="stable")
    overlap = iou_matrix(edges, edges)
    kept: list[int] = []
    for row in order:
        if len(kept) == limit:
            break
        if not kept or overlap[row, kept].max() <= max_iou:
            kept.append(int(row))
    return kept
