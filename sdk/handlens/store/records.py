"""What the store answers: frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from handlens.geometry import Box
from handlens.wire.item import Item

__all__ = ["PackState", "Slot", "StoreStats", "StoredPart", "TextHit"]


@dataclass(frozen=True, slots=True)
class PackState:
    """A pack that the store holds: which state, as of when, in which embedding space, and the digest of its rows."""

    pack: str
    sequence: int
    as_of: str
    space: str
    dim: int
    items: int
    vectors: int
    digest: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Slot:
    """A file that is in use: its path in the data folder, its SHA-256, and what its user noted about it."""

    name: str
    file: str
    sha256: str
    meta: Mapping[str, Any] = field(default_factory=dict)


class StoredPart(NamedTuple):
    """What a vector stands for: an item, the part of the item's picture that was embedded, and the vector's code."""

    item_key: int
    item: Item
    box: Box
    code: bytes


@dataclass(frozen=True, slots=True)
class TextHit:
    """An item that a text search found; `score` is above 0, large is good (see `handlens.store.texts`)."""

    item_key: int
    item: Item
    score: float


@dataclass(frozen=True, slots=True)
class StoreStats:
    """What the store holds; `bytes` are those of the database on disk, with its journal."""

    bytes: int
    packs: int
    items: int
    vectors: int
    thumbnails: int
