"""Index files: checked from the first byte to the last before anything is built from them.

::

    path                      magic  version  length  header (JSON)  SHA-256 of all before  sections (ids, rows), raw
    path.<hash>.graph         what hnswlib wrote, as it wrote it

The header names each section's and the graph's SHA-256, so its own SHA-256 stands for the whole index. hnswlib loads
only from a path, from the first byte to the last, and loads damaged bytes in silence: its graph is a file of its own,
whose hash is checked before hnswlib sees it. Rules:

* Magic, version, header hash and every length are checked before anything is allocated.
* The graph is written first, under a name made of its hash; then one `os.replace` of the header switches to it. A crash
  at any moment leaves the old header with the old graph.
* One writer to a path. (The store gives each new index a path of its own and switches by a row.)
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlens.durable import sync_folder
from handlens.errors import (
    DecodeError,
    IncompatibleError,
    NotReadyError,
    StoreCorruptError,
    StoreError,
    StoreVersionError,
)
from handlens.faults import fault_point
from handlens.wire.fields import Fields, load_object

__all__ = ["Header", "IndexFile", "read_index", "write_index"]

_MAGIC = b"HLINDEX\n"
_VERSION = 1
_PREFIX = struct.Struct("<8sII")  # magic, version, bytes of header
_DIGEST_BYTES = 32
_MAX_HEADER = 65_536  # bytes; ours stay below 2,000
_BLOCK = 1 << 20  # bytes hashed at a time
_MACHINE = f"{sys.byteorder}-{64 if sys.maxsize > 2**32 else 32}"  # hnswlib writes size_t as the machine has it

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Header:
    """What a file must be to be opened: its kind, embedding space and dimension."""

    kind: str
    space: str
    dim: int


@dataclass(frozen=True, slots=True)
class IndexFile:
    """A file that was read and checked: its sections, and the path of its graph if it has one."""

    sections: Mapping[str, Array]
    graph: Path | None


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    sha256: str

    @property
    def size(self) -> int:
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=object))


@dataclass(frozen=True, slots=True)
class _Graph:
    file: str
    size: int
    sha256: str


def write_index(
    path: Path, header: Header, sections: Mapping[str, Array], *, graph: Callable[[Path], None] | None = None
) -> str:
    """Write an index; `graph` is called with the path that it must write to. Answers the header's SHA-256.

    Raises:
        StoreError: the folder cannot be written, or the disk is full. The old file is then still whole.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        written = None if graph is None else _write_graph(path, graph)
        head, digest = _header_bytes(header, sections, written)
        with _replacing(path) as file:
            file.write(head)
            for array in sections.values():
                file.write(np.ascontiguousarray(array).data)
        sync_folder(path.parent)
        _sweep(path, keep=None if written is None else written.file)
    except OSError as error:
        raise StoreError(f"cannot write the index {path} ({error}): make room, or check its folder") from error
    return digest


def read_index(
    path: Path, header: Header, *, sections: Mapping[str, tuple[str, ...]], sha256: str | None = None
) -> IndexFile:
    """Read an index that must be as `header` says; `sections` maps each section to the dtypes it may have.

    The first axis of every section has the same length; a second axis has `header.dim`.

    Raises:
        NotReadyError, StoreCorruptError, StoreVersionError, IncompatibleError, StoreError: see `Index.open`.
    """
    try:
        with path.open("rb") as file:
            fields, digest = _read_header(path, file)
            if sha256 is not None and digest != sha256:
                raise _damaged(path, "it is not the one that the store recorded")
            _check_fits(path, header, fields)
            planned = _planned_sections(path, header, fields, sections)
            _check_size(path, file, planned)
            arrays = {section.name: _read_section(path, file, section) for section in planned}
        return IndexFile(arrays, _checked_graph(path, fields))
    except FileNotFoundError as error:
        raise NotReadyError(f"there is no index at {path}: build it from the store's vectors") from error
    except OSError as error:
        raise StoreError(f"cannot read the index {path} ({error}): check the path and its permissions") from error
    except DecodeError as error:
        raise _damaged(path, str(error)) from error


def _header_bytes(header: Header, sections: Mapping[str, Array], graph: _Graph | None) -> tuple[bytes, str]:
    text = json.dumps(
        {
            "kind": header.kind,
            "space": header.space,
            "dim": header.dim,
            "machine": _MACHINE,
            "sections": [
                {"name": name, "dtype": array.dtype.str, "shape": list(array.shape), "sha256": _hash_array(array)}
                for name, array in sections.items()
            ],
            "graph": None if graph is None else {"file": graph.file, "size": graph.size, "sha256": graph.sha256},
        }
    ).encode()
    head = _PREFIX.pack(_MAGIC, _VERSION, len(text)) + text
    digest = hashlib.sha256(head)
    return head + digest.digest(), digest.hexdigest()


def _write_graph(path: Path, write: Callable[[Path], None]) -> _Graph:
    """Let `write` fill a temporary file, then name it by its hash: the old graph keeps its own name."""
    scratch = _scratch_file(path)
    try:
        write(scratch)
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
            size, sha256 = os.fstat(file.fileno()).st_size, _hash_file(file)
        graph = _Graph(f"{path.name}.{sha256[:16]}.graph", size, sha256)
        os.replace(scratch, path.with_name(graph.file))
    finally:
        scratch.unlink(missing_ok=True)
    return graph


@contextmanager
def _replacing(path: Path) -> Iterator[BufferedWriter]:
    scratch = _scratch_file(path)
    try:
        with scratch.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        fault_point("index.rename")
        os.replace(scratch, path)
        fault_point("index.renamed")
    finally:
        scratch.unlink(missing_ok=True)


def _scratch_file(path: Path) -> Path:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=".tmp")
    os.close(handle)
    return Path(name)


def _sweep(path: Path, *, keep: str | None) -> None:
    """Remove the graphs of older saves, and what a save that was killed left behind."""
    for found in path.parent.iterdir():
        ours = found.name.startswith(f"{path.name}.") and found.suffix in (".graph", ".tmp")
        if ours and found.name != keep:
            found.unlink(missing_ok=True)


def _read_header(path: Path, file: BufferedReader) -> tuple[Fields, str]:
    prefix = file.read(_PREFIX.size)
    if len(prefix) < _PREFIX.size or not prefix.startswith(_MAGIC):
        raise _damaged(path, "it does not start as an index of handlens does")
    _, version, length = _PREFIX.unpack(prefix)
    if version > _VERSION:
        raise StoreVersionError(f"the index {path} has format {version}, above {_VERSION}: upgrade handlens")
    if version < 1 or length > _MAX_HEADER:
        raise _damaged(path, "its header is not one of handlens")
    text, digest = file.read(length), file.read(_DIGEST_BYTES)
    expected = hashlib.sha256(prefix + text)
    if len(text) < length or digest != expected.digest():
        raise _damaged(path, "its header does not match its hash")
    return Fields(load_object(text, what="its header"), what="its header"), expected.hexdigest()


def _check_fits(path: Path, header: Header, fields: Fields) -> None:
    wanted: dict[str, object] = {"kind": header.kind, "machine": _MACHINE, "space": header.space, "dim": header.dim}
    for name, value in wanted.items():
        found = fields.values.get(name)
        if found != value:
            raise IncompatibleError(
                f"the index {path} has {name} {found!r}, {value!r} is needed: build it again from the store's vectors"
            )


def _planned_sections(
    path: Path, header: Header, fields: Fields, allowed: Mapping[str, tuple[str, ...]]
) -> list[_Section]:
    planned = [_section(entry) for entry in fields.records("sections")]
    dtypes_fit = [section.name for section in planned] == list(allowed) and all(
        section.dtype.name in allowed[section.name] for section in planned
    )
    count = planned[0].shape[0] if dtypes_fit else 0
    if not dtypes_fit or any(section.shape not in ((count,), (count, header.dim)) for section in planned):
        raise _damaged(path, "its sections are not those of its kind")
    return planned


def _section(fields: Fields) -> _Section:
    shape = fields.values.get("shape")
    if not isinstance(shape, list) or not shape or not all(isinstance(size, int) and size >= 0 for size in shape):
        raise fields.wrong("shape", "a list of whole numbers")
    try:
        dtype = np.dtype(fields.text("dtype"))
    except TypeError as error:
        raise fields.wrong("dtype", "the name of a NumPy dtype") from error
    return _Section(fields.text("name"), dtype, tuple(shape), fields.text("sha256"))


def _check_size(path: Path, file: BufferedReader, planned: list[_Section]) -> None:
    expected = file.tell() + sum(section.size for section in planned)
    found = os.fstat(file.fileno()).st_size
    if found != expected:
        raise _damaged(path, f"it has {found} bytes, its header promises {expected}")


def _read_section(path: Path, file: BufferedReader, section: _Section) -> Array:
    array = np.empty(section.shape, section.dtype)
    if array.size and file.readinto(array.reshape(-1).view(np.uint8).data) != section.size:
        raise _damaged(path, f"section {section.name!r} is cut short")
    if _hash_array(array) != section.sha256:
        raise _damaged(path, f"section {section.name!r} does not match its hash")
    return array


def _checked_graph(path: Path, fields: Fields) -> Path | None:
    if fields.values.get("graph") is None:
        return None
    entry = fields.mapping("graph")
    graph = path.with_name(Path(entry.text("file")).name)
    try:
        with graph.open("rb") as file:
            if os.fstat(file.fileno()).st_size != entry.integer("size") or _hash_file(file) != entry.text("sha256"):
                raise _damaged(path, f"its graph {graph.name} does not match its hash")
    except FileNotFoundError as error:
        raise _damaged(path, f"its graph {graph.name} is missing") from error
    return graph


def _hash_array(array: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).hexdigest()


def _hash_file(file: BufferedReader) -> str:
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


def _damaged(path: Path, how: str) -> StoreCorruptError:
    return StoreCorruptError(f"the index {path} is damaged: {how}. Build it again from the store's vectors")
