"""A pack as a file: a header line, then one line an item, JSON, gzip-compressed.

Each row carries the item's record, an int8 embedding for the whole picture and for each object in it, and a small
thumbnail. An embedding code is ``round(v * 127 / max|v|)`` of the unit vector v: one byte a dimension, no scale,
because `decode_codes` brings the length back to 1. ::

    {"format": 1, "pack": "demo", "sequence": 1, "as_of": "...", "space": "...", "dim": 128, "items": 5, "vectors": 7}
    {"item": {...}, "embeddings": [{"box": [0, 0, 1, 1], "code": "<base64>"}], "thumbnail": "<base64 WebP>"}
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handlens.errors import BoxError, DecodeError
from handlens.geometry import Box
from handlens.wire.fields import Fields, load_object
from handlens.wire.item import Item

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ItemEmbedding", "PackHeader", "PackRow", "decode_codes", "encode_codes", "read_pack", "write_pack"]

_FORMAT = 1
_MAX_LINE = 4_000_000  # bytes; an item with a thumbnail and a hundred objects stays below 100 kB


@dataclass(frozen=True, slots=True)
class PackHeader:
    """Which pack, which state of it, and which embedding space its codes live in."""

    pack: str
    sequence: int
    as_of: str
    space: str
    dim: int
    items: int
    vectors: int

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        names = ("pack", "sequence", "as_of", "space", "dim", "items", "vectors")
        return {"format": _FORMAT, **{name: getattr(self, name) for name in names}}

    @classmethod
    def from_dict(cls, values: object) -> PackHeader:
        """Read a header.

        Raises:
            DecodeError: malformed or of a newer format.
        """
        fields = Fields(values, what="pack header")
        fields.require_format(_FORMAT)
        return cls(
            pack=fields.text("pack"),
            sequence=fields.integer("sequence"),
            as_of=fields.text("as_of"),
            space=fields.text("space"),
            dim=fields.integer("dim"),
            items=fields.integer("items"),
            vectors=fields.integer("vectors"),
        )


@dataclass(frozen=True, slots=True)
class ItemEmbedding:
    """The int8 code (`dim` bytes) of one part of an item's picture."""

    box: Box
    code: bytes


@dataclass(frozen=True, slots=True)
class PackRow:
    """One item with its embeddings and its thumbnail (WebP bytes, or empty)."""

    item: Item
    embeddings: tuple[ItemEmbedding, ...] = ()
    thumbnail: bytes = b""

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "item": self.item.to_dict(),
            "embeddings": [{"box": part.box.to_list(), "code": _to_text(part.code)} for part in self.embeddings],
            "thumbnail": _to_text(self.thumbnail),
        }

    @classmethod
    def from_dict(cls, values: object, *, dim: int) -> PackRow:
        """Read a row whose codes have `dim` bytes.

        Raises:
            DecodeError: malformed, or a code of another length.
        """
        fields = Fields(values, what="pack row")
        item = Item.from_dict(fields.mapping("item").values)
        fields.what = f"pack row {item.item_id!r}"
        return cls(
            item=item,
            embeddings=tuple(_embedding(entry, dim) for entry in fields.records("embeddings")),
            thumbnail=_to_bytes(fields, "thumbnail"),
        )


def encode_codes(vectors: NDArray[np.float32]) -> NDArray[np.int8]:
    """Unit vectors (n, dim) float32 -> int8 codes (n, dim); the largest component of each row becomes 127."""
    import numpy as np

    peaks = np.abs(vectors).max(axis=1, keepdims=True)
    return np.asarray(np.rint(vectors * (127.0 / np.maximum(peaks, 1e-12))), dtype=np.int8)


def decode_codes(codes: NDArray[np.int8]) -> NDArray[np.float32]:
    """int8 codes (n, dim) -> unit vectors (n, dim) float32."""
    import numpy as np

    vectors = codes.astype(np.float32)
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    np.divide(vectors, norms, out=vectors, where=norms > 0)
    return vectors


def write_pack(path: Path, header: PackHeader, rows: Iterable[PackRow]) -> None:
    """Write a pack file; the same rows always give the same bytes (no time stamp in the gzip header)."""
    with path.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=9, mtime=0) as file:
        file.write(_line(header.to_dict()))
        for row in rows:
            file.write(_line(row.to_dict()))


def read_pack(path: Path) -> tuple[PackHeader, Iterator[PackRow]]:
    """The header of a pack file, and its rows read one by one.

    Raises:
        DecodeError: not a pack, truncated, a row is malformed, or the row count is not the header's (raised while
            iterating, so that a pack never has to fit in memory).
        OSError: the file cannot be read.
    """
    lines = _lines(path)
    first = next(lines, None)
    if first is None:
        raise DecodeError(f"{path} is empty: it is not a pack")
    header = PackHeader.from_dict(load_object(first, what=f"header of {path}"))
    return header, _rows(path, header, lines)


def _rows(path: Path, header: PackHeader, lines: Iterator[bytes]) -> Iterator[PackRow]:
    items = vectors = 0
    for line in lines:
        row = PackRow.from_dict(load_object(line, what=f"row {items + 1} of {path}"), dim=header.dim)
        items, vectors = items + 1, vectors + len(row.embeddings)
        yield row
    if (items, vectors) != (header.items, header.vectors):
        raise DecodeError(
            f"{path} holds {items} items and {vectors} vectors, its header promises {header.items} and "
            f"{header.vectors}: fetch the pack again"
        )


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path, "rb") as file:
            while line := file.readline(_MAX_LINE + 1):
                if len(line) > _MAX_LINE:
                    raise DecodeError(f"{path} has a line above {_MAX_LINE} bytes: it is not a pack of ours")
                yield line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DecodeError(f"{path} is damaged ({error}): fetch the pack again") from error


def _line(values: dict[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode() + b"\n"


def _embedding(fields: Fields, dim: int) -> ItemEmbedding:
    code = _to_bytes(fields, "code")
    if len(code) != dim:
        raise fields.wrong("code", f"{dim} bytes in base64, not {len(code)}")
    try:
        box = Box.from_list(fields.values.get("box", ()))
    except BoxError as error:
        raise DecodeError(f"{fields.what}: {error}") from error
    return ItemEmbedding(box=box, code=code)


def _to_text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _to_bytes(fields: Fields, name: str) -> bytes:
    try:
        return base64.b64decode(fields.text(name, ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise fields.wrong(name, "base64") from error
