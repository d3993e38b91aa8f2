"""What the server's own index answers: every embedding of every item that is not withdrawn, in one embedding space.

It is a copy: the database says what is in it, and it can be made again from there. Rules that every implementation
keeps (`LocalIndex` in the process, `MilvusIndex` on a Milvus server):

1. It follows the numbers of the catalogue: `refresh` reads the items that changed since `sequence`, and no others. A
   refresh that was cut off anywhere is simply made again.
2. A withdrawn item is gone from the answers of this process with the refresh that follows, a changed one is never
   absent between.
3. Searches go on while it is refreshed, saved or rebuilt.
4. A search gives k parts of pictures or all there are, nearest first; of equal distances the smaller item id is first,
   then the earlier part.
5. What cannot answer raises `IndexUnavailableError`; it never answers with less in silence.

::

    index = open_full_index(config, space=embedder.spec.space, dim=embedder.spec.dim)
    with database.read() as session:
        index.refresh(session)
    for item_id, box, distance in index.search(vector, 12): ...
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy.orm import Session

from handlens.errors import HandlensError
from handlens.geometry import Box
from handlens_server.checking import Track
from handlens_server.database import Database

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "MAX_K",
    "SPARE",
    "Found",
    "FullIndex",
    "IndexBusyError",
    "IndexCheck",
    "IndexMismatchError",
    "IndexStatus",
    "IndexUnavailableError",
    "check_k",
]

MAX_K = 16_383  # Milvus gives 16,384, one of which may be our own state; one limit for every implementation
SPARE = 16  # neighbours asked for beyond k, so that equal distances at the edge are decided by id

Found = tuple[str, Box, float]
"""Item id, the part's box, and its distance (1 - cosine, from 0 to 2)."""


class IndexUnavailableError(HandlensError):
    """The full index cannot answer now: try again later."""


class IndexBusyError(IndexUnavailableError):
    """Another process builds or saves the index: try again when it is done."""


class IndexMismatchError(HandlensError):
    """The index shows another catalogue than the database, or another embedding space than was asked for."""


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """What an index says of itself; `reason` is why it is this kind, `place` a folder or an address."""

    kind: str
    space: str
    place: str
    sequence: int
    parts: int
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class IndexCheck:
    """An index beside its database: items that it lacks, items that it should not have, items in a former state."""

    items: int
    missing: tuple[str, ...]
    surplus: tuple[str, ...]
    stale: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        """Whether the index has exactly what the database has."""
        return not (self.missing or self.surplus or self.stale)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {"is_good": self.is_good, **{name: getattr(self, name) for name in self.__dataclass_fields__}}


class FullIndex(Protocol):
    """An index of the catalogue in the embedding space `space`, whose vectors have `dim` components. Thread-safe."""

    space: str
    dim: int

    @property
    def sequence(self) -> int:
        """The number of the catalogue up to which it shows all changes, as this process last knew it."""

    def __len__(self) -> int:
        """How many parts it holds. Raises `IndexUnavailableError`."""

    def refresh(self, session: Session) -> int:
        """Take over what changed in the catalogue since `sequence`; how many items that were.

        Of several processes one does the work, where the index is common to them; the others answer 0.

        Raises:
            IndexUnavailableError: the index cannot be reached.
            IndexMismatchError: it shows a later number than the database has: it belongs to another catalogue.
            DatabaseError: the database cannot be read.
        """

    def search(self, vector: NDArray[np.float32], k: int, *, allowed: Collection[str] | None = None) -> list[Found]:
        """The `k` parts nearest to `vector` (dim,), nearest first; only of the items `allowed` when they are given.

        Raises:
            ValueError: k is not in 1..MAX_K, wrong shape, or the vector is zero or not finite.
            IndexUnavailableError: the index cannot answer now.
        """

    def maintain(self, database: Database) -> None:
        """Do what is due beside searches and refreshes: save, build again. May take minutes; call it now and then."""

    def rebuild(self, database: Database, *, track: Track) -> None:
        """Build the index again beside the one that answers, then switch. Raises as `refresh`."""

    def check(self, session: Session) -> IndexCheck:
        """Compare the whole index with the database, item by item. Raises as `refresh`."""

    def status(self) -> IndexStatus:
        """What it is and what it holds. Raises `IndexUnavailableError`."""

    def close(self) -> None:
        """Let go of files and connections; the index is not used after that."""


def check_k(k: int) -> int:
    """`k`; ValueError when it is not in 1..MAX_K."""
    if not 1 <= k <= MAX_K:
        raise ValueError(f"k is {k}: ask for 1 to {MAX_K} neighbours")
    return int(k)
