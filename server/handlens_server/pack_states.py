"""The states of packs and the files that lead to them.

Rules:

1. A state is kept as a base file under ``states/<pack>/<sequence>.pack``, the newest `KEPT_STATES` of each pack. It is
   what deltas are computed from and what an older release is brought back from; devices get it only as rule 3 says.
2. Content that did not change makes no new state. A state that no release has (its publish was interrupted) is removed.
3. A new state comes with a delta from each of the states 1, 2, 4 and 8 before it. The deltas from one state to the next
   stay for `KEPT_STEPS` states. A new base is published when the way from the published one has grown to
   `BASE_SHARE` of its size, or the published one is further back than the steps reach.
4. So a device that missed up to `KEPT_STEPS` states takes at most four deltas, any other a base and at most one.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from handlens.durable import sync_folder
from handlens.errors import HandlensError
from handlens.faults import fault_point
from handlens.wire.fields import load_object
from handlens.wire.pack import (
    PackHeader,
    add_digests,
    encode_delete,
    read_pack_lines,
    row_digest,
    write_pack,
)
from handlens.wire.release import PackFile, PackRelease, ReleaseFile, cheapest_path

__all__ = ["Lines", "PackStateError", "PackStates", "Space", "stored_name"]

KEPT_STATES = 16
KEPT_STEPS = 8
BASE_SHARE = 0.4
_MERGED = (1, 2, 4, 8)  # how many states back a delta to the newest state begins
_BLOCK = 1 << 20

Lines = Iterable[tuple[str, bytes]]  # item id and canonical text of each row, by item id


@dataclass(frozen=True, slots=True)
class Space:
    """The embedding space of the codes, and when the rows were read (ISO 8601, UTC)."""

    name: str
    dim: int
    as_of: str


class PackStates:
    """The states in `folder` and the published files in `targets`, the repository's folder of files."""

    def __init__(self, folder: Path, targets: Path) -> None:
        self._folder = folder
        self._targets = targets

    def build(
        self, pack: str, lines: Lines, space: Space, *, at_least: int, former: PackRelease | None, last: int
    ) -> PackRelease:
        """The next state of a pack, with its files in place; `former` is its state in the last release.

        The state's sequence is `at_least` or, when that was used, the next one. `last` is the newest state of the pack
        that any kept release has, 0 for none: `lines` may be read from one while the next is written.

        Raises:
            PackStateError: the folders cannot be written, or the former state is damaged.
        """
        try:
            self._drop_unpublished(pack, last)
            return self._build(pack, lines, space, at_least, former)
        except OSError as error:
            raise PackStateError(f"{error.filename} cannot be written ({error.strerror}): make room") from error

    def lines(self, pack: str, sequence: int) -> Iterator[tuple[str, bytes]]:
        """The rows of a state that is kept.

        Raises:
            PackStateError: it is not kept any more.
        """
        path = self._path(pack, sequence)
        if not path.is_file():
            raise PackStateError(f"state {sequence} of pack {pack!r} is not kept any more: only the last {KEPT_STATES}")
        for line in read_pack_lines(path)[1]:
            yield _item_id(line), line

    def _build(self, pack: str, lines: Lines, space: Space, at_least: int, former: PackRelease | None) -> PackRelease:
        sequences = self._sequences(pack)
        sequence = max(at_least, max(sequences, default=0) + 1, 1)
        header, digests = self._write_state(pack, sequence, lines, space)
        if former is not None and self._is_same(pack, former, header):
            self._path(pack, sequence).unlink()
            return former
        self._drop_old(pack, keep={sequence, *sorted(sequences)[-KEPT_STATES + 1 :]})
        files = self._files(pack, header, digests, former)
        return PackRelease(sequence, header.items, header.vectors, header.digest, tuple(files))

    def _is_same(self, pack: str, former: PackRelease, header: PackHeader) -> bool:
        held = self._path(pack, former.sequence)
        if former.digest != header.digest or not held.is_file():
            return False
        return read_pack_lines(held)[0].space == header.space

    def _write_state(self, pack: str, sequence: int, lines: Lines, space: Space) -> tuple[PackHeader, dict[str, bytes]]:
        """Write a state's file; its header says how many rows there are, so they are counted on disk first."""
        folder = self._folder / pack
        folder.mkdir(parents=True, exist_ok=True)
        rows = folder / f".{sequence}.{os.getpid()}.rows"
        digests: dict[str, bytes] = {}
        vectors = 0
        try:
            with rows.open("wb") as file:
                for item_id, line in lines:
                    file.write(line + b"\n")
                    digests[item_id] = row_digest(line)
                    vectors += len(load_object(line, what="a row")["embeddings"])
            header = PackHeader(
                pack, "base", 0, sequence, space.as_of, space.name, space.dim, len(digests), vectors, len(digests),
                add_digests(added=digests.values()),
            )  # fmt: skip
            with rows.open("rb") as file:
                _place(self._path(pack, sequence), header, (line.removesuffix(b"\n") for line in file))
        finally:
            rows.unlink(missing_ok=True)
        return header, digests

    def _files(
        self, pack: str, header: PackHeader, digests: Mapping[str, bytes], former: PackRelease | None
    ) -> list[PackFile]:
        if former is None or read_pack_lines(self._path(pack, former.sequence))[0].space != header.space:
            return [self._publish_base(pack, header)]
        before = [sequence for sequence in sorted(self._sequences(pack)) if sequence < header.sequence]
        starts = [before[-back] for back in _MERGED if back <= len(before)]
        deltas = [self._publish_delta(pack, start, header, digests) for start in starts]
        steps = _recent_steps(former.files, before[-KEPT_STEPS:])
        bases = [file for file in former.files if file.from_sequence == 0]
        return [*self._base_for(pack, header, bases, steps, deltas), *steps, *deltas]

    def _base_for(
        self, pack: str, header: PackHeader, bases: list[PackFile], steps: list[PackFile], deltas: list[PackFile]
    ) -> list[PackFile]:
        """The base that is published with a state: the one there is, or a new one as rule 3 says."""
        base = bases[-1]
        way = _way_from(base.sequence, header.sequence, [*steps, *deltas])
        if way is None or way > BASE_SHARE * base.file.size:
            return [self._publish_base(pack, header)]
        return [base]

    def _publish_base(self, pack: str, header: PackHeader) -> PackFile:
        path = self._path(pack, header.sequence)
        file = self._publish(path, f"packs/{pack}/base-{header.sequence}.pack", move=False)
        return PackFile(0, header.sequence, file)

    def _publish_delta(self, pack: str, start: int, header: PackHeader, digests: Mapping[str, bytes]) -> PackFile:
        old = {item_id: row_digest(line) for item_id, line in self.lines(pack, start)}
        gone = [encode_delete(item_id) for item_id in old if item_id not in digests]
        changed = {item_id for item_id, digest in digests.items() if old.get(item_id) != digest}
        delta = PackHeader(
            pack, "delta", start, header.sequence, header.as_of, header.space, header.dim, header.items,
            header.vectors, len(gone) + len(changed), header.digest,
        )  # fmt: skip
        new = (line for item_id, line in self.lines(pack, header.sequence) if item_id in changed)
        path = self._folder / pack / f".delta-{start}-{header.sequence}"
        _place(path, delta, (line for part in (gone, new) for line in part))
        name = f"packs/{pack}/delta-{start}-{header.sequence}.pack"
        return PackFile(start, header.sequence, self._publish(path, name, move=True))

    def _publish(self, path: Path, name: str, *, move: bool) -> ReleaseFile:
        """Put a file among the repository's files, under its hash."""
        file = ReleaseFile(name, _sha256(path), path.stat().st_size)
        target = self._targets / stored_name(file)
        target.parent.mkdir(parents=True, exist_ok=True)
        fault_point("publish.pack")
        if move:
            os.replace(path, target)
        elif not target.exists():
            partial = target.with_name(f".{target.name}")
            shutil.copyfile(path, partial)
            _bring_to_disk(partial)
            os.replace(partial, target)
        sync_folder(target.parent)
        fault_point("publish.packed")
        return file

    def _sequences(self, pack: str) -> list[int]:
        folder = self._folder / pack
        return [int(path.stem) for path in folder.glob("*.pack") if path.stem.isdigit()] if folder.is_dir() else []

    def _drop_unpublished(self, pack: str, last: int) -> None:
        """Remove what a publish left that was interrupted."""
        for sequence in self._sequences(pack):
            if sequence > last:
                self._path(pack, sequence).unlink()

    def _drop_old(self, pack: str, keep: set[int]) -> None:
        for sequence in self._sequences(pack):
            if sequence not in keep:
                self._path(pack, sequence).unlink()

    def _path(self, pack: str, sequence: int) -> Path:
        return self._folder / pack / f"{sequence}.pack"


class PackStateError(HandlensError):
    """A state of a pack is missing, damaged, or cannot be written."""


def stored_name(file: ReleaseFile) -> str:
    """The path of a file in the repository's folder of files: its hash stands before its name."""
    folder, _, name = file.path.rpartition("/")
    return f"{folder}/{file.sha256}.{name}"


def _recent_steps(files: Iterable[PackFile], states: list[int]) -> list[PackFile]:
    """The deltas from one of `states` to the state right after it."""
    after = dict(itertools.pairwise(states))
    return [file for file in files if file.from_sequence and after.get(file.from_sequence) == file.sequence]


def _way_from(start: int, end: int, files: list[PackFile]) -> int | None:
    """The bytes of the cheapest way between two states without a base, or None."""
    path = cheapest_path(tuple(file for file in files if file.from_sequence), start, end)
    return None if path is None else sum(file.file.size for file in path)


def _place(path: Path, header: PackHeader, lines: Iterable[bytes]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write_pack(partial, header, lines)
        _bring_to_disk(partial)
        fault_point("states.rename")
        os.replace(partial, path)
        sync_folder(path.parent)
        fault_point("states.renamed")
    finally:
        partial.unlink(missing_ok=True)


def _bring_to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _item_id(line: bytes) -> str:
    return str(load_object(line, what="a row of a state")["item"]["item_id"])


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
