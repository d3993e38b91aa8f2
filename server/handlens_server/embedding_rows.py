"""The embeddings of pictures in the database, one row a picture and embedding space.

Rules:

1. Embeddings are committed a few at a time: what is killed goes on where it stopped.
2. No transaction is open while a model runs.
3. An item whose picture got another embedding has changed, and takes the next number of the catalogue.
4. Beside the boxes stand the colours of the picture's main object. They are shown as the item's attribute `colours`,
   unless the feed gave one; rows that were written before there were colours have none, and stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from handlens.errors import ImageError
from handlens.faults import fault_point
from handlens.geometry import Box
from handlens.wire.item import Item
from handlens.wire.pack import ItemEmbedding
from handlens_server.catalogue import catalogue_lock, in_chunks, touch
from handlens_server.checking import Track, untracked
from handlens_server.config import Config
from handlens_server.database import Database
from handlens_server.embedding import PictureEmbedder, PictureEmbedding
from handlens_server.pictures import PictureError, PictureStore
from handlens_server.tables import EmbeddingRow, ItemRow

__all__ = ["decode_parts", "embed_all", "embed_pictures", "embedded_pictures", "with_colours"]

_COMMIT_EVERY = 32  # pictures: under a second of work is lost by a kill


def embed_all(config: Config, database: Database, embedder: PictureEmbedder, *, track: Track = untracked) -> int:
    """Embed each picture of the catalogue that lacks an embedding by these models; how many there were.

    Raises:
        CatalogueBusyError: an import runs. PictureError: a picture is not there or damaged.
        DatabaseError: the embeddings cannot be stored; those before are.
    """
    with catalogue_lock(config):
        with database.read() as session:
            missing = _without(session, embedder)
        return embed_pictures(database, PictureStore(config.pictures_path), embedder, missing, track=track)


def embed_pictures(
    database: Database, store: PictureStore, embedder: PictureEmbedder, pictures: Sequence[str], *, track: Track
) -> int:
    """Embed kept pictures, whatever embedding they have; how many there were. Raises as `embed_all`."""
    waiting: list[EmbeddingRow] = []
    for picture in track(pictures, "embed pictures", len(pictures)):
        waiting.append(_embedded(store, embedder, picture))
        if len(waiting) == _COMMIT_EVERY:
            _commit(database, waiting)
            waiting = []
    if waiting:
        _commit(database, waiting)
    return len(pictures)


def embedded_pictures(session: Session, space: str, pictures: Iterable[str]) -> set[str]:
    """Those of `pictures` that have an embedding in `space`."""
    return {
        picture
        for chunk in in_chunks(pictures)
        for picture in session.scalars(
            select(EmbeddingRow.picture).where(EmbeddingRow.space == space, EmbeddingRow.picture.in_(chunk))
        )
    }


def decode_parts(parts: str, codes: bytes) -> tuple[ItemEmbedding, ...]:
    """The embeddings in the columns `parts` and `codes` of a row."""
    boxes, _ = _decoded(parts)
    dim = len(codes) // len(boxes)
    return tuple(ItemEmbedding(Box.from_list(box), codes[at * dim : (at + 1) * dim]) for at, box in enumerate(boxes))


def with_colours(item: Item, parts: str | None) -> Item:
    """The item with the colours of its picture, which the column `parts` of the embedding's row holds."""
    colours = {} if parts is None else _decoded(parts)[1]
    if not colours or "colours" in item.attributes:
        return item
    return replace(item, attributes={**item.attributes, "colours": colours})


def _encoded(made: PictureEmbedding) -> str:
    boxes = [part.box.to_list() for part in made.parts]
    return json.dumps({"boxes": boxes, "colours": {colour.name: round(colour.share, 2) for colour in made.colours}})


def _decoded(parts: str) -> tuple[list[list[float]], dict[str, float]]:
    """Boxes and colours; a list is boxes alone."""
    value = json.loads(parts)
    return (value, {}) if isinstance(value, list) else (value["boxes"], value["colours"])


def _without(session: Session, embedder: PictureEmbedder) -> list[str]:
    by_these_models = and_(
        EmbeddingRow.picture == ItemRow.picture,
        EmbeddingRow.space == embedder.space,
        EmbeddingRow.detector == embedder.detector,
    )
    query = select(ItemRow.picture).outerjoin(EmbeddingRow, by_these_models).distinct().order_by(ItemRow.picture)
    lacking = query.where(ItemRow.picture.is_not(None), ~ItemRow.is_withdrawn, EmbeddingRow.picture.is_(None))
    return [picture for picture in session.scalars(lacking) if picture is not None]


def _embedded(store: PictureStore, embedder: PictureEmbedder, picture: str) -> EmbeddingRow:
    try:
        made = embedder.embed(store.read(picture))
    except ImageError as error:
        raise PictureError(f"picture {store.path(picture)} cannot be embedded ({error}): withdraw its items") from error
    return EmbeddingRow(
        picture=picture,
        space=embedder.space,
        detector=embedder.detector,
        parts=_encoded(made),
        codes=b"".join(part.code for part in made.parts),
        thumbnail=made.thumbnail,
    )


def _commit(database: Database, rows: Sequence[EmbeddingRow]) -> None:
    fault_point("import.embedding.commit")
    with database.session() as session:
        for row in rows:
            session.merge(row)
        touch(session, _shown_by(session, [row.picture for row in rows]))
    fault_point("import.embedding.committed")


def _shown_by(session: Session, pictures: Sequence[str]) -> list[ItemRow]:
    query = select(ItemRow).where(ItemRow.picture.in_(pictures), ~ItemRow.is_withdrawn).order_by(ItemRow.item_id)
    return list(session.scalars(query))
