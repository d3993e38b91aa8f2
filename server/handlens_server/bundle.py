"""A release as a folder, for a device image or an SD card: ``handlens install FOLDER`` takes it.

The folder is a part of the repository with the same signatures: the metadata, and of each release that the channel
offers the files that a device needs which has nothing. It is written under another name and renamed when it is whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from handlens.errors import HandlensError
from handlens.wire.release import Channel, Release, ReleaseFile, cheapest_path
from handlens_server.pack_states import stored_name
from handlens_server.repository import Repository

__all__ = ["BundleError", "write_bundle"]


class BundleError(HandlensError):
    """The folder cannot be written."""


def write_bundle(repository: Repository, channel: str, out: Path) -> tuple[Release, ...]:
    """Write the releases that `channel` offers into the folder `out`; returns them, newest first.

    Raises:
        BundleError: `out` exists or cannot be written, or the channel offers nothing.
        RepositoryError: the repository cannot be read.
    """
    if out.exists():
        raise BundleError(f"{out} exists: remove it or choose another folder")
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    targets = repository.folder / "targets"
    try:
        signed = repository.targets("policy").get(f"channels/{channel}.json")
        if signed is None:
            raise BundleError(f"the channel {channel!r} offers nothing: publish a release to it first")
        found = Channel.from_json((targets / stored_name(signed)).read_bytes())
        releases = tuple(Release.from_json((targets / stored_name(entry.file)).read_bytes()) for entry in found.entries)
        shutil.copytree(repository.metadata_dir, partial / "metadata", ignore=_unread(repository))
        wanted = [signed, *(entry.file for entry in found.entries), *(file for one in releases for file in _files(one))]
        for file in dict.fromkeys(wanted):
            _copy(targets / stored_name(file), partial / "targets" / stored_name(file))
        os.replace(partial, out)
    except OSError as error:
        what = f"{out} cannot be written ({error.filename}: {error.strerror})"
        raise BundleError(f"{what}: make room, choose another folder, or restore the repository") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return releases


def _files(release: Release) -> Iterator[ReleaseFile]:
    yield from (release.taxonomy, release.policy)
    for model in (release.detector, release.embedder):
        yield from model.files.values()
    for pack in release.packs.values():
        yield from (file.file for file in cheapest_path(pack.files, None, pack.sequence) or ())


def _unread(repository: Repository) -> Callable[[str, list[str]], list[str]]:
    """Which metadata files a client of the current state never reads."""
    read = repository.current_files()
    return lambda folder, names: [name for name in names if name not in read]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
