"""`release.json`: which models, taxonomy, policy and packs fit together, and the hash of every file among them.

A release is a folder. Every path is relative to it and stays inside it. ::

    release.json  taxonomy.json  policy.json  models/detector/...  models/embedder/...  packs/<name>.pack
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handlens.wire.fields import Fields, load_object

__all__ = ["Release", "ReleaseFile"]

_FORMAT = 1
_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ReleaseFile:
    """One file of the release: its size in bytes and its SHA-256."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Release:
    """What fits together. `detector` and `embedder` are model folders, the rest are files of `files`."""

    name: str
    as_of: str
    detector: str
    embedder: str
    taxonomy: str
    policy: str
    packs: Mapping[str, str]
    files: Mapping[str, ReleaseFile]

    def files_in(self, folder: str) -> dict[str, ReleaseFile]:
        """The files of one model folder, by file name."""
        start = f"{folder}/"
        return {path[len(start) :]: file for path, file in self.files.items() if path.startswith(start)}

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "format": _FORMAT,
            "release": self.name,
            "as_of": self.as_of,
            "detector": self.detector,
            "embedder": self.embedder,
            "taxonomy": self.taxonomy,
            "policy": self.policy,
            "packs": dict(self.packs),
            "files": {path: {"sha256": file.sha256, "size": file.size} for path, file in sorted(self.files.items())},
        }

    @classmethod
    def from_json(cls, text: str | bytes) -> Release:
        """Read a `release.json`.

        Raises:
            DecodeError: malformed, a newer format, a path that leaves the folder, or a file that is not listed.
        """
        fields = Fields(load_object(text, what="release.json"), what="release.json")
        fields.require_format(_FORMAT)
        packs = fields.mapping("packs")
        release = cls(
            name=fields.text("release"),
            as_of=fields.text("as_of"),
            detector=_path(fields, "detector"),
            embedder=_path(fields, "embedder"),
            taxonomy=_path(fields, "taxonomy"),
            policy=_path(fields, "policy"),
            packs={name: _path(packs, name) for name in packs.values},
            files=_files(fields.mapping("files")),
        )
        for path in (release.taxonomy, release.policy, *release.packs.values()):
            if path not in release.files:
                raise fields.wrong("files", f"an entry for {path!r}")
        return release


def _files(fields: Fields) -> dict[str, ReleaseFile]:
    return {_check_path(fields, path, path): _file(fields.mapping(path)) for path in fields.values}


def _file(fields: Fields) -> ReleaseFile:
    sha256, size = fields.text("sha256"), fields.integer("size")
    if not _SHA256.fullmatch(sha256):
        raise fields.wrong("sha256", "64 lower-case hexadecimal digits")
    if size < 0:
        raise fields.wrong("size", "a number of bytes")
    return ReleaseFile(sha256, size)


def _path(fields: Fields, name: str) -> str:
    return _check_path(fields, name, fields.text(name))


def _check_path(fields: Fields, name: str, path: str) -> str:
    if not _PATH.fullmatch(path):
        raise fields.wrong(name, "a relative path inside the release, of letters, digits, '.', '_' and '-'")
    return path
