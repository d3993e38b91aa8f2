"""The HNSW index: an approximate search in logarithmic time, by hnswlib. The only module that imports hnswlib.

Method: Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable
Small World graphs" (2016). What hnswlib leaves open is closed here:

* hnswlib's labels are our row numbers, and ids are mapped to rows here. Once many rows are deleted, a new id takes over
  one of them by its label.
  (hnswlib's own `replace_deleted` may give a label two nodes, and later forget the one that is alive.)
* It raises when fewer than k nodes can be reached, and it searches a filter by a Python call a node. Both cases, where
  the exact answer is needed or cheaper, are answered from int8 codes: the best of them are compared again with the true
  vectors, so their distances are those that the graph gives.
* Searching while a node is linked is unsafe: a lock for readers or one writer guards it, which an upsert takes anew for
  every few vectors, so that no search waits long.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handlens.errors import StoreCorruptError, StoreError
from handlens.index.base import Neighbours, check_ids, check_k, distinct, last_of_each, nearest, unit_row, unit_rows
from handlens.index.files import Header, read_index, write_index
from handlens.index.locks import ReadWriteLock
from handlens.index.rows import RowIds, Rows

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["HnswIndex", "available"]

M = 16  # links of a node on each upper layer, twice as many on the lowest
EF_CONSTRUCTION = 200  # candidates kept while a node is linked
EF_SEARCH = 96  # candidates kept while searching, at least
_SEED = 20_160_330  # the graph of the same upserts by one thread is the same, byte by byte
_DISTRIBUTIONS = ("hnswlib", "chroma-hnswlib")  # both install the module `hnswlib`
_FIRST_CAPACITY = 256
_NEVER = 1 << 62
_BATCH = 64  # vectors linked while the lock is held: about 20 ms at 100,000 vectors
_GET_BATCH = 1024  # vectors fetched at a time: hnswlib hands each number over as a Python object
_SCAN_BELOW = 2000  # allowed rows that are scanned rather than searched through the graph, at least
_SCAN_SHARE = 10  # ... and below one row in so many
_FREE_SHARE = 8  # a node that is taken over costs eight new ones; so deleted nodes wait until they are one in so many
_SPARE = 16  # codes compared again beyond k, at least; hnswlib takes 4 us to hand over a vector
_SECTIONS = {"ids": ("int64",), "codes": ("int8",)}


def available() -> str | None:
    """The distribution that supplies hnswlib and its version, such as "hnswlib 0.8.0"; None where there is none."""
    from importlib import metadata  # some 10 ms that a search does not need

    for name in _DISTRIBUTIONS:
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return None


@dataclass(frozen=True, slots=True, eq=False)
class _Filter:
    """The ids that a search allows, their rows, and for each row whether it is one of them (1 or 0)."""

    ids: NDArray[np.int64]
    rows: NDArray[np.int64]
    mask: bytes


class HnswIndex:
    """An approximate index: recall@10 of 0.99 and better, at a hundredth of an exact search of 100,000 vectors.

    `threads` link the vectors of an upsert; with one, the same upserts give the same graph. A search runs in its own
    thread. Memory per vector: 4 x dim bytes, some 190 bytes of links and locks, and dim bytes of codes.

    Raises:
        ValueError: `dim` or `threads` is below 1.
        StoreError: hnswlib is not installed.
    """

    def __init__(self, *, space: str, dim: int, threads: int = 1) -> None:
        if dim < 1 or threads < 1:
            raise ValueError(f"an index needs dim and threads from 1 on, not {dim} and {threads}")
        self.space = space
        self.dim = dim
        self._threads = threads
        self._lock = ReadWriteLock()
        self._ids = RowIds()
        self._codes = Rows(dim, "int8")
        self._graph = _new_graph(dim, _FIRST_CAPACITY)
        self._stuck_at = _NEVER
        self._filter: _Filter | None = None

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, id: int) -> bool:
        with self._lock.reading:
            return bool(len(self._ids.find(np.array([id], np.int64))))

    def ids(self) -> NDArray[np.int64]:
        """The ids (n,) in the index, in no order."""
        with self._lock.reading:
            return self._ids.ids[self._ids.live_rows()].copy()

    def upsert(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """See `Index.upsert`."""
        ids = check_ids(ids)
        rows = unit_rows(vectors, len(ids), self.dim)
        last = last_of_each(ids)
        if last is not None:
            ids, rows = ids[last], rows[last]
        for start in range(0, len(ids), _BATCH):
            part = slice(start, start + _BATCH)
            with self._lock.writing():
                self._link(ids[part], rows[part])

    def delete(self, ids: ArrayLike) -> None:
        """See `Index.delete`. The node stays in the graph, marked, until a later upsert takes it over."""
        gone = check_ids(ids)
        with self._lock.writing():
            for row in self._ids.release(gone).tolist():
                self._graph.mark_deleted(row)
            self._filter = None

    def search(self, vector: NDArray[np.float32], k: int, *, allowed: NDArray[np.int64] | None = None) -> Neighbours:
        """See `Index.search`."""
        k, query = check_k(k), unit_row(vector, self.dim)
        wanted = None if allowed is None else distinct(allowed)
        with self._lock.reading:
            allow = None if wanted is None else self._allow(wanted)
            if allow is None or len(allow.rows) == len(self):
                return self._everywhere(query, k)
            return self._among(query, k, allow)

    def save(self, path: Path) -> str:
        """See `Index.save`."""
        header = Header("hnsw", self.space, self.dim)
        with self._lock.reading:
            sections = {"ids": self._ids.ids, "codes": self._codes.data[: self._ids.count]}
            return write_index(path, header, sections, graph=self._write_graph if self._ids.count else None)

    @classmethod
    def open(cls, path: Path, *, space: str, dim: int, sha256: str | None = None, threads: int = 1) -> Self:
        """See `Index.open`."""
        index = cls(space=space, dim=dim, threads=threads)
        file = read_index(path, Header("hnsw", space, dim), sections=_SECTIONS, sha256=sha256)
        ids = file.sections["ids"]
        if (file.graph is None) != (not len(ids)):
            raise StoreCorruptError(f"the index {path} has {len(ids)} ids but no graph to match: build it again")
        if file.graph is not None:
            index._graph = _load_graph(file.graph, dim, len(ids))
        index._ids, index._codes = RowIds(ids), Rows(dim, "int8", file.sections["codes"])
        return index

    def _link(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        places = self._ids.plan(ids, refill=self._ids.free * _FREE_SHARE >= self._ids.count)
        needed, capacity = int(places.max()) + 1, self._graph.get_max_elements()
        if needed > capacity:
            self._graph.resize_index(max(needed, capacity * 3 // 2))
        # Nodes that are moved rewire their neighbours: hnswlib promises that to one thread only.
        threads = self._threads if int(places.min()) >= self._ids.count else 1
        self._graph.add_items(vectors, places, num_threads=threads)
        self._codes.put(places, vectors)
        self._ids.assign(places, ids)
        self._stuck_at, self._filter = _NEVER, None

    def _everywhere(self, query: NDArray[np.float32], k: int) -> Neighbours:
        if self._ids.free and len(self) <= self._ids.count // _SCAN_SHARE:
            return self._scan(query, k, self._ids.live_rows())
        found = self._descend(query, k, len(self))
        return self._scan(query, k, self._ids.live_rows()) if found is None else found

    def _among(self, query: NDArray[np.float32], k: int, allow: _Filter) -> Neighbours:
        found = None
        if len(allow.rows) > max(_SCAN_BELOW, self._ids.count // _SCAN_SHARE):
            found = self._descend(query, k, len(allow.rows), allow.mask.__getitem__)
        return self._scan(query, k, allow.rows) if found is None else found

    def _allow(self, ids: NDArray[np.int64]) -> _Filter:
        """The rows of `ids`; those of the last search are kept, because an application filters alike every time."""
        last = self._filter
        if last is None or not np.array_equal(last.ids, ids):
            rows = self._ids.find(ids)
            mask = np.zeros(self._ids.count, np.uint8)
            mask[rows] = 1
            last = self._filter = _Filter(ids.copy(), rows, mask.tobytes())
        return last

    def _descend(self, query: NDArray[np.float32], k: int, count: int, allowed: Any = None) -> Neighbours | None:
        """The nearest by the graph, or None where only a scan tells: too few can be reached, or too many are equal.

        More than k are asked for, at no cost, because hnswlib's `ef` would be one setting for all threads, and so that
        ties at the edge are decided by id. A node that was not reached with the candidate list not full is cut off:
        a wider list would not help. Each such failure leaks hnswlib's own result buffer, so none is tried twice.
        """
        if not count:
            return _NOTHING
        for wanted in (min(max(EF_SEARCH, 2 * k), count), min(k, count)):
            if wanted >= self._stuck_at:
                continue
            try:
                rows, distances = self._graph.knn_query(query, k=wanted, num_threads=1, filter=allowed)
            except RuntimeError:
                self._stuck_at = wanted
                continue
            tied = k < wanted < count and distances[0, k - 1] == distances[0, -1]
            found = self._ids.ids[rows[0].astype(np.int64)]
            return None if tied else nearest(found, np.maximum(distances[0], 0.0), k)
        return None

    def _scan(self, query: NDArray[np.float32], k: int, rows: NDArray[np.int64]) -> Neighbours:
        """The nearest of `rows`: the best by code, compared again with the true vectors."""
        by_code = 1.0 - self._codes.similarities(query, self._ids.count, rows)
        ids = nearest(self._ids.ids[rows], by_code, k + max(_SPARE, k // 4)).ids
        best = self._ids.find(ids)
        distances = np.empty(len(best), np.float32)
        for start in range(0, len(best), _GET_BATCH):
            part = slice(start, start + _GET_BATCH)
            vectors = np.asarray(self._graph.get_items(best[part]), np.float32)
            distances[part] = 1.0 - np.einsum("ij,j->i", vectors, query)
        return nearest(ids, np.maximum(distances, 0.0), k)

    def _write_graph(self, path: Path) -> None:
        self._graph.save_index(str(path))
        # hnswlib does not look whether its writes succeeded, and chroma-hnswlib cannot say how long the file must be.
        expected = getattr(self._graph, "index_file_size", None)
        if expected is None:
            _load_graph(path, self.dim, self._ids.count)
        elif path.stat().st_size != expected():
            raise OSError(f"{path.name} was written in part")


_NOTHING = Neighbours(np.empty(0, np.int64), np.empty(0, np.float32))


def _hnswlib() -> Any:
    try:
        return importlib.import_module("hnswlib")
    except ImportError as error:
        raise StoreError(
            "hnswlib is not installed: pip install 'handlens[hnsw]' (compiled here, needs g++) or "
            "'handlens[hnsw-wheel]' (prebuilt), or choose index=\"exact\""
        ) from error


def _new_graph(dim: int, capacity: int) -> Any:
    graph = _hnswlib().Index(space="ip", dim=dim)
    graph.init_index(max_elements=capacity, M=M, ef_construction=EF_CONSTRUCTION, random_seed=_SEED)
    graph.set_ef(EF_SEARCH)
    return graph


def _load_graph(path: Path, dim: int, count: int) -> Any:
    graph = _hnswlib().Index(space="ip", dim=dim)
    try:
        graph.load_index(str(path), max_elements=count)
    except RuntimeError as error:
        raise StoreCorruptError(f"the graph {path} does not load ({error}): build the index again") from error
    if graph.get_current_count() != count:
        raise StoreCorruptError(f"the graph {path} has {graph.get_current_count()} nodes, not {count}: build it again")
    graph.set_ef(EF_SEARCH)
    return graph
