"""An independent look at a repository, as a device would take it: every signature, every hash, every way of every pack.

Trust begins with the repository's first root, or with one that is given. Nothing of the publishing code is used.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from handlens.errors import DecodeError, HandlensError, SyncError
from handlens.sync.download import stored_path
from handlens.sync.transport import FolderTransport
from handlens.sync.trust import TrustedRepository
from handlens.wire.pack import PackDelete, add_digests, parse_change, read_pack_lines, row_digest
from handlens.wire.release import CHANNEL_PATH, Channel, PackRelease, Release, ReleaseFile

__all__ = ["Verdict", "VerifyError", "verify"]

_BLOCK = 1 << 20


class VerifyError(HandlensError):
    """The repository is not what it must be."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was checked: releases, files by hash, and ways of packs by the digest they lead to."""

    releases: tuple[str, ...]
    files: int
    ways: int


def verify(folder: Path, channel: str, *, root: Path | None = None, checks_expiry: bool = True) -> Verdict:
    """Check the repository or bundle in `folder`. Files that a bundle leaves out are no fault; wrong ones are.

    Raises:
        VerifyError: a signature, a hash, a size or a digest is wrong, or something is missing.
    """
    try:
        anchor = (root or folder / "metadata" / "1.root.json").read_bytes()
        with tempfile.TemporaryDirectory() as trust:
            return _verify(folder, channel, anchor, Path(trust), checks_expiry)
    except (SyncError, DecodeError) as error:
        raise VerifyError(f"{folder} must not be used: {error}") from error
    except OSError as error:
        raise VerifyError(f"{folder} cannot be read ({error.strerror or error}): give a repository") from error


def _verify(folder: Path, channel: str, anchor: bytes, trust: Path, checks_expiry: bool) -> Verdict:
    repository = TrustedRepository(FolderTransport(folder), trust, anchor, checks_expiry=checks_expiry)
    repository.refresh()
    path = CHANNEL_PATH.format(channel=channel)
    entries = Channel.from_json(_checked(folder, repository.file(path))).entries
    releases = []
    for entry in entries:
        repository.require(entry.file)
        releases.append(Release.from_json(_checked(folder, entry.file)))
    files = list(dict.fromkeys(file for release in releases for file in _files(release)))
    present = [file for file in files if _is_there(folder, repository, file)]
    ways = sum(_replay(folder, name, pack, set(present)) for one in releases for name, pack in one.packs.items())
    return Verdict(tuple(release.name for release in releases), len(present) + len(entries) + 1, ways)


def _files(release: Release) -> Iterator[ReleaseFile]:
    yield from (release.taxonomy, release.policy)
    for model in (release.detector, release.embedder):
        yield from model.files.values()
    yield from (file.file for pack in release.packs.values() for file in pack.files)


def _is_there(folder: Path, repository: TrustedRepository, file: ReleaseFile) -> bool:
    repository.require(file)
    if not (folder / stored_path(file)).exists():
        if "/delta-" in file.path or "/base-" in file.path:
            return False  # whether a way is left is told by the replay
        raise VerifyError(f"{folder} lacks {stored_path(file)}: publish again, or restore it from a backup")
    _checked(folder, file)
    return True


def _checked(folder: Path, file: ReleaseFile) -> bytes:
    data = (folder / stored_path(file)).read_bytes()
    if len(data) != file.size or hashlib.sha256(data).hexdigest() != file.sha256:
        raise VerifyError(f"{stored_path(file)} is not what was signed: restore it from a backup")
    return data


def _replay(folder: Path, name: str, pack: PackRelease, present: set[ReleaseFile]) -> int:
    """Follow every file from the base on, and prove that each way ends in the pack's digest; returns the ways."""
    usable = [file for file in pack.files if file.file in present]
    states: dict[int, dict[str, bytes]] = {}
    for file in sorted(usable, key=lambda one: (one.sequence, one.from_sequence)):
        rows = {} if not file.from_sequence else states.get(file.from_sequence)
        if rows is None:
            continue  # the state that it begins with is older than the base: checked when it was published
        states[file.sequence] = _applied(folder / stored_path(file.file), rows)
    if pack.sequence not in states:
        raise VerifyError(f"no file leads to state {pack.sequence} of pack {name!r}: publish again")
    found = add_digests(added=states[pack.sequence].values())
    if found != pack.digest:
        raise VerifyError(f"state {pack.sequence} of pack {name!r} has another digest than promised: publish again")
    return len(usable)


def _applied(path: Path, rows: dict[str, bytes]) -> dict[str, bytes]:
    header, lines = read_pack_lines(path)
    after = dict(rows)
    for line in lines:
        change = parse_change(line, dim=header.dim)
        if isinstance(change, PackDelete):
            after.pop(change.item_id, None)
        else:
            after[change.row.item.item_id] = row_digest(line)
    if add_digests(added=after.values()) != header.digest:
        raise VerifyError(f"{path.name} does not lead to the digest in its header: publish again")
    return after
