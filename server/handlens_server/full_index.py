"""The server's own index: every embedding of every item that is not withdrawn, in one embedding space.

Rules:

1. It follows the numbers of the catalogue: `refresh` reads the items that changed since the last one, and no others.
2. A withdrawn item is gone from the answers with the refresh that follows.
3. Searches go on while it is refreshed; a number under which a vector stands is never given to another item.

::

    index = FullIndex(space=embedder.spec.space, dim=embedder.spec.dim)
    with database.read() as session:
        index.refresh(session)
    for item_id, box, distance in index.search(vector, 12): ...
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Executable, and_, select
from sqlalchemy.orm import Session

from handlens.geometry import Box
from handlens.index import ExactIndex, HnswIndex, Index, add_codes, available
from handlens.wire.pack import ItemEmbedding
from handlens_server.embedding_rows import decode_parts
from handlens_server.tables import EmbeddingRow, ItemRow

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FullIndex"]

_BATCH = 4096  # items read and linked at a time


class FullIndex:
    """An index over the full catalogue: HNSW where hnswlib is installed, exact otherwise. Thread-safe.

    `sequence` is the number of the catalogue that it shows.
    """

    def __init__(self, *, space: str, dim: int, index: Index | None = None) -> None:
        self.space = space
        self.sequence = 0
        self._index = index or (
            HnswIndex(space=space, dim=dim) if available() else ExactIndex(space=space, dim=dim, dtype="int8")
        )
        self._refreshing = threading.Lock()
        self._numbers = count()
        self._shown: dict[int, tuple[str, Box]] = {}  # what stands under a number of the index
        self._held: dict[str, list[int]] = {}  # the numbers of an item

    def __len__(self) -> int:
        return len(self._index)

    def refresh(self, session: Session) -> int:
        """Take over what changed in the catalogue; how many items that were."""
        with self._refreshing:
            changed, newest = 0, self.sequence
            with session.execute(_changes(self.space, self.sequence)) as found:
                for rows in found.partitions():
                    self._apply(rows)
                    changed += len(rows)
                    newest = rows[-1].sequence
            self.sequence = newest
            return changed

    def search(self, vector: NDArray[np.float32], k: int) -> list[tuple[str, Box, float]]:
        """The `k` nearest parts of pictures: item id, box, and distance (1 - cosine), nearest first.

        Raises:
            ValueError: k is below 1, wrong shape, or the vector is zero or not finite.
        """
        found = self._index.search(vector, k)
        pairs = zip(found.ids.tolist(), found.distances.tolist(), strict=True)
        shown = ((self._shown.get(number), distance) for number, distance in pairs)
        return [(*one, distance) for one, distance in shown if one is not None]  # None: withdrawn a moment ago

    def _apply(self, rows: Sequence[Any]) -> None:
        """Put the parts of changed items in, then take their former ones out: an item is never absent between."""
        parts = [(row.item_id, part) for row in rows for part in _parts(row)]
        numbers = list(islice(self._numbers, len(parts)))
        self._shown |= {number: (item_id, part.box) for number, (item_id, part) in zip(numbers, parts, strict=True)}
        if parts:
            codes = np.frombuffer(b"".join(part.code for _, part in parts), np.int8).reshape(len(parts), -1)
            add_codes(self._index, np.array(numbers, np.int64), codes)
        former = [number for row in rows for number in self._held.pop(row.item_id, ())]
        for number, (item_id, _) in zip(numbers, parts, strict=True):
            self._held.setdefault(item_id, []).append(number)
        self._index.delete(np.array(former, np.int64))
        for number in former:
            del self._shown[number]


def _parts(row: Any) -> tuple[ItemEmbedding, ...]:
    return () if row.is_withdrawn or row.parts is None else decode_parts(row.parts, row.codes)


def _changes(space: str, after: int) -> Executable:
    in_space = and_(EmbeddingRow.picture == ItemRow.picture, EmbeddingRow.space == space)
    query = select(ItemRow.item_id, ItemRow.sequence, ItemRow.is_withdrawn, EmbeddingRow.parts, EmbeddingRow.codes)
    query = query.outerjoin(EmbeddingRow, in_space).where(ItemRow.sequence > after).order_by(ItemRow.sequence)
    return query.execution_options(yield_per=_BATCH)
