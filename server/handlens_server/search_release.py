"""What the server answers by: models, taxonomy and policy of the release that all devices of its channel may have.

A staged release, which only a part of the devices gets, changes the server's answers when it is for all: most devices
then have the same models and the same policy as the server, and get the same answer from either side.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from handlens.blend import Policy
from handlens.durable import sync_folder
from handlens.errors import DecodeError, HandlensError
from handlens.vision.runtime import read_spec
from handlens.wire.model import ModelSpec
from handlens.wire.release import CHANNEL_PATH, Channel, ModelFiles, Release, ReleaseFile
from handlens.wire.taxonomy import Taxonomy
from handlens_server.config import Config
from handlens_server.key_files import Keys
from handlens_server.pack_states import stored_name
from handlens_server.repository import Lifetimes, Repository

__all__ = ["SearchRelease", "SearchReleaseError", "open_release"]


class SearchReleaseError(HandlensError):
    """There is no release to answer by, or it cannot be read."""


@dataclass(frozen=True, slots=True)
class SearchRelease:
    """A release, opened: its documents, and where its models lie."""

    release: Release
    taxonomy: Taxonomy
    policy: Policy
    spec: ModelSpec  # of the embedder
    detector: Path
    embedder: Path


def open_release(config: Config, folder: Path) -> SearchRelease:
    """The release that the channel of `config` has for all devices; its models are placed in `folder`.

    Raises:
        SearchReleaseError: nothing was published, or a file of the release is missing or not as it should be.
    """
    targets = config.repository_path / "targets"
    repository = Repository(config.repository_path, Keys(config.data_dir), Lifetimes())  # no key is read to look at it
    if not repository.exists:
        raise SearchReleaseError("nothing was published: searches need a release (handlens-server release publish)")
    file = repository.targets("policy").get(CHANNEL_PATH.format(channel=config.channel))
    if file is None:
        raise SearchReleaseError(f"channel {config.channel!r} has no release: publish one, or set HANDLENS_CHANNEL")
    try:
        channel = Channel.from_json(_read(targets, file))
        release = Release.from_json(_read(targets, channel.entries[-1].file))
        embedder = _place(targets, folder, "embedder", release.embedder)
        return SearchRelease(
            release=release,
            taxonomy=Taxonomy.from_json(_read(targets, release.taxonomy)),
            policy=Policy.from_json(_read(targets, release.policy)),
            spec=read_spec(embedder, "embedder"),
            detector=_place(targets, folder, "detector", release.detector),
            embedder=embedder,
        )
    except DecodeError as error:
        raise SearchReleaseError(f"the release of channel {config.channel!r} is malformed: {error}") from error


def _read(targets: Path, file: ReleaseFile) -> bytes:
    path = targets / stored_name(file)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SearchReleaseError(f"{path} cannot be read ({error.strerror}): restore it from a backup") from error
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise SearchReleaseError(f"{path} is damaged: restore it from a backup, or publish again")
    return data


def _place(targets: Path, folder: Path, kind: str, model: ModelFiles) -> Path:
    """The files of a model under their plain names, in a folder named by their hashes; several processes may try."""
    place = folder / f"{kind}-{model.folder}"
    if place.is_dir():
        return place
    partial = folder / f".{place.name}.{os.getpid()}"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, file in model.files.items():
            (partial / name).write_bytes(_read(targets, file))
        sync_folder(partial)
        os.rename(partial, place)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if not place.is_dir():  # else another process was quicker
            raise SearchReleaseError(f"{place} cannot be written ({error.strerror}): make room on the disk") from error
    return place
