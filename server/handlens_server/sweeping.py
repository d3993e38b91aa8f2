"""Removing files of the repository that nobody asks for any more.

A file stays while the repository vouches for it, while a kept release needs its parts to be brought back, and for
`GRACE_DAYS` after that: a device in mid-download may hold the metadata of a week ago. When a file was first found to be
needed no more stands in ``unused.json``; without it, the days begin again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from handlens.durable import write_durably
from handlens.wire.release import Release, ReleaseFile
from handlens_server.pack_states import stored_name
from handlens_server.repository import DELEGATED, Repository

__all__ = ["GRACE_DAYS", "sweep"]

GRACE_DAYS = 7


def sweep(repository: Repository, kept: Sequence[Release], history: Path) -> list[Path]:
    """Remove what neither the repository nor the `kept` releases name, when it is old enough; returns what went."""
    needed = {stored_name(file) for role in DELEGATED for file in repository.targets(role).values()}
    needed |= {stored_name(file) for release in kept for file in _parts(release)}
    targets = repository.folder / "targets"
    names = (path.relative_to(targets).as_posix() for path in targets.rglob("*") if path.is_file())
    old = _unused_long(history.parent / "unused.json", [name for name in names if name not in needed])
    serials = {release.serial for release in kept}
    gone = [targets / name for name in old]
    gone += [path for path in history.glob("*.json") if int(path.stem) not in serials]
    for path in gone:
        path.unlink(missing_ok=True)
    return gone


def _unused_long(record: Path, unused: Iterable[str]) -> list[str]:
    """Those of the `unused` files that were so for the days of grace; since when each is, stands in `record`."""
    now, known = time.time(), _read(record)
    since = {name: known.get(name, now) for name in unused}
    old = [name for name, begun in since.items() if begun <= now - GRACE_DAYS * 86400]
    left = {name: begun for name, begun in since.items() if name not in old}
    if left != known:
        write_durably(record, json.dumps(left, sort_keys=True).encode())
    return old


def _read(record: Path) -> dict[str, float]:
    try:
        values = json.loads(record.read_bytes())
    except (OSError, ValueError):
        return {}  # nothing was unused yet, or the record is damaged: what is unused stays for the days of grace anew
    return {str(name): float(begun) for name, begun in values.items()} if isinstance(values, dict) else {}


def _parts(release: Release) -> list[ReleaseFile]:
    models = [file for model in (release.detector, release.embedder) for file in model.files.values()]
    return [release.taxonomy, release.policy, *models]
