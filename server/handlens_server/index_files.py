"""The folder of an index on the disk, common to all processes of a node.

::

    lock                        held by whoever saves; a process that dies lets go of it
    manifest.json               which build, up to which change, and the SHA-256 of the two files
    <build>-<sequence>.index    what `Index.save` wrote (its graph beside it)
    <build>-<sequence>.parts    what stands behind its numbers

Rules:

1. New files are written beside the old ones; one `os.replace` of the manifest switches; then the old ones go. A process
   that is killed anywhere leaves the old index or the new one, whole.
2. Nothing is read before its hash was checked: hnswlib loads damaged files in silence.
3. A reader that loses its files to a newer manifest reads that one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handlens.durable import write_durably
from handlens.errors import DecodeError, StoreCorruptError, StoreError
from handlens.faults import fault_point
from handlens.index import ExactIndex, HnswIndex, Index
from handlens.wire.fields import Fields, load_object
from handlens_server.full_index import IndexBusyError
from handlens_server.part_table import PartTable

__all__ = ["IndexFolder", "Manifest", "SavedIndex"]

_FORMAT = 1
_KINDS: dict[str, type[ExactIndex] | type[HnswIndex]] = {"exact": ExactIndex, "hnsw": HnswIndex}
_TRIES = 3  # to open files that a writer replaces


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is saved: `sha256` is that of the index, `parts_sha256` that of the table."""

    space: str
    dim: int
    kind: str
    build: str
    sequence: int
    replaced: int
    sha256: str
    parts_sha256: str

    @property
    def stem(self) -> str:
        """The name of the files, without their endings."""
        return f"{self.build}-{self.sequence}"

    def to_json(self) -> bytes:
        """The bytes of the file."""
        values: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return json.dumps({"format": _FORMAT, **values}, indent=1).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Read a manifest.

        Raises:
            DecodeError: malformed, or of a newer format.
        """
        fields = Fields(load_object(data, what="manifest.json"), what="manifest.json")
        fields.require_format(_FORMAT)
        return cls(
            space=fields.text("space"),
            dim=fields.integer("dim"),
            kind=fields.text("kind"),
            build=fields.text("build"),
            sequence=fields.integer("sequence"),
            replaced=fields.integer("replaced"),
            sha256=fields.text("sha256"),
            parts_sha256=fields.text("parts_sha256"),
        )


@dataclass(frozen=True, slots=True)
class SavedIndex:
    """An index that was read and checked."""

    manifest: Manifest
    index: Index
    table: PartTable


class IndexFolder:
    """The saved index of one embedding space."""

    def __init__(self, path: Path, *, space: str, dim: int) -> None:
        self.path = path
        self._space, self._dim = space, dim

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for writing.

        Raises:
            IndexBusyError: another process holds it. StoreError: the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / "lock").open("wb")
        except OSError as error:
            raise _unwritable(self.path, error) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise IndexBusyError(
                    f"another process builds or saves the index in {self.path}: wait for it"
                ) from error
            yield

    def manifest(self) -> Manifest | None:
        """What is saved now, or None when that is nothing readable."""
        try:
            return self._manifest()
        except StoreError:
            return None

    def open(self) -> SavedIndex | None:
        """The saved index, or None when there is none.

        Raises:
            StoreError: it is damaged, of another space or machine, or cannot be read.
        """
        for tries_left in reversed(range(_TRIES)):
            manifest = self._manifest()
            if manifest is None:
                return None
            try:
                return self._read(manifest)
            except StoreError:  # a file may be gone by a writer, who left a newer manifest
                if not tries_left or self._manifest() == manifest:
                    raise
        return None

    def save(self, index: Index, table: PartTable, *, kind: str, build: str, sequence: int, replaced: int) -> None:
        """Put an index in place of the saved one. Call it under `lock`, while nobody changes the index.

        Raises:
            StoreError: the folder cannot be written, or the disk is full. The former index is then still whole.
        """
        data = table.to_bytes()
        parts_sha256 = hashlib.sha256(data).hexdigest()
        stem = f"{build}-{sequence}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            fault_point("full_index.save")
            sha256 = index.save(self.path / f"{stem}.index")
            fault_point("full_index.saved")
            write_durably(self.path / f"{stem}.parts", data)
            made = Manifest(self._space, self._dim, kind, build, sequence, replaced, sha256, parts_sha256)
            write_durably(self.path / "manifest.json", made.to_json())
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self._sweep(made)
        fault_point("full_index.swept")

    def _manifest(self) -> Manifest | None:
        path = self.path / "manifest.json"
        try:
            return Manifest.from_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, DecodeError) as error:
            raise StoreCorruptError(f"{path} cannot be read ({error}): the index is built again") from error

    def _read(self, manifest: Manifest) -> SavedIndex:
        if (manifest.space, manifest.dim) != (self._space, self._dim) or manifest.kind not in _KINDS:
            raise StoreCorruptError(f"the index in {self.path} is one of {manifest.space!r}, not of {self._space!r}")
        path = self.path / f"{manifest.stem}.index"
        index = _KINDS[manifest.kind].open(path, space=self._space, dim=self._dim, sha256=manifest.sha256)
        table = self._table(manifest)
        if len(index) != table.parts:
            raise StoreCorruptError(f"the index in {self.path} has {len(index)} vectors for {table.parts} parts")
        return SavedIndex(manifest, index, table)

    def _table(self, manifest: Manifest) -> PartTable:
        path = self.path / f"{manifest.stem}.parts"
        try:
            data = path.read_bytes()
        except OSError as error:
            raise StoreError(f"{path} cannot be read ({error.strerror}): the index is built again") from error
        if hashlib.sha256(data).hexdigest() != manifest.parts_sha256:
            raise StoreCorruptError(f"{path} does not match its hash: the index is built again")
        return PartTable.from_bytes(data)

    def _sweep(self, kept: Manifest) -> None:
        """Remove the files of other saves, and what a save that was killed left."""
        names = {"lock", "manifest.json", f"{kept.stem}.parts", f"{kept.stem}.index"}
        for path in self.path.iterdir():
            is_kept = path.name in names or (path.name.startswith(f"{kept.stem}.index.") and path.suffix == ".graph")
            if not is_kept:
                path.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> StoreError:
    return StoreError(f"{path} cannot be written ({error.strerror or error}): make room, or give the right to write")
