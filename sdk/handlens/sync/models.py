"""The model folders of a device: ``models/<kind>-<hash of its files>``, written beside the old ones, never changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from handlens.durable import sync_folder
from handlens.errors import SyncError
from handlens.faults import fault_point
from handlens.sync.download import Downloads, hash_of
from handlens.wire.release import ModelFiles, Release, ReleaseFile

__all__ = ["install_model", "is_whole", "model_folder", "models_of", "remove_other_models"]


def models_of(release: Release) -> Mapping[str, ModelFiles]:
    """The models of a release, by their slot."""
    return {"detector": release.detector, "embedder": release.embedder}


def model_folder(kind: str, model: ModelFiles) -> str:
    """Where a model lies in the data folder."""
    return f"models/{kind}-{model.folder}"


def is_whole(folder: Path, model: ModelFiles) -> bool:
    """Whether every file of the model is there and is what it should be."""
    return all(_matches(folder / name, file) for name, file in model.files.items())


def install_model(folder: Path, model: ModelFiles, downloads: Downloads) -> None:
    """Put the downloaded files of a model into `folder`: all or nothing.

    Raises:
        SyncError: the disk is full or may not be written.
    """
    if is_whole(folder, model):
        return
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, file in model.files.items():
            _place(downloads.path(file), partial / name)
        sync_folder(partial)
        fault_point("models.rename")
        shutil.rmtree(folder, ignore_errors=True)  # there only when it is damaged
        os.replace(partial, folder)
        sync_folder(folder.parent)
        fault_point("models.renamed")
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise SyncError(f"{folder} cannot be written ({error.strerror}): make room on the disk") from error


def remove_other_models(models: Path, kept: set[str]) -> None:
    """Remove every folder in `models` whose name is not in `kept`."""
    for folder in models.iterdir() if models.is_dir() else ():
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def _place(source: Path, target: Path) -> None:
    """A second name for a file; a copy where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())


def _matches(path: Path, file: ReleaseFile) -> bool:
    try:
        if path.stat().st_size != file.size:
            return False
        with path.open("rb") as stream:
            return hash_of(stream).hexdigest() == file.sha256
    except OSError:
        return False
