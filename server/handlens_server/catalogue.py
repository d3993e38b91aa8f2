"""The catalogue in the database: looking items up, withdrawing them and bringing them back.

Rules:

1. Whatever changes an item gives it the next number of the catalogue's counter, in the same transaction.
2. An item is withdrawn, never deleted. Who withdrew it must bring it back: a feed that still lists it does not.
3. Of a command that names several items, all are changed or none.
4. One process changes the catalogue of a data folder at a time (`catalogue_lock`), so that pictures half written by a
   process that was killed can be told from those being written.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from handlens.errors import HandlensError
from handlens.wire.item import Item
from handlens_server.config import Config
from handlens_server.database import next_sequence
from handlens_server.tables import EmbeddingRow, ItemRow, SequenceRow

__all__ = [
    "CatalogueBusyError",
    "CatalogueError",
    "CatalogueItem",
    "ItemFilter",
    "catalogue_lock",
    "find_item",
    "find_items",
    "in_chunks",
    "list_items",
    "parse_record",
    "restore_items",
    "touch",
    "withdraw_items",
    "withdrawn_ids",
]

_T = TypeVar("_T")
_CHUNK = 500  # ids in one query: SQLite takes 32,766, but its plans are made for fewer


class CatalogueError(HandlensError):
    """The catalogue has not what was asked for."""


class CatalogueBusyError(CatalogueError):
    """Another process is changing the catalogue: try again when it is done."""


@dataclass(frozen=True, slots=True)
class CatalogueItem:
    """An item with what the server knows of it; `spaces` are the embedding spaces that its picture is embedded in."""

    item: Item
    feed: str
    sequence: int
    is_withdrawn: bool
    picture: str | None
    spaces: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        names = ("feed", "sequence", "is_withdrawn", "picture")
        return {
            "item": self.item.to_dict(),
            **{name: getattr(self, name) for name in names},
            "spaces": list(self.spaces),
        }


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Which items are listed; an empty field asks for nothing. Withdrawn ones are listed apart from the others."""

    feed: str = ""
    kind: str = ""
    object_type: str = ""
    is_withdrawn: bool = False

    def conditions(self) -> list[ColumnElement[bool]]:
        """The conditions of the query."""
        asked = {name: getattr(self, name) for name in ("feed", "kind", "object_type")}
        wanted = [getattr(ItemRow, name) == value for name, value in asked.items() if value]
        return [ItemRow.is_withdrawn == self.is_withdrawn, *wanted]


@contextmanager
def catalogue_lock(config: Config) -> Iterator[None]:
    """Hold the catalogue of this data folder; a process that dies lets go of it.

    Raises:
        CatalogueBusyError: another process holds it. CatalogueError: the folder cannot be written.
    """
    path = config.data_dir / "catalogue.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("wb")
    except OSError as error:
        raise CatalogueError(
            f"{path} cannot be written ({error.strerror}): give another --data-dir, or the right to write"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CatalogueBusyError(
                f"another process imports or embeds in {config.data_dir}: run this again when it is done"
            ) from error
        yield


def withdraw_items(session: Session, item_ids: Sequence[str]) -> int:
    """Withdraw items, how many were not withdrawn before; the next release takes them from every device.

    Raises:
        CatalogueError: an id is unknown; nothing is changed then.
    """
    return _mark(session, item_ids, is_withdrawn=True)


def restore_items(session: Session, item_ids: Sequence[str]) -> int:
    """Bring withdrawn items back, how many were withdrawn; raises as `withdraw_items`."""
    return _mark(session, item_ids, is_withdrawn=False)


def withdrawn_ids(session: Session) -> frozenset[str]:
    """The ids of all withdrawn items."""
    return frozenset(session.scalars(select(ItemRow.item_id).where(ItemRow.is_withdrawn)))


def find_item(session: Session, item_id: str) -> CatalogueItem:
    """The item `item_id`.

    Raises:
        CatalogueError: there is none.
    """
    row = session.get(ItemRow, item_id)
    if row is None:
        raise _unknown([item_id])
    spaces = select(EmbeddingRow.space).where(EmbeddingRow.picture == row.picture).order_by(EmbeddingRow.space)
    return _described(row, tuple(session.scalars(spaces)))


def find_items(session: Session, item_ids: Iterable[str]) -> dict[str, Item]:
    """Those of the items that the catalogue has and that are not withdrawn, by their ids."""
    found: dict[str, Item] = {}
    for chunk in in_chunks(sorted(item_ids)):
        query = select(ItemRow.item_id, ItemRow.record).where(ItemRow.item_id.in_(chunk), ~ItemRow.is_withdrawn)
        found |= {row.item_id: parse_record(row.record) for row in session.execute(query)}
    return found


def list_items(session: Session, wanted: ItemFilter, *, limit: int | None = None) -> Iterator[CatalogueItem]:
    """Items by id, at most `limit`; `spaces` is left empty."""
    query = select(ItemRow).where(*wanted.conditions()).order_by(ItemRow.item_id).limit(limit)
    with session.execute(query.execution_options(yield_per=_CHUNK)) as found:
        for row in found.scalars():
            yield _described(row)


def touch(session: Session, rows: Sequence[ItemRow]) -> None:
    """Give changed items the next numbers of the catalogue, in their order."""
    if not rows:
        return
    first = next_sequence(session, "catalogue")
    # The counter is locked by the first number: the others are taken in one step, not one an item.
    counter = update(SequenceRow).where(SequenceRow.name == "catalogue")
    session.execute(counter.values(value=SequenceRow.value + len(rows) - 1))
    for number, row in enumerate(rows, start=first):
        row.sequence = number


def parse_record(record: str) -> Item:
    """The item in the text that `ItemRow.record` holds."""
    return Item.from_dict(json.loads(record))


def in_chunks(values: Iterable[_T]) -> Iterator[list[_T]]:
    """`values` in lists that one query takes."""
    source = iter(values)
    while chunk := list(islice(source, _CHUNK)):
        yield chunk


def _mark(session: Session, item_ids: Sequence[str], *, is_withdrawn: bool) -> int:
    unknown: list[str] = []
    count = 0
    for chunk in in_chunks(dict.fromkeys(item_ids)):
        rows = list(session.scalars(select(ItemRow).where(ItemRow.item_id.in_(chunk)).order_by(ItemRow.item_id)))
        unknown += sorted(set(chunk) - {row.item_id for row in rows})
        changed = [row for row in rows if row.is_withdrawn != is_withdrawn]
        for row in changed:
            row.is_withdrawn = is_withdrawn
        touch(session, changed)
        count += len(changed)
    if unknown:
        raise _unknown(unknown)
    return count


def _unknown(item_ids: Sequence[str]) -> CatalogueError:
    shown = ", ".join(repr(item_id)[:80] for item_id in item_ids[:5])
    more = f" and {len(item_ids) - 5} more" if len(item_ids) > 5 else ""
    return CatalogueError(f"the catalogue has no item {shown}{more}: see `handlens-server catalog list`")


def _described(row: ItemRow, spaces: tuple[str, ...] = ()) -> CatalogueItem:
    return CatalogueItem(parse_record(row.record), row.feed, row.sequence, row.is_withdrawn, row.picture, spaces)
