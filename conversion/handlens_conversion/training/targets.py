"""What the heat map should be where the boxes are: a Gaussian for each box, stretched as the box is.

From "Training-Time-Friendly Network for Real-Time Object Detection" (Liu et al., AAAI 2020): the Gaussian's standard
deviations are the box's sides times `ALPHA` / 6, and where Gaussians of one label meet the larger value stands. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CERTAIN", "heat_targets", "inside"]

CERTAIN = 255  # a box's centre; the other values of a target are fractions of it
ALPHA = 0.54  # the paper's: the Gaussian covers so much of the box
_LEAST_SIGMA = 0.5  # cells: the smallest box still has a neighbourhood


def heat_targets(boxes: NDArray[np.float64], numbers: Sequence[int], *, labels: int, side: int) -> NDArray[np.uint8]:
    """Return (side, side, labels) targets, 0 to `CERTAIN`, of boxes (n, 4) as fractions with these label numbers."""
    targets = np.zeros((side, side, labels), np.uint8)
    cells = np.arange(side)
    for (left, top, right, bottom), number in zip(boxes * side, numbers, strict=True):
        column = min(int((left + right) / 2), side - 1)
        row = min(int((top + bottom) / 2), side - 1)
        across = _bell(cells - column, right - left)
        down = _bell(cells - row, bottom - top)
        values = np.rint(CERTAIN * down[:, None] * across[None, :]).astype(np.uint8)
        np.maximum(targets[:, :, number], values, out=targets[:, :, number])
    return targets


def inside(boxes: NDArray[np.float64], *, side: int) -> NDArray[np.bool_]:
    """Return (side, side): the cells whose corner lies in one of the boxes."""
    steps = np.arange(side) / side
    covered = np.zeros((side, side), bool)
    for left, top, right, bottom in boxes:
        covered |= ((steps >= top) & (steps <= bottom))[:, None] & ((steps >= left) & (steps <= right))[None, :]
    return covered


def _bell(distances: NDArray[np.intp], length: float) -> NDArray[np.float64]:
    sigma = max(length * ALPHA / 6, _LEAST_SIGMA)
    return np.asarray(np.exp(-(distances**2) / (2 * sigma**2)), np.float64)
