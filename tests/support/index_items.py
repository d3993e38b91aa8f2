"""Items with embeddings that come from nowhere but a seed, written as an import writes them: for tests of indexes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from handlens.index import ExactIndex
from handlens.wire.pack import decode_codes, encode_codes
from handlens_server.catalogue import touch
from handlens_server.database import Database
from handlens_server.tables import EmbeddingRow, ItemRow

DIM = 32
SPACE = "test space/1"
BOXES = [[0, 0, 1, 1], [0.1, 0.2, 0.5, 0.625], [0.25, 0.25, 0.75, 1.0], [0.5, 0.1, 0.9, 0.3]]

Vectors = NDArray[np.float32]


def clustered(count: int, *, seed: int = 0) -> Vectors:
    """Unit vectors (count, DIM) around a tenth as many centres."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((max(count // 10, 1), DIM))
    drawn = centres[random.integers(len(centres), size=count)] + random.standard_normal((count, DIM))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def put_items(database: Database, items: Mapping[str, Vectors], *, space: str = SPACE) -> None:
    """Add or change items, each with its parts' vectors (n, DIM); a changed item has a new picture."""
    with database.session() as session:
        rows = []
        for item_id, vectors in items.items():
            row = session.get(ItemRow, item_id) or _new_item(item_id)
            session.add(row)
            row.picture = f"{item_id}:{row.sequence}"[-64:]
            session.merge(_embedding(row.picture, space, vectors))
            rows.append(row)
        touch(session, rows)


def embed_in(database: Database, space: str, items: Mapping[str, Vectors]) -> None:
    """Embed the pictures of items in another space too."""
    with database.session() as session:
        rows = list(session.scalars(select(ItemRow).where(ItemRow.item_id.in_(list(items)))))
        for row in rows:
            session.merge(_embedding(str(row.picture), space, items[row.item_id]))
        touch(session, rows)


def exact_answer(items: Mapping[str, Vectors], vector: Vectors, k: int) -> list[tuple[str, float]]:
    """Item ids and distances that a perfect index over the codes of `items` gives."""
    names = [item_id for item_id, vectors in items.items() for _ in vectors]
    index = ExactIndex(space=SPACE, dim=DIM)
    index.upsert(np.arange(len(names)), as_stored(np.concatenate(list(items.values()))))
    found = index.search(vector, k)
    return [(names[at], distance) for at, distance in zip(found.ids.tolist(), found.distances.tolist(), strict=True)]


def as_stored(vectors: Vectors) -> Vectors:
    """The vectors as their int8 codes give them back."""
    return decode_codes(encode_codes(vectors))


def named(vectors: Vectors, *, prefix: str = "item", parts: Sequence[int] = (1,)) -> dict[str, Vectors]:
    """Items of those vectors; they have as many parts as `parts` says, in turns."""
    items: dict[str, Vectors] = {}
    at = 0
    while at < len(vectors):
        count = parts[len(items) % len(parts)]
        items[f"{prefix}-{len(items):05d}"] = vectors[at : at + count]
        at += count
    return items


def _new_item(item_id: str) -> ItemRow:
    told = {"kind": "product", "object_type": "home", "locale": "", "audience": "all", "quality": 0.5}
    return ItemRow(item_id=item_id, sequence=0, is_withdrawn=False, feed="test", record="{}", **told)


def _embedding(picture: str, space: str, vectors: Vectors) -> EmbeddingRow:
    boxes = [BOXES[at % len(BOXES)] for at in range(len(vectors))]
    codes = encode_codes(vectors).tobytes()
    return EmbeddingRow(
        picture=picture, space=space, detector="test", parts=json.dumps(boxes), codes=codes, thumbnail=b""
    )
