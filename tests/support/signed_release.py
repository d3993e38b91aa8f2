"""What an attacker does who holds the network, the repository's folder and, where a test says so, some keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, MetaFile
from tuf.api.serialization.json import JSONSerializer

from handlens.geometry import WHOLE
from handlens.wire.item import Item
from handlens.wire.pack import (
    ItemEmbedding,
    PackHeader,
    PackRow,
    add_digests,
    encode_row,
    row_digest,
    write_pack,
)
from handlens.wire.release import ReleaseFile
from handlens_server.release_parts import place_file
from support.backend import Backend, served

__all__ = ["Attacker", "answering", "header_of", "rows", "some_row"]

DIM = 128
SPACE = "handlens-e1"
_SIGNERS = {"root": ["root1", "root2", "root3"], "targets": ["root1", "root2", "root3"]}


def some_row(name: str, *, value: int = 1) -> PackRow:
    item = Item(name, "photo", "tool", f"Thing {name} {value}", annotations={"hammer": 1.0}, locale="en")
    code = bytes([1 + (value * 7 + at) % 100 for at in range(DIM)])
    return PackRow(item, (ItemEmbedding(WHOLE, code),))


def rows(*names: str, value: int = 1) -> list[tuple[str, bytes]]:
    """Rows as a publisher takes them."""
    return [(name, encode_row(some_row(name, value=value))) for name in sorted(names)]


def header_of(lines: Iterable[bytes], **changes: Any) -> PackHeader:
    """The header of a base that holds exactly `lines`, but for `changes`."""
    held = list(lines)
    fields = {
        "pack": "demo", "kind": "base", "from_sequence": 0, "sequence": 900, "as_of": "2026-01-01T00:00:00Z",
        "space": SPACE, "dim": DIM, "items": len(held), "vectors": len(held), "changes": len(held),
        "digest": add_digests(added=map(row_digest, held)),
    }  # fmt: skip
    return PackHeader(**{**fields, **changes})  # type: ignore[arg-type]


class Attacker:
    """Writes into the repository of a backend."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.metadata = backend.repository / "metadata"
        self.targets = backend.repository / "targets"

    def sign(
        self, role: str, change: Callable[[Any], None] = lambda signed: None, *, keys: list[str] | None = None
    ) -> None:
        """Write the next version of a role's metadata, changed, signed with `keys`, and lead the timestamp to it."""
        current = self._current(role)
        signed = current.signed
        signed.version += 1
        change(signed)
        self._write(role, Metadata(signed), keys or _SIGNERS.get(role, [role]))
        if role not in ("root", "snapshot", "timestamp"):
            self.sign("snapshot", lambda snapshot: snapshot.meta.update({f"{role}.json": MetaFile(signed.version)}))
        elif role == "snapshot":
            self.sign("timestamp", lambda timestamp: setattr(timestamp, "snapshot_meta", MetaFile(signed.version)))

    def offer(self, release: dict[str, Any] | bytes, *files: ReleaseFile, serial: int = 50, **entry: Any) -> None:
        """Offer a release with real signatures, whatever is in it; `files` are signed too."""
        data = release if isinstance(release, bytes) else json.dumps(release).encode()
        record = place_file(self.targets, "releases/evil.json", data)
        shown = {"release": "evil", "serial": serial, "percent": 100, **record.to_dict(), **entry}
        channel = json.dumps({"format": 2, "channel": "stable", "releases": [shown]}).encode()
        self.offer_channel(channel, record, *files)

    def offer_channel(self, channel: bytes, *files: ReleaseFile) -> None:
        """Sign a channel, and `files` beside it."""
        placed = [place_file(self.targets, "channels/stable.json", channel), *files]
        repository = self.backend.publisher.repository
        roles = {
            "models": "models/",
            "packs": "packs/",
            "policy": ("channels/", "releases/", "policies/", "taxonomies/"),
        }
        wanted = {}
        for role, starts in roles.items():
            kept = repository.targets(role) | {file.path: file for file in placed if file.path.startswith(starts)}
            wanted[role] = list(kept.values())
        repository.publish(wanted)

    def release(self, **changes: Any) -> dict[str, Any]:
        """The newest honest release as a dictionary, called evil."""
        found = self.backend.publisher.releases()[0].release.to_dict()
        return {**found, "release": "evil", "serial": 50, **changes}

    def pack(self, header: PackHeader, lines: Iterable[bytes], *, name: str = "base-900") -> ReleaseFile:
        """Put a pack file among the targets."""
        path = self.targets / "made.pack"
        write_pack(path, header, lines)
        return place_file(self.targets, f"packs/demo/{name}.pack", path.read_bytes())

    def pack_bytes(self, data: bytes, *, name: str = "base-900") -> ReleaseFile:
        return place_file(self.targets, f"packs/demo/{name}.pack", data)

    def packs(self, file: ReleaseFile, header: PackHeader, **changes: Any) -> dict[str, Any]:
        """The field `packs` of a release whose pack demo comes from one file."""
        way = {"from_sequence": header.from_sequence, "sequence": header.sequence, **file.to_dict()}
        state = {"sequence": header.sequence, "items": header.items, "vectors": header.vectors, "digest": header.digest}
        return {"demo": {**state, "files": [way], **changes}}

    def offer_pack(self, header: PackHeader, lines: Iterable[bytes], **changes: Any) -> None:
        """Offer a release whose pack demo is this file."""
        file = self.pack(header, lines)
        self.offer(self.release(packs=self.packs(file, header, **changes)), file)

    def _current(self, role: str) -> Metadata[Any]:
        if role == "timestamp":
            return Metadata.from_bytes((self.metadata / "timestamp.json").read_bytes())
        numbers = [int(path.name.split(".")[0]) for path in self.metadata.glob(f"*.{role}.json")]
        return Metadata.from_bytes((self.metadata / f"{max(numbers)}.{role}.json").read_bytes())

    def _write(self, role: str, metadata: Metadata[Any], keys: list[str]) -> None:
        for key in keys:
            metadata.sign(self.backend.keys.signer(key), append=True)
        name = "timestamp.json" if role == "timestamp" else f"{metadata.signed.version}.{role}.json"
        (self.metadata / name).write_bytes(metadata.to_bytes(JSONSerializer(compact=True)))


@contextmanager
def answering(app: Any, part: str, body: Callable[[], Iterable[bytes]], **headers: str) -> Iterator[str]:
    """A server that answers as `app` does, but gives `body` for every path with `part` in it."""

    def wrapped(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if part not in environ["PATH_INFO"]:
            found: Iterable[bytes] = app(environ, start)
            return found
        kind = headers.get("content_type", "application/octet-stream")
        more = [
            (name.replace("_", "-").title(), value)
            for name, value in headers.items()
            if name not in ("content_type", "status")
        ]
        start(headers.get("status", "200 OK"), [("Content-Type", kind), *more])
        return body()

    with served(wrapped) as url:
        yield url


def endless(chunk: bytes = b"x" * 65536) -> Iterator[bytes]:
    while True:
        yield chunk


def folder_state(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
