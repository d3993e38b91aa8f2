"""The rows that packs are built from: items that are not withdrawn, each as the canonical line of its pack row.

Rows come by item id, by code point, on both databases alike, and are read as a stream.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import ColumnElement, Executable, and_, func, select
from sqlalchemy.orm import Session

from handlens.wire.item import Item
from handlens.wire.pack import PackRow, encode_row
from handlens_server.catalogue import CatalogueError, parse_record
from handlens_server.embedding_rows import decode_parts, with_colours
from handlens_server.tables import EmbeddingRow, ItemRow

__all__ = ["load_rows", "unembedded"]

_READ = 500  # rows fetched at a time


def load_rows(
    session: Session, space: str, matches: Callable[[Item], bool], top: int | None = None
) -> Iterator[tuple[str, bytes]]:
    """Item id and canonical line of each item that `matches`, by id; of those only the `top` of best quality, if given.

    Of items of equal quality those with the smaller id are the better ones.

    Raises:
        CatalogueError: the picture of an item has no embedding in `space`.
    """
    chosen = None if top is None else _best(session, matches, top)
    with session.execute(_rows(session, space)) as rows:
        for row in rows:
            if chosen is not None and row.item_id not in chosen:
                continue
            item = parse_record(row.record)
            if chosen is not None or matches(item):
                yield row.item_id, encode_row(_pack_row(item, row, space))


def unembedded(session: Session, space: str) -> int:
    """How many items, not withdrawn, have a picture without an embedding in `space`."""
    query = select(func.count()).select_from(ItemRow).outerjoin(EmbeddingRow, _in_space(space))
    return session.scalars(
        query.where(~ItemRow.is_withdrawn, ItemRow.picture.is_not(None), EmbeddingRow.picture.is_(None))
    ).one()


def _best(session: Session, matches: Callable[[Item], bool], top: int) -> set[str]:
    query = select(ItemRow.item_id, ItemRow.quality, ItemRow.record).where(~ItemRow.is_withdrawn)
    with session.execute(query.execution_options(yield_per=_READ)) as rows:
        ranked = ((-row.quality, row.item_id) for row in rows if matches(parse_record(row.record)))
        return {item_id for _, item_id in heapq.nsmallest(top, ranked)}


def _pack_row(item: Item, row: Any, space: str) -> PackRow:
    if row.picture is None:
        return PackRow(item)
    if row.parts is None:
        raise CatalogueError(f"item {item.item_id!r} has no embedding in {space}: run `handlens-server catalog embed`")
    return PackRow(with_colours(item, row.parts), decode_parts(row.parts, row.codes), row.thumbnail)


def _rows(session: Session, space: str) -> Executable:
    # PostgreSQL would sort by the language of the database, SQLite sorts by code point.
    is_postgresql = session.get_bind().dialect.name == "postgresql"
    order = ItemRow.item_id.collate("C") if is_postgresql else ItemRow.item_id
    columns = (EmbeddingRow.parts, EmbeddingRow.codes, EmbeddingRow.thumbnail)
    query = select(ItemRow.item_id, ItemRow.record, ItemRow.picture, *columns)
    query = query.outerjoin(EmbeddingRow, _in_space(space)).where(~ItemRow.is_withdrawn).order_by(order)
    return query.execution_options(yield_per=_READ)


def _in_space(space: str) -> ColumnElement[bool]:
    return and_(EmbeddingRow.picture == ItemRow.picture, EmbeddingRow.space == space)
