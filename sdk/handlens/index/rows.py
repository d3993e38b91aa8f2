"""What an index keeps beside its graph: which id lives in which row, and the rows themselves.

Rows are numbered from 0. `RowIds` maps ids to rows and back; a row whose id was deleted is either filled with the last
row (`close`, exact index) or left free for the next id (`release`, HNSW, whose nodes cannot move). Neither class locks:
the index does.
"""

from __future__ import annotations

from itertools import chain, count
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from handlens.wire.pack import encode_codes

__all__ = ["DTYPES", "FREE", "RowIds", "Rows"]

FREE = -1  # stands in `RowIds.ids` for a row that holds nothing
DTYPES = ("float32", "int8")
_Array = TypeVar("_Array", bound=NDArray[Any])
_CHUNK = 1024  # rows turned into float32 at a time: half a megabyte at 128 dimensions, which stays in the cache


class RowIds:
    """The id of each row, and the row of each id."""

    def __init__(self, ids: NDArray[np.int64] | None = None) -> None:
        self._ids = np.empty(0, np.int64) if ids is None else ids
        self.count = len(self._ids)  # rows in use, free ones included
        self._free = np.flatnonzero(self._ids == FREE).tolist()
        # The dictionary costs 100 bytes an id: a device that only searches never builds it.
        self._row_of: dict[int, int] | None = None
        self._sorted: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return self.count - len(self._free)

    @property
    def ids(self) -> NDArray[np.int64]:
        """The id of each row (count,); `FREE` where a row is empty."""
        return self._ids[: self.count]

    @property
    def free(self) -> int:
        """How many rows are empty."""
        return len(self._free)

    def find(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of those `ids` that are held, in the order of the ids."""
        known, rows = self._order()
        if not len(known):
            return np.empty(0, np.int64)
        at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
        return np.asarray(rows[at[known[at] == ids]])

    def live_rows(self) -> NDArray[np.int64]:
        """Every row that holds an id, by id."""
        return self._order()[1]

    def plan(self, ids: NDArray[np.int64], *, refill: bool = True) -> NDArray[np.int64]:
        """The row that each of these different `ids` has or would get; nothing changes until `assign`.

        With `refill` empty rows are taken before new ones.
        """
        row_of = self._mapping()
        fresh = chain(reversed(self._free if refill else ()), count(self.count))
        return np.array([row_of[id] if id in row_of else next(fresh) for id in ids.tolist()], np.int64)

    def assign(self, rows: NDArray[np.int64], ids: NDArray[np.int64]) -> None:
        """Carry out what `plan` answered."""
        refilled = int((self._ids[rows[rows < self.count]] == FREE).sum())
        del self._free[len(self._free) - refilled :]
        self.count = max(self.count, int(rows.max(initial=-1)) + 1)
        self._ids = _with_room(self._ids, self.count)
        self._ids[rows] = ids
        self._mapping().update(zip(ids.tolist(), rows.tolist(), strict=True))
        self._sorted = None

    def release(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Forget `ids` and leave their rows free; the rows are answered."""
        rows = self.find(np.unique(ids))
        if self._row_of is not None:
            for id in self._ids[rows].tolist():
                del self._row_of[id]
        self._free += rows.tolist()
        self._ids[rows] = FREE
        self._sorted = None
        return rows

    def close(self, id: int) -> tuple[int, int] | None:
        """Forget `id` and let the last row take its place: answers (place, last row), or None for an unknown id."""
        row_of = self._mapping()
        row = row_of.pop(id, None)
        if row is None:
            return None
        last = self.count - 1
        if row != last:
            self._ids[row] = self._ids[last]
            row_of[int(self._ids[row])] = row
        self.count, self._sorted = last, None
        return row, last

    def _mapping(self) -> dict[int, int]:
        if self._row_of is None:
            self._row_of = {id: row for row, id in enumerate(self.ids.tolist()) if id != FREE}
        return self._row_of

    def _order(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if self._sorted is None:
            rows = np.argsort(self.ids, kind="stable")
            rows = rows[len(self._free) :]  # FREE sorts before every id
            self._sorted = (self.ids[rows], rows)
        return self._sorted


class Rows:
    """Unit vectors in rows: float32, or int8 codes with the length of each code (`handlens.wire.pack`)."""

    def __init__(self, dim: int, dtype: str, data: NDArray[np.float32] | NDArray[np.int8] | None = None) -> None:
        self.data = np.empty((0, dim), np.dtype(dtype)) if data is None else data
        self._scale = _scales(self.data) if self.is_coded else None

    @property
    def is_coded(self) -> bool:
        """Whether rows are int8 codes."""
        return self.data.dtype == np.int8

    def put(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Write unit vectors (n, dim) into `rows`, growing where needed."""
        needed = int(rows.max(initial=-1)) + 1
        self.data = _with_room(self.data, needed)
        if self._scale is None:
            self.data[rows] = vectors
            return
        codes = encode_codes(vectors)
        self._scale = _with_room(self._scale, needed)
        self.data[rows] = codes
        self._scale[rows] = _scales(codes)

    def move(self, source: int, target: int) -> None:
        """Copy one row over another."""
        self.data[target] = self.data[source]
        if self._scale is not None:
            self._scale[target] = self._scale[source]

    def similarities(
        self, query: NDArray[np.float32], count: int, rows: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """The cosine of `query` (dim,) to the first `count` rows, or to `rows`.

        Equal rows give equal bits wherever they stand. That is why this is einsum and not a matrix product: BLAS rounds
        its last rows differently, and its threads wait actively for each other, which costs 10x on a busy machine.
        """
        data = self.data[:count] if rows is None else self.data[rows]
        if self._scale is None:
            return np.asarray(np.einsum("ij,j->i", data, query), np.float32)
        cosines = np.empty(len(data), np.float32)
        for start in range(0, len(data), _CHUNK):
            part = slice(start, start + _CHUNK)
            np.einsum("ij,j->i", data[part].astype(np.float32), query, out=cosines[part])
        cosines *= self._scale[:count] if rows is None else self._scale[rows]
        return cosines


def _scales(codes: NDArray[np.int8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / length of each code."""
    scales = np.empty(len(codes), np.float32)
    for start in range(0, len(codes), _CHUNK):
        part = codes[start : start + _CHUNK].astype(np.float32)
        scales[start : start + _CHUNK] = 1.0 / np.sqrt(np.einsum("ij,ij->i", part, part))
    return scales


def _with_room(array: _Array, needed: int) -> _Array:
    """The array, or a copy at least half as long again: growing row by row stays linear."""
    if needed <= len(array):
        return array
    grown = np.empty((max(needed, len(array) * 3 // 2), *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown  # type: ignore[return-value]
