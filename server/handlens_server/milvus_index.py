"""The full index on a Milvus server, common to all processes and nodes of a backend.

One row a part of a picture: `id` (item id, "#", number of the part), `item_id`, `sequence` (the item's), `box` (JSON),
`vector`. The row `#` is the state: its `sequence` is the number of the catalogue up to which the collection shows all.
(A property of the collection would do, but Milvus 2.3.5 forgets the last one with a restart: milvus-io/milvus#30144.)
Rules:

1. One process at a time takes changes over: a lock in PostgreSQL, a file's beside SQLite. The others see its work.
2. The rows of a change go in, then its former rows out, then the state: what was cut off is made again, with the same
   result.
3. Searches go by an alias. A rebuild fills a new collection beside the old one, then the alias moves and the old one
   goes: a search that was under way to it is made once more.
4. A refresh waits until searches see it: one of Milvus's ticks (0.2 s), or two. Searches do not wait: "Strong" would
   make each of them wait for a tick. What stands in the collection before a refresh is read without waiting where this
   process made the last one, which ended with such a wait. Of a process that died in the midst of another since then,
   a row may be overlooked: a part of a picture that its item lost, which the search store does not know either, so
   that it is passed over, until the item changes again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog
from sqlalchemy.orm import Session

from handlens.faults import fault_point
from handlens.index.base import unit_row
from handlens_server.checking import Track, untracked
from handlens_server.database import Database
from handlens_server.full_index import (
    MAX_K,
    SPARE,
    Found,
    IndexBusyError,
    IndexCheck,
    IndexMismatchError,
    IndexStatus,
    IndexUnavailableError,
    check_k,
)
from handlens_server.index_changes import Change, catalogue_sequence, compared, read_changes
from handlens_server.index_locks import try_lock
from handlens_server.milvus_calls import CollectionGoneError, MilvusAddress, MilvusCalls, MilvusTimes, quoted
from handlens_server.milvus_rows import Hit, alias_of, conditions, first_name, next_name, read_hit, rows_of
from handlens_server.milvus_schema import STATE, create_collection, state_row, vector_dim, wait_until_linked

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MilvusIndex"]

_LOG = structlog.get_logger("handlens_server.index")
_LIMIT = MAX_K + 1  # what Milvus gives at most: one more than we do, for the state
_EF = 96  # candidates kept while searching, at least
_MAX_EF = 32_768
_PAGE = 5000  # rows read at a time by a check
_WRITE_ROWS = 4096  # rows of one upsert: 3 MB
_SEAL_FROM = 20_000  # rows written by one refresh from which on they are sealed, so that Milvus links them at once
_SWITCH_SECONDS = 60  # how long a rebuild waits for the refresh of another process


class MilvusIndex:
    """See `FullIndex`. Nothing is connected before it is needed."""

    def __init__(
        self, address: MilvusAddress, *, space: str, dim: int, locks: Path, times: MilvusTimes | None = None
    ) -> None:
        self.space = space
        self.dim = dim
        self.sequence = 0
        self._calls = MilvusCalls(address, times)
        self._alias = alias_of(address.prefix, space)
        self._locks = locks
        self._refreshing = threading.Lock()
        self._is_known = False  # whether `sequence` is the collection's, and its schema fits
        self._was_away = False  # whether a call failed since the collection was last seen whole
        self._looking = threading.Lock()
        self._written = -1  # the number that this process wrote last

    def __len__(self) -> int:
        return self._count()

    def refresh(self, session: Session) -> int:
        """See `FullIndex.refresh`."""
        with self._refreshing:
            newest = catalogue_sequence(session)
            if self._is_known and self.sequence >= newest:
                return 0
            with try_lock(session, f"{self._alias}.refresh", self._locks) as is_ours:
                held = self._held(create=is_ours)
                # Later on it is no fault: the session may have begun before another process went on.
                if held > newest and is_ours and not self._is_known:
                    raise self._other_catalogue(held, newest)
                count = self._follow(session, self._alias, held, newest) if is_ours and held < newest else 0
                self.sequence = max(held, newest) if is_ours else held
                self._is_known = True
                return count

    def search(self, vector: NDArray[np.float32], k: int, *, allowed: Collection[str] | None = None) -> list[Found]:
        """See `FullIndex.search`."""
        k, query = check_k(k), unit_row(vector, self.dim)
        if self._was_away:
            self._look_again()
        try:
            rows = [row for condition in conditions(allowed) for row in self._search(query, k, condition)]
        except IndexUnavailableError:
            self._is_known = False  # it may come back as another one
            self._was_away = True
            raise
        return [(item_id, box, distance) for distance, item_id, _, box in sorted(rows, key=_order)[:k]]

    def maintain(self, database: Database) -> None:
        """See `FullIndex.maintain`: Milvus links its segments by itself; here is only looked whether it is there."""
        try:
            self._state(self._alias, "Eventually")
        except IndexUnavailableError:
            self._was_away = True
            raise

    def rebuild(self, database: Database, *, track: Track = untracked) -> None:
        """See `FullIndex.rebuild`. Refreshes go on meanwhile, into the collection that answers.

        Raises:
            IndexBusyError: another process builds, or refreshes for too long.
        """
        with database.read() as session, try_lock(session, f"{self._alias}.build", self._locks) as is_ours:
            if not is_ours:
                raise IndexBusyError(f"another process builds {self._alias}: wait for it")
            made = next_name(self._alias, self._collection())
            create_collection(self._calls, made, dim=self.dim)
            newest = catalogue_sequence(session)
            self._follow(session, made, 0, newest, is_new=True, track=track)
            if not wait_until_linked(self._calls, made):
                _LOG.warning("index-not-linked", space=self.space, collection=made)
            self._switch(database, made, newest)

    def check(self, session: Session) -> IndexCheck:
        """See `FullIndex.check`. It reads every row's id from Milvus."""
        self.refresh(session)
        held: dict[str, int] = {}
        pages = self._calls.pages(self._alias, size=_PAGE, fields=["item_id", "sequence"], condition='item_id != ""')
        for row in (row for page in pages for row in page):
            held[row["item_id"]] = min(row["sequence"], held.get(row["item_id"], row["sequence"]))
        return compared(session, self.space, held)

    def status(self) -> IndexStatus:
        """See `FullIndex.status`."""
        place = f"{self._calls.address.uri} {self._collection() or self._alias}"
        held = self._held(create=False)
        return IndexStatus("milvus", self.space, place, held, self._count(), "HANDLENS_INDEX names it")

    def close(self) -> None:
        """See `FullIndex.close`."""
        self._calls.close()

    def _follow(
        self,
        session: Session,
        collection: str,
        after: int,
        newest: int,
        *,
        is_new: bool = False,
        track: Track = untracked,
    ) -> int:
        """Take over what changed after the number `after` into a collection; how many items that were."""
        items = written = 0
        for batch in read_changes(session, self.space, after=after, track=track):
            former = set() if is_new else self._rows_held(collection, batch, after)
            rows = [row for change in batch for row in rows_of(change)]
            self._replace(collection, rows, former - {row["id"] for row in rows})
            items, written = items + len(batch), written + len(rows)
        if written >= _SEAL_FROM:
            self._calls.call("flush", collection)
        if newest > after:
            fault_point("milvus.state")
            self._calls.call("upsert", collection, [state_row(newest, self.dim)])
            fault_point("milvus.state")
            self._state(collection, "Strong")  # now searches see it all
            self._written = newest
        return items

    def _rows_held(self, collection: str, changes: Sequence[Change], after: int) -> set[str]:
        """The ids of the rows that changed items have in a collection that shows the number `after`: rule 4."""
        condition = f"item_id in {quoted(change.item_id for change in changes)}"
        level = "Session" if self._written == after else "Strong"
        held = self._calls.call("query", collection, filter=condition, output_fields=["id"], consistency_level=level)
        return {row["id"] for row in held}

    def _replace(self, collection: str, rows: list[dict[str, Any]], former: set[str]) -> None:
        """Put rows in, then take the former ones out."""
        for start in range(0, len(rows), _WRITE_ROWS):
            self._calls.call("upsert", collection, rows[start : start + _WRITE_ROWS])
        fault_point("milvus.upserted")
        if former:
            self._calls.call("delete", collection, filter=f"id in {quoted(sorted(former))}")
        fault_point("milvus.deleted")

    def _look_again(self) -> None:
        """A Milvus that was away answers before it has read back all that was written: nothing may be missing then."""
        if not self._looking.acquire(blocking=False):
            raise self._coming_back("is being looked at again")
        try:
            held = self._state(self._alias, "Strong", timeout=self._calls.times.search)
            if held < self.sequence:
                raise self._coming_back(f"shows change {held}, and had {self.sequence}")
            self._was_away = False
        finally:
            self._looking.release()

    def _coming_back(self, why: str) -> IndexUnavailableError:
        return IndexUnavailableError(f"Milvus at {self._calls.address.uri} was away and {why}: ask again later")

    def _state(self, collection: str, level: str, *, timeout: float | None = None) -> int:
        """The number of the collection.

        "Strong" waits for Milvus's next tick: what was written before is then seen by searches. ("Session" would be
        sooner, but leaves out what was taken away.) "Eventually" does not wait, and may give a former number: to take
        changes over once more does no harm.
        """
        condition = f"id in {quoted([STATE])}"
        rows = self._calls.call(
            "query", collection, timeout=timeout, filter=condition, output_fields=["sequence"], consistency_level=level
        )
        return int(rows[0]["sequence"]) if rows else 0

    def _search(self, query: NDArray[np.float32], k: int, condition: str) -> list[Hit]:
        try:
            return self._asked(query, k, condition)
        except CollectionGoneError:  # rule 3
            return self._asked(query, k, condition)

    def _asked(self, query: NDArray[np.float32], k: int, condition: str) -> list[Hit]:
        limit = min(k + SPARE, _LIMIT)
        hits = self._calls.call(
            "search",
            self._alias,
            [query],
            timeout=self._calls.times.search,
            filter=condition,
            limit=limit,
            output_fields=["item_id", "box"],
            search_params={"params": {"ef": min(max(_EF, 2 * limit), _MAX_EF)}},
            consistency_level="Session",
        )
        return [read_hit(hit) for hit in hits[0] if hit["id"] != STATE]

    def _held(self, *, create: bool) -> int:
        """The number of the collection; it is made, if `create`, where there is none.

        Raises:
            IndexMismatchError: it has vectors of another length. IndexUnavailableError: there is none.
        """
        if self._is_known:
            return max(self._state(self._alias, "Eventually"), self.sequence)
        name = self._collection()
        if name is None and create:
            name = first_name(self._alias)
            create_collection(self._calls, name, dim=self.dim)
            self._calls.call("create_alias", name, self._alias)
        if name is None:
            raise IndexUnavailableError(f"Milvus has no {self._alias} yet: the first refresh makes it")
        described = self._calls.call("describe_collection", name)
        dim = vector_dim(described)
        if dim != self.dim:
            raise IndexMismatchError(
                f"{name} at {self._calls.address.uri} has vectors of {dim} components, {self.space} has {self.dim}: "
                "give another prefix in HANDLENS_INDEX, or run `handlens-server index build`"
            )
        return self._state(name, "Strong")

    def _collection(self) -> str | None:
        """The collection that the alias stands for, or None."""
        if not self._calls.call("has_collection", self._alias):
            return None
        return str(self._calls.call("describe_collection", self._alias)["collection_name"])

    def _count(self) -> int:
        rows = self._calls.call(
            "query", self._alias, filter='item_id != ""', output_fields=["count(*)"], consistency_level="Strong"
        )
        return int(rows[0]["count(*)"])

    def _switch(self, database: Database, made: str, after: int) -> None:
        """Bring the collection `made` up to date and let it answer; the former one goes."""
        with self._refreshing, database.read() as session:
            with _patiently(session, f"{self._alias}.refresh", self._locks):
                newest = catalogue_sequence(session)
                self._follow(session, made, after, newest)
                former = self._collection()
                self._calls.call("alter_alias" if former else "create_alias", made, self._alias)
            self.sequence, self._is_known = newest, True
        if former:
            self._calls.call("drop_collection", former)

    def _other_catalogue(self, held: int, newest: int) -> IndexMismatchError:
        return IndexMismatchError(
            f"{self._alias} at {self._calls.address.uri} shows change {held}, the database has {newest}: it is another "
            "catalogue's, or the database is an older one: correct HANDLENS_INDEX, or run `handlens-server index build`"
        )


@contextmanager
def _patiently(session: Session, name: str, folder: Path) -> Iterator[None]:
    until = time.monotonic() + _SWITCH_SECONDS
    while True:
        with try_lock(session, name, folder) as is_ours:
            if is_ours:
                yield
                return
        if time.monotonic() > until:
            raise IndexBusyError(f"another process refreshes the index for more than {_SWITCH_SECONDS} s: try again")
        time.sleep(0.05)


def _order(row: Hit) -> tuple[float, str, int]:
    return row[:3]
