"""What an index of the full catalogue reads from the database: changes since a number, and all that should be held."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Executable, and_, func, select
from sqlalchemy.orm import Session

from handlens.wire.pack import ItemEmbedding
from handlens_server.checking import Track, untracked
from handlens_server.embedding_rows import decode_parts
from handlens_server.full_index import IndexCheck
from handlens_server.tables import EmbeddingRow, ItemRow, SequenceRow

__all__ = ["Change", "catalogue_sequence", "compared", "count_items", "read_changes"]

_BATCH = 1024  # items read and taken over at a time
_NAMED = 100  # ids that a check keeps of each fault


@dataclass(frozen=True, slots=True)
class Change:
    """An item that changed, with what it has to show now: no parts when it is withdrawn or not embedded."""

    item_id: str
    sequence: int
    parts: tuple[ItemEmbedding, ...]


def read_changes(session: Session, space: str, *, after: int, track: Track = untracked) -> Iterator[list[Change]]:
    """The items that changed after the number `after`, in the order of their numbers, some at a time."""
    total = None if track is untracked else _count_changes(session, after)
    with session.execute(_changes(space, after)) as found:
        rows = iter(track(found, "index items", total))
        while batch := [_change(row) for row in islice(rows, _BATCH)]:
            yield batch


def count_items(session: Session, space: str) -> int:
    """How many items should be in an index of `space`."""
    query = select(func.count()).select_from(ItemRow).join(EmbeddingRow, _in_space(space))
    return session.scalars(query.where(~ItemRow.is_withdrawn)).one()


def catalogue_sequence(session: Session) -> int:
    """The number of the catalogue's last change."""
    return session.scalars(select(SequenceRow.value).where(SequenceRow.name == "catalogue")).one()


def compared(session: Session, space: str, held: Mapping[str, int]) -> IndexCheck:
    """The verdict over an index that holds items with the numbers `held`; at most 100 ids of each fault are kept."""
    query = select(ItemRow.item_id, ItemRow.sequence).join(EmbeddingRow, _in_space(space)).where(~ItemRow.is_withdrawn)
    missing: list[str] = []
    stale: list[str] = []
    seen = set()
    with session.execute(query.execution_options(yield_per=_BATCH)) as rows:
        for item_id, sequence in rows:
            if item_id in held:
                seen.add(item_id)
                if held[item_id] != sequence:
                    stale.append(item_id)
            else:
                missing.append(item_id)
    surplus = [item_id for item_id in held if item_id not in seen]
    return IndexCheck(len(seen) + len(missing), _few(missing), _few(surplus), _few(stale))


def _count_changes(session: Session, after: int) -> int:
    return session.scalars(select(func.count()).select_from(ItemRow).where(ItemRow.sequence > after)).one()


def _few(item_ids: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(item_ids)[:_NAMED])


def _change(row: Any) -> Change:
    is_shown = not row.is_withdrawn and row.parts is not None
    return Change(row.item_id, row.sequence, decode_parts(row.parts, row.codes) if is_shown else ())


def _changes(space: str, after: int) -> Executable:
    query = select(ItemRow.item_id, ItemRow.sequence, ItemRow.is_withdrawn, EmbeddingRow.parts, EmbeddingRow.codes)
    query = query.outerjoin(EmbeddingRow, _in_space(space)).where(ItemRow.sequence > after).order_by(ItemRow.sequence)
    return query.execution_options(yield_per=_BATCH)


def _in_space(space: str) -> Any:
    return and_(EmbeddingRow.picture == ItemRow.picture, EmbeddingRow.space == space)
