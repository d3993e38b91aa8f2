"""What every index answers: the nearest vectors to a vector, by cosine distance.

An index holds unit vectors of one embedding *space* under ids, which are whole numbers from 0. Rules that every
implementation keeps:

* A search gives k results or all there are, nearest first; equal distances stand by id.
* The same id again replaces the vector. Deleting an unknown id does nothing.
* Several threads may search while one writes. A search sees each vector before or after its change, never half of it;
  of a long upsert it may see a part.
* `save` puts a whole index in place of the old one or leaves the old one; `open` gives back what was saved or raises.

>>> from handlens.index import ExactIndex
>>> index = ExactIndex(space="handlens-e1", dim=2)
>>> index.upsert(np.array([7, 8]), np.array([[1.0, 0.0], [0.0, 1.0]], np.float32))
>>> index.search(np.array([0.6, 0.8], np.float32), 1).ids
array([8])
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handlens.wire.pack import decode_codes

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "Index",
    "Neighbours",
    "SearchIndex",
    "add_codes",
    "check_ids",
    "check_k",
    "distinct",
    "last_of_each",
    "nearest",
    "unit_row",
    "unit_rows",
]

_SORTED_WHOLE = 256  # distances that are sorted sooner than partitioned
_BATCH = 4096  # codes decoded at a time: 2 MB of float32 at 128 dimensions


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The answer to one search: `ids` (m,) int64 and `distances` (m,) float32 = 1 - cosine, ascending."""

    ids: NDArray[np.int64]
    distances: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)


class SearchIndex(Protocol):
    """What can be searched: `dim`-dimensional unit vectors of the embedding space called `space`."""

    @property
    def space(self) -> str:
        """The embedding space: vectors compare only within one."""

    @property
    def dim(self) -> int:
        """Components of each vector."""

    def __len__(self) -> int: ...

    def __contains__(self, id: int) -> bool: ...

    def search(self, vector: NDArray[np.float32], k: int, *, allowed: NDArray[np.int64] | None = None) -> Neighbours:
        """The `k` nearest to `vector` (dim,), or all there are; only among the ids in `allowed` when it is given.

        Raises:
            ValueError: k is below 1, wrong shape, or the vector is zero or not finite.
        """


class Index(SearchIndex, Protocol):
    """An index that can be changed and saved."""

    def upsert(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add or replace `vectors` (n, dim) under `ids` (n,); of an id given twice the last vector counts.

        Vectors are brought to length 1.

        Raises:
            ValueError: wrong shape, an id that is negative or no whole number, a vector that is zero or not finite.
                Nothing was changed then.
        """

    def delete(self, ids: ArrayLike) -> None:
        """Remove `ids`; those that are not held are ignored.

        Raises:
            ValueError: the ids are not a list of whole numbers from 0.
        """

    def save(self, path: Path) -> str:
        """Write the index to `path` and answer the SHA-256 that stands for all of it.

        Raises:
            StoreError: the folder cannot be written, or the disk is full. The old file is then still whole.
        """

    @classmethod
    def open(cls, path: Path, *, space: str, dim: int, sha256: str | None = None) -> Self:
        """Read an index that `save` wrote; with `sha256`, only that very one.

        Raises:
            NotReadyError: there is no such file.
            StoreCorruptError: truncated, damaged, not an index, or not the one that `sha256` names.
            StoreVersionError: written by a newer handlens.
            IncompatibleError: of another embedding space, dimension, kind, or machine type.
            StoreError: the file cannot be read, or what reads it is not installed.
        """


def add_codes(
    index: Index,
    ids: NDArray[np.int64],
    codes: NDArray[np.int8],
    *,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Upsert int8 `codes` (n, dim) under `ids`, decoded in parts of 2 MB; `progress` hears how many are in."""
    for start in range(0, len(ids), _BATCH):
        part = slice(start, start + _BATCH)
        index.upsert(ids[part], decode_codes(codes[part]))
        if progress is not None:
            progress(min(start + _BATCH, len(ids)))


def nearest(ids: NDArray[np.int64], distances: NDArray[np.float32], k: int) -> Neighbours:
    """The `k` smallest of `distances` (n,), ascending, equal ones by id."""
    if k < len(ids) and len(ids) > _SORTED_WHOLE:
        # Everything as near as the k-th: a tie at the edge is decided by id, not by how numbers were partitioned.
        close = np.flatnonzero(distances <= np.partition(distances, k - 1)[k - 1])
        ids, distances = ids[close], distances[close]
    order = np.lexsort((ids, distances))[:k]
    return Neighbours(ids[order], distances[order])


def unit_row(vector: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """`vector` (dim,) at length 1; ValueError where that cannot be."""
    row = np.asarray(vector, np.float32)
    if row.shape != (dim,):
        raise ValueError(f"a query has shape ({dim},), not {row.shape}")
    length = float(np.sqrt(row @ row))
    if not 0.0 < length < np.inf:
        raise ValueError("a query vector must be finite and not zero")
    return row / np.float32(length)


def unit_rows(vectors: NDArray[np.float32], count: int, dim: int) -> NDArray[np.float32]:
    """`vectors` (count, dim) at length 1; ValueError where that cannot be."""
    rows = np.asarray(vectors, np.float32)
    if rows.shape != (count, dim):
        raise ValueError(f"{count} ids need vectors of shape ({count}, {dim}), not {rows.shape}")
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    bad = ~((lengths > 0) & np.isfinite(lengths))
    if bad.any():
        raise ValueError(f"vector {int(np.flatnonzero(bad)[0])} is zero or not finite: it has no direction")
    return np.asarray(rows / lengths[:, None], np.float32)


def check_ids(ids: ArrayLike) -> NDArray[np.int64]:
    """`ids` as (n,) int64; ValueError unless they are whole numbers from 0."""
    given = np.asarray(ids)
    if given.ndim == 1 and not len(given):
        return np.empty(0, np.int64)
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise ValueError(f"ids are a list of whole numbers, not {given.dtype} of shape {given.shape}")
    whole = given.astype(np.int64)
    if whole.min() < 0:
        raise ValueError(f"id {int(whole.min())} is not in 0..2**63-1")
    return whole


def distinct(ids: ArrayLike) -> NDArray[np.int64]:
    """`ids` checked, each once, ascending; free of charge for those that already are."""
    whole = check_ids(ids)
    return whole if (whole[1:] > whole[:-1]).all() else np.unique(whole)


def last_of_each(ids: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """The positions of the last of each id, ascending, or None when no id stands twice."""
    _, first_from_behind = np.unique(ids[::-1], return_index=True)
    return None if len(first_from_behind) == len(ids) else np.sort(len(ids) - 1 - first_from_behind)


def check_k(k: int) -> int:
    """`k`; ValueError below 1."""
    if k < 1:
        raise ValueError(f"k is {k}: ask for at least 1 neighbour")
    return int(k)
