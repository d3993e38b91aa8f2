"""`release.json` and `channel.json`: which models, taxonomy, policy and packs fit together, and which devices get them.

Rules:

1. Every file is named by its path inside the release repository, with its size and SHA-256. A path never leaves it.
2. A release binds one state of every pack to the models, the policy and the taxonomy that it was made for. Packs and
   embedder share one embedding space, or the record is refused.
3. `serial` grows with every release, also when a release brings an older state back: no device goes back by itself.
4. A channel lists releases, newest first, each with the percentage of devices that it is for. A device takes the first
   whose percentage is above its bucket (`rollout_bucket`); the last one is for all.
5. The files of a pack are edges from one state to another, with their sizes; `cheapest_path` is the least download.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handlens.wire.fields import Fields, load_object

__all__ = [
    "CHANNEL_PATH",
    "Channel",
    "ChannelEntry",
    "ModelFiles",
    "PackFile",
    "PackRelease",
    "Release",
    "ReleaseFile",
    "cheapest_path",
    "is_name",
    "rollout_bucket",
]

CHANNEL_PATH = "channels/{channel}.json"
_FORMAT = 2
_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,60}")


@dataclass(frozen=True, slots=True)
class ReleaseFile:
    """One file: its path in the repository, its SHA-256 and its size in bytes."""

    path: str
    sha256: str
    size: int

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {"path": self.path, "sha256": self.sha256, "size": self.size}


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files of one model by their plain name (model.json, model.tflite, CARD.md)."""

    model_id: str
    files: Mapping[str, ReleaseFile]

    @property
    def folder(self) -> str:
        """A folder name that is the same for the same files, and no other."""
        named = "".join(f"{name}:{file.sha256};" for name, file in sorted(self.files.items()))
        return hashlib.sha256(named.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {"model_id": self.model_id, "files": {name: file.to_dict() for name, file in self.files.items()}}


@dataclass(frozen=True, slots=True)
class PackFile:
    """A file that brings a pack from one state (0: the empty pack) to another."""

    from_sequence: int
    sequence: int
    file: ReleaseFile

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {"from_sequence": self.from_sequence, "sequence": self.sequence, **self.file.to_dict()}


@dataclass(frozen=True, slots=True)
class PackRelease:
    """The state of a pack in a release, its digest, and the files that lead there from older states."""

    sequence: int
    items: int
    vectors: int
    digest: str
    files: tuple[PackFile, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "sequence": self.sequence,
            "items": self.items,
            "vectors": self.vectors,
            "digest": self.digest,
            "files": [file.to_dict() for file in self.files],
        }


@dataclass(frozen=True, slots=True)
class Release:
    """What fits together; `as_of` is ISO 8601, UTC; `min_sdk` is the oldest handlens that may use it."""

    name: str
    serial: int
    as_of: str
    min_sdk: str
    space: str
    dim: int
    detector: ModelFiles
    embedder: ModelFiles
    taxonomy: ReleaseFile
    policy: ReleaseFile
    packs: Mapping[str, PackRelease]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "format": _FORMAT,
            "release": self.name,
            "serial": self.serial,
            "as_of": self.as_of,
            "min_sdk": self.min_sdk,
            "space": self.space,
            "dim": self.dim,
            "detector": self.detector.to_dict(),
            "embedder": self.embedder.to_dict(),
            "taxonomy": self.taxonomy.to_dict(),
            "policy": self.policy.to_dict(),
            "packs": {name: pack.to_dict() for name, pack in sorted(self.packs.items())},
        }

    @classmethod
    def from_json(cls, text: str | bytes) -> Release:
        """Read a `release.json`.

        Raises:
            DecodeError: malformed, of a newer format, or with a path that leaves the repository.
        """
        fields = Fields(load_object(text, what="release.json"), what="release.json")
        fields.require_format(_FORMAT)
        packs = fields.mapping("packs")
        return cls(
            name=_name(fields, "release"),
            serial=_positive(fields, "serial"),
            as_of=fields.text("as_of"),
            min_sdk=fields.text("min_sdk"),
            space=fields.text("space"),
            dim=_positive(fields, "dim"),
            detector=_model(fields.mapping("detector")),
            embedder=_model(fields.mapping("embedder")),
            taxonomy=_file(fields.mapping("taxonomy")),
            policy=_file(fields.mapping("policy")),
            packs={_name(packs, name, name): _pack(packs.mapping(name)) for name in packs.values},
        )


@dataclass(frozen=True, slots=True)
class ChannelEntry:
    """A release, where its record lies, and the percentage (0..100) of devices that it is for."""

    release: str
    serial: int
    percent: float
    file: ReleaseFile

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {"release": self.release, "serial": self.serial, "percent": self.percent, **self.file.to_dict()}


@dataclass(frozen=True, slots=True)
class Channel:
    """The releases of a channel, newest first; the last is for all devices."""

    name: str
    entries: tuple[ChannelEntry, ...]

    def choose(self, device: str) -> ChannelEntry:
        """The release for a device, by its random id."""
        for entry in self.entries:
            if rollout_bucket(entry.release, device) < entry.percent:
                return entry
        return self.entries[-1]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {"format": _FORMAT, "channel": self.name, "releases": [entry.to_dict() for entry in self.entries]}

    @classmethod
    def from_json(cls, text: str | bytes) -> Channel:
        """Read a `channel.json`.

        Raises:
            DecodeError: malformed, of a newer format, no release, or the last one is not for all devices.
        """
        fields = Fields(load_object(text, what="channel.json"), what="channel.json")
        fields.require_format(_FORMAT)
        entries = tuple(_entry(entry) for entry in fields.records("releases"))
        if not entries or entries[-1].percent < 100:
            raise fields.wrong("releases", "at least one release, the last for 100 percent of devices")
        return cls(_name(fields, "channel"), entries)


def is_name(text: str) -> bool:
    """Whether a release, a channel or a pack may be called so."""
    return _NAME.fullmatch(text) is not None


def rollout_bucket(release: str, device: str) -> float:
    """Where a device stands in a staged rollout, 0 <= bucket < 100: even over devices, another order each release."""
    digest = hashlib.sha256(f"{release}:{device}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 * 100


def cheapest_path(files: tuple[PackFile, ...], held: int | None, wanted: int) -> tuple[PackFile, ...] | None:
    """The files with the fewest bytes in all that lead from the state `held` (None: nothing) to `wanted`.

    A base may be applied to any state: it replaces all rows. Empty when nothing is to be done; None when no path
    leads there. (Dijkstra, "A Note on Two Problems in Connexion with Graphs", 1959.)
    """
    start = 0 if held is None else held
    order = itertools.count()  # decides between paths of one size, which cannot be compared
    queue: list[tuple[int, int, int, tuple[PackFile, ...]]] = [(0, next(order), start, ())]
    done: set[int] = set()
    while queue:
        size, _, state, path = heapq.heappop(queue)
        if state == wanted:
            return path
        if state in done:
            continue
        done.add(state)
        for file in files:
            if file.from_sequence in (0, state) and file.sequence not in done:
                heapq.heappush(queue, (size + file.file.size, next(order), file.sequence, (*path, file)))
    return None


def _entry(fields: Fields) -> ChannelEntry:
    percent = fields.number("percent")
    if not 0 <= percent <= 100:
        raise fields.wrong("percent", "a number from 0 to 100")
    return ChannelEntry(_name(fields, "release"), _positive(fields, "serial"), percent, _file(fields))


def _model(fields: Fields) -> ModelFiles:
    files = fields.mapping("files")
    named = {_plain(files, name): _file(files.mapping(name)) for name in files.values}
    for needed in ("model.json", "model.tflite"):
        if needed not in named:
            raise fields.wrong("files", f"an entry for {needed!r}")
    return ModelFiles(fields.text("model_id"), named)


def _pack(fields: Fields) -> PackRelease:
    return PackRelease(
        sequence=_positive(fields, "sequence"),
        items=fields.integer("items"),
        vectors=fields.integer("vectors"),
        digest=fields.hexadecimal("digest", 64),
        files=tuple(_pack_file(entry) for entry in fields.records("files")),
    )


def _pack_file(fields: Fields) -> PackFile:
    start, end = fields.integer("from_sequence"), fields.integer("sequence")
    if not 0 <= start < end:
        raise fields.wrong("from_sequence", "a state before the sequence, or 0 for a base")
    return PackFile(start, end, _file(fields))


def _file(fields: Fields) -> ReleaseFile:
    size, path = fields.integer("size"), fields.text("path")
    if size < 0:
        raise fields.wrong("size", "a number of bytes")
    if not _PATH.fullmatch(path):
        raise fields.wrong("path", "a relative path inside the release, of letters, digits, '.', '_' and '-'")
    return ReleaseFile(path, fields.hexadecimal("sha256", 64), size)


def _positive(fields: Fields, name: str) -> int:
    value = fields.integer(name)
    if value < 1:
        raise fields.wrong(name, "a whole number of at least 1")
    return value


def _name(fields: Fields, name: str, value: str | None = None) -> str:
    found = fields.text(name) if value is None else value
    if not is_name(found):
        raise fields.wrong(name, "a name of lower-case letters, digits, '.', '_' and '-'")
    return found


def _plain(fields: Fields, name: str) -> str:
    if "/" in name or not _PATH.fullmatch(name):
        raise fields.wrong(name, "a file name with no folder in it")
    return name
