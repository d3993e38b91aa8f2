"""Removing files of the repository that nobody asks for any more.

A file stays while the repository vouches for it, while a kept release needs its parts to be brought back, and for
`GRACE_DAYS` after that: a device in mid-download may hold the metadata of a week ago.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from handlens.wire.release import Release, ReleaseFile
from handlens_server.pack_states import stored_name
from handlens_server.repository import DELEGATED, Repository

__all__ = ["GRACE_DAYS", "sweep"]

GRACE_DAYS = 7


def sweep(repository: Repository, kept: Sequence[Release], history: Path) -> list[Path]:
    """Remove what neither the repository nor the `kept` releases name, when it is old enough; returns what went."""
    needed = {stored_name(file) for role in DELEGATED for file in repository.targets(role).values()}
    needed |= {stored_name(file) for release in kept for file in _parts(release)}
    oldest = time.time() - GRACE_DAYS * 86400
    targets = repository.folder / "targets"
    gone = [
        path
        for path in targets.rglob("*")
        if path.is_file() and path.relative_to(targets).as_posix() not in needed and path.stat().st_mtime < oldest
    ]
    serials = {release.serial for release in kept}
    gone += [path for path in history.glob("*.json") if int(path.stem) not in serials]
    for path in gone:
        path.unlink(missing_ok=True)
    return gone


def _parts(release: Release) -> list[ReleaseFile]:
    models = [file for model in (release.detector, release.embedder) for file in model.files.values()]
    return [release.taxonomy, release.policy, *models]
