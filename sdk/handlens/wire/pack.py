"""A pack as files of row operations: a header line, then one line a changed item, JSON, gzip-compressed.

Rules:

1. A *base* file holds every item of one state of a pack; a *delta* file holds what changed from one state to another.
   A state is named by its sequence number, the same for every device.
2. A line is an upsert, which carries the whole row, or a delete, which carries an item id. At most one line an item.
3. A row has one canonical text (`encode_row`): UTF-8 JSON, keys sorted, no spaces. Its digest is the SHA-256 of that
   text. The digest of a state is the sum of its rows' digests modulo 2**256, in hexadecimal: it does not depend on the
   order of rows, and a change of k rows updates it in k steps (AdHash: Bellare and Micciancio, "A New Paradigm for
   Collision-Free Hashing", EUROCRYPT 1997). It guards against mistakes; forgery is kept out by the release's signature.
4. An embedding code is ``round(v * 127 / max|v|)`` of the unit vector v: int8, one byte a dimension, no scale, because
   `decode_codes` brings the length back to 1.
5. The same header and lines give the same bytes, with the same zlib. `docs/formats.md` has an example of every line.

::

    {"format":2,"pack":"demo","kind":"base","from_sequence":0,"sequence":7,...,"changes":2,"digest":"<64 hex digits>"}
    {"embeddings":[{"box":[0,0,1,1],"code":"<base64>"}],"item":{...},"thumbnail":"<base64 WebP>"}
    {"delete":"photo-hammer-3"}
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handlens.errors import BoxError, DecodeError
from handlens.geometry import WHOLE, Box
from handlens.wire.fields import Fields, load_object
from handlens.wire.item import Item

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "NO_ROWS",
    "ItemEmbedding",
    "PackChange",
    "PackDelete",
    "PackHeader",
    "PackRow",
    "PackUpsert",
    "add_digests",
    "decode_codes",
    "encode_codes",
    "encode_delete",
    "encode_row",
    "parse_change",
    "read_pack",
    "read_pack_lines",
    "row_digest",
    "write_pack",
]

_FORMAT = 2
_KINDS = ("base", "delta")
_MAX_LINE = 4_000_000  # bytes; an item with a thumbnail and a hundred objects stays below 100 kB
_MODULUS = 1 << 256
_WHOLE_EDGES = WHOLE.to_list()
NO_ROWS = "0" * 64  # the digest of a state without rows
_RECORD_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))  # in the order of its line
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)


@dataclass(frozen=True, slots=True)
class PackHeader:
    """One file of a pack, and the state that the pack has when the file is applied.

    `items`, `vectors`, `digest` and `as_of` describe that state; `changes` is the number of lines in this file.
    `space` and `dim` name the embedding space of the codes. A base comes from sequence 0, which is the empty pack.
    """

    pack: str
    kind: str
    from_sequence: int
    sequence: int
    as_of: str
    space: str
    dim: int
    items: int
    vectors: int
    changes: int
    digest: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {"format": _FORMAT, **{name: getattr(self, name) for name in _HEADER_FIELDS}}

    @classmethod
    def from_dict(cls, values: object) -> PackHeader:
        """Read a header.

        Raises:
            DecodeError: malformed, of a newer format, or contradicting itself.
        """
        fields = Fields(values, what="pack header")
        fields.require_format(_FORMAT)
        header = cls(
            pack=fields.text("pack"),
            kind=fields.text("kind"),
            from_sequence=fields.integer("from_sequence"),
            sequence=fields.integer("sequence"),
            as_of=fields.text("as_of"),
            space=fields.text("space"),
            dim=fields.integer("dim"),
            items=fields.integer("items"),
            vectors=fields.integer("vectors"),
            changes=fields.integer("changes"),
            digest=fields.hexadecimal("digest", 64),
        )
        if header.kind not in _KINDS:
            raise fields.wrong("kind", f"one of {', '.join(_KINDS)}")
        if (header.kind == "base") != (header.from_sequence == 0) or not 0 <= header.from_sequence < header.sequence:
            raise fields.wrong("from_sequence", "0 for a base, and below the sequence for a delta")
        return header


_HEADER_FIELDS = tuple(PackHeader.__dataclass_fields__)


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
        if not isinstance(values, dict):
            raise DecodeError(f"a pack row must be a JSON object, not {type(values).__name__}")
        item = Item.from_dict(values.get("item"))
        fields = Fields(values, what=f"pack row {item.item_id!r}")
        embeddings = values.get("embeddings")
        if not isinstance(embeddings, list):
            raise fields.wrong("embeddings", "a list of objects")
        return cls(
            item=item,
            embeddings=tuple(_embedding(entry, dim, fields.what) for entry in embeddings),
            thumbnail=_to_bytes(fields, "thumbnail"),
        )


@dataclass(frozen=True, slots=True)
class PackUpsert:
    """A row to put in place of the item's former row, if it had one.

    `digest` is that of the row's text, `record` the text of its item.
    """

    row: PackRow
    digest: bytes
    record: str


@dataclass(frozen=True, slots=True)
class PackDelete:
    """An item to remove."""

    item_id: str


PackChange = PackUpsert | PackDelete


def encode_row(row: PackRow, *, record: str | None = None) -> bytes:
    """The canonical text of a row, one line without its end; `record` is the text of its item, where that is known."""
    values = row.to_dict()
    if record is not None:
        values["item"] = json.loads(record)
    return _encode(values)


def encode_delete(item_id: str) -> bytes:
    """The line that removes an item, without its end."""
    return _encode({"delete": item_id})


def row_digest(line: bytes) -> bytes:
    """The digest (32 bytes) of a row's canonical text."""
    return hashlib.sha256(line).digest()


def add_digests(state: str = NO_ROWS, *, added: Iterable[bytes] = (), removed: Iterable[bytes] = ()) -> str:
    """The digest of a state after rows with the digests `added` came to it and those `removed` went."""
    total = int(state, 16) + sum(int.from_bytes(digest, "big") for digest in added)
    total -= sum(int.from_bytes(digest, "big") for digest in removed)
    return f"{total % _MODULUS:064x}"


def parse_change(line: bytes, *, dim: int, what: str = "line of a pack") -> PackChange:
    """The operation in one line, whose codes have `dim` bytes.

    Raises:
        DecodeError: malformed.
    """
    values = load_object(line, what=what)
    if "delete" in values:
        return PackDelete(Fields(values, what=what).text("delete"))
    return PackUpsert(PackRow.from_dict(values, dim=dim), row_digest(line), _RECORD_ENCODER.encode(values["item"]))


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


def write_pack(path: Path, header: PackHeader, lines: Iterable[bytes]) -> None:
    """Write a pack file of lines made by `encode_row` and `encode_delete`."""
    with path.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=9, mtime=0) as file:
        file.write(_encode(header.to_dict()) + b"\n")
        for line in lines:
            file.write(line + b"\n")


def read_pack(path: Path) -> tuple[PackHeader, Iterator[PackChange]]:
    """The header of a pack file, and its operations read one by one, so that a pack never has to fit in memory.

    Raises:
        DecodeError: not a pack, truncated, or the number of lines is not the header's (while iterating).
        OSError: the file cannot be read.
    """
    header, lines = read_pack_lines(path)
    return header, (parse_change(line, dim=header.dim, what=f"a line of {path.name}") for line in lines)


def read_pack_lines(path: Path) -> tuple[PackHeader, Iterator[bytes]]:
    """The header of a pack file, and its lines as they are, without their ends; raises as `read_pack`."""
    lines = _lines(path)
    first = next(lines, None)
    if first is None:
        raise DecodeError(f"{path} is empty: it is not a pack")
    header = PackHeader.from_dict(load_object(first, what=f"header of {path}"))
    return header, _counted(path, header, lines)


def _counted(path: Path, header: PackHeader, lines: Iterator[bytes]) -> Iterator[bytes]:
    count = 0
    for line in lines:
        count += 1
        if count > header.changes:
            break
        yield line
    if count != header.changes:
        raise DecodeError(f"{path} has not the {header.changes} changes that its header promises: fetch the pack again")


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path, "rb") as file:
            while line := file.readline(_MAX_LINE + 1):
                if len(line) > _MAX_LINE:
                    raise DecodeError(f"{path} has a line above {_MAX_LINE} bytes: it is not a pack of ours")
                yield line.removesuffix(b"\n")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DecodeError(f"{path} is damaged ({error}): fetch the pack again") from error


def _encode(values: dict[str, Any]) -> bytes:
    return _ENCODER.encode(values).encode()


def _embedding(values: object, dim: int, what: str) -> ItemEmbedding:
    fields = Fields(values, what=f"{what}.embeddings")
    code, edges = _to_bytes(fields, "code"), fields.values.get("box", ())
    if len(code) != dim:
        raise fields.wrong("code", f"{dim} bytes in base64, not {len(code)}")
    try:
        return ItemEmbedding(WHOLE if edges == _WHOLE_EDGES else Box.from_list(edges), code)
    except BoxError as error:
        raise DecodeError(f"{fields.what}: {error}") from error


def _to_text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _to_bytes(fields: Fields, name: str) -> bytes:
    try:
        return base64.b64decode(fields.text(name, ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise fields.wrong(name, "base64") from error
