"""The boxes of one photo as arrays, and which of them may mean the same object.

Distances between boxes are in *deviations*: edges apart, in widths and heights of the boxes, over the spread of a
careful edge. Of two careful boxes of one object half the squared distance is chi-square with four degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from handlens_conversion.boxes.drawn import DrawnBox
from handlens_conversion.boxes.labels import normal_word

__all__ = ["Crowd", "Floats", "Ints", "crowd_of", "mixed_words", "sizes", "squared_distances"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BORDER = 1e-4  # fraction of the photo: an edge this near to its border was cut off by it


@dataclass(frozen=True, slots=True)
class Crowd:
    """n boxes of one photo.

    `edges` (n, 4) are fractions of the photo; `low` and `high` (n, 4) say which of them its border cut off at 0 and at
    1; `users` (n,) and `words` (n,; -1: none) are codes; `trust` (n,) is 0..1.
    """

    edges: Floats
    low: NDArray[np.bool_]
    high: NDArray[np.bool_]
    users: Ints
    words: Ints
    trust: Floats
    half_free: Floats = field(init=False)  # (n,): half the number of edges that were not cut off
    rows: Ints = field(init=False)  # (n,): 0, 1, 2...
    is_cut: bool = field(init=False)  # whether any edge was cut off
    has_repeats: bool = field(init=False)  # whether any user drew more than one of the boxes

    def __post_init__(self) -> None:
        cut = self.low | self.high
        object.__setattr__(self, "half_free", 2 - cut.sum(axis=1) / 2)
        object.__setattr__(self, "rows", np.arange(len(self.edges)))
        object.__setattr__(self, "is_cut", bool(cut.any()))
        object.__setattr__(self, "has_repeats", len(set(self.users.tolist())) < len(self.users))

    def some(self, rows: Ints) -> Crowd:
        """The boxes of some rows."""
        edges, low, high = self.edges[rows], self.low[rows], self.high[rows]
        return Crowd(edges, low, high, self.users[rows], self.words[rows], self.trust[rows])


def crowd_of(boxes: Sequence[DrawnBox], trust: Mapping[str, float] | None = None) -> Crowd:
    """The arrays of boxes; `trust` of a user, 0..1, is 1 where it is not given."""
    edges = np.array([drawn.box for drawn in boxes])
    return Crowd(
        edges,
        edges <= _BORDER,
        edges >= 1 - _BORDER,
        _codes([drawn.user for drawn in boxes]),
        _codes([normal_word(drawn.words) if drawn.words else "" for drawn in boxes]),
        np.ones(len(boxes)) if trust is None else np.array([trust.get(drawn.user, 1.0) for drawn in boxes]),
    )


def sizes(edges: Floats) -> Floats:
    """Width, height, width, height of boxes, (n, 4) -> (n, 4): what each of their edges is measured by."""
    half = edges[:, 2:] - edges[:, :2]
    return np.concatenate([half, half], axis=1)


def squared_distances(first: Floats, second: Floats, spread: float) -> Floats:
    """Squared distances in deviations, (n, 4) and (m, 4) -> (n, m)."""
    size = sizes(first)
    other = size if second is first else sizes(second)
    apart = (first[:, None] - second[None]) / (size[:, None] + other[None])
    return np.asarray(np.einsum("nmk,nmk->nm", apart, apart) * (4 / (spread * spread)))


def mixed_words(first: Ints, second: Ints) -> NDArray[np.bool_]:
    """Which pairs of words differ, (n,) and (m,) -> (n, m); no word differs from none."""
    return np.asarray((first[:, None] != second[None]) & (first[:, None] >= 0) & (second[None] >= 0))


def _codes(names: Sequence[str]) -> Ints:
    """A number for each name, in their order; -1 for the empty one."""
    known = {name: code for code, name in enumerate(sorted({*names} - {""}))}
    return np.array([known.get(name, -1) for name in names])
