"""What the heat map should be where the boxes are, and how much each cell counts.

A cell is *certain* where the label's box, moved there, still overlaps itself by `TIGHT`: any of these middles gives a
right box. That is the rule by which CornerNet chooses its radius (Law and Deng, ECCV 2018), with the plateau instead of
the single cell that the few photos of a new label would otherwise be learned from, as FCOS's sampling of centres does
(Tian et al., 2019). Around it stands the Gaussian of "Training-Time-Friendly Network for Real-Time Object Detection"
(Liu et al., AAAI 2020), whose standard deviations are the box's sides times `ALPHA` / 6. Pure.

Rules:

* An object counts once, however many cells are certain of it: the certain cells of a box share a weight of 1.
* A cell counts for one box, however many cover it: the larger target and the larger weight stand. So drawing a box
  twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CERTAIN", "Targets", "heat_targets", "inside"]

CERTAIN = 255  # a cell that is right; the other values of a target are fractions of it
TIGHT = 0.7  # IoU of a box with itself, moved to a cell, from which that cell is as good as the middle
ALPHA = 0.54  # the paper's: the Gaussian covers so much of the box
_LEAST_SIGMA = 0.5  # cells: the smallest box still has a neighbourhood


@dataclass(frozen=True, slots=True)
class Targets:
    """`heat` (side, side, labels) uint8, 0 to `CERTAIN`; `shares`, float32 of the same shape: what a certain cell
    counts of an object, 0 elsewhere."""

    heat: NDArray[np.uint8]
    shares: NDArray[np.float32]


def heat_targets(boxes: NDArray[np.float64], numbers: Sequence[int], *, labels: int, side: int) -> Targets:
    """Return the targets of boxes (n, 4) as fractions with these label numbers."""
    heat = np.zeros((side, side, labels), np.uint8)
    shares = np.zeros((side, side, labels), np.float32)
    cells = np.arange(side)
    for (left, top, right, bottom), number in zip(boxes * side, numbers, strict=True):
        across = cells - min(int((left + right) / 2), side - 1)
        down = cells - min(int((top + bottom) / 2), side - 1)
        values = np.rint(CERTAIN * _bell(down, bottom - top)[:, None] * _bell(across, right - left)[None, :])
        certain = _iou(down / (bottom - top), across / (right - left)) >= TIGHT
        values[certain] = CERTAIN
        np.maximum(heat[:, :, number], values.astype(np.uint8), out=heat[:, :, number])
        np.maximum(shares[:, :, number], certain / np.float32(certain.sum()), out=shares[:, :, number])
    return Targets(heat, shares)


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


def _iou(down: NDArray[np.float64], across: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU (n, m) of a box with itself, moved by n and m shares of its sides."""
    shared = np.maximum(1 - np.abs(down), 0)[:, None] * np.maximum(1 - np.abs(across), 0)[None, :]
    return np.asarray(shared / (2 - shared), np.float64)
