"""A folder that appears whole or not at all.

Rules:

1. Files are made in a folder beside the target whose name begins with ``.partial-``; `publish` brings them to the disk
   and renames the folder once. What a stopped run left has that name, is never read, and is removed by the next run.
2. `DONE` is written last. It lists every file with its length and SHA-256, so a reader can tell a folder that is whole
   from one that was copied in part.
3. Folders are named by their content, so a folder that is already there is the same one.
4. One run at a time writes below a root; a second one is refused.

::

    with partial_folder(root) as partial:
        (partial / "train.json").write_bytes(...)
        folder = publish(partial, root, prefix="boxes")
    check_whole(folder)
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from handlens.durable import sync_folder, write_durably
from handlens.errors import TrainingDataError
from handlens.faults import fault_point

__all__ = ["DONE", "LATEST", "SCRATCH", "check_whole", "partial_folder", "publish"]

DONE = "dataset.json"
LATEST = "LATEST"  # a file beside the folders: the name of the one that was written last
SCRATCH = ".scratch"  # a folder in the partial one for what is not published
_PARTIAL = ".partial-"
_CHUNK = 1 << 20  # bytes


@contextmanager
def partial_folder(root: Path) -> Iterator[Path]:
    """An empty folder to make files in, removed at the end of the block unless it was published.

    Raises:
        TrainingDataError: the root cannot be written, or another run writes there.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / ".lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise TrainingDataError(f"another run writes into {root}: wait for its end, or name another folder") from error
    except OSError as error:
        raise TrainingDataError(f"{root} cannot be written ({error.strerror}): name another folder") from error
    partial = root / f"{_PARTIAL}{os.getpid()}"
    try:
        for left in root.glob(f"{_PARTIAL}*"):
            shutil.rmtree(left)
        partial.mkdir()
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        lock.release()


def publish(partial: Path, root: Path, *, prefix: str, record: dict[str, Any]) -> Path:
    """Make the partial folder the data set ``root/prefix-HASH``; `record` goes into `DONE` beside the list of files."""
    shutil.rmtree(partial / SCRATCH, ignore_errors=True)
    files = {path.relative_to(partial).as_posix(): _describe(path) for path in _files(partial)}
    version = hashlib.sha256(json.dumps([record, files], sort_keys=True).encode()).hexdigest()[:16]
    done = {"format": 1, "version": version, **record, "files": files}
    for path in _files(partial):
        _sync_file(path)
    fault_point("dataset.files")
    write_durably(partial / DONE, (json.dumps(done, indent=1, ensure_ascii=False) + "\n").encode())
    fault_point("dataset.done")
    folder = root / f"{prefix}-{version}"
    if folder.exists():
        check_whole(folder)
    else:
        os.replace(partial, folder)
        sync_folder(root)
    fault_point("dataset.renamed")
    write_durably(root / LATEST, f"{folder.name}\n".encode())
    return folder


def check_whole(folder: Path) -> dict[str, Any]:
    """The record of a data set, after every file was compared with it.

    Raises:
        TrainingDataError: the folder is no data set, or a file is missing or changed.
    """
    try:
        record: dict[str, Any] = json.loads((folder / DONE).read_bytes())
        files = dict(record["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingDataError(f"{folder} is no whole data set (no {DONE} that can be read): make it again") from error
    for name, described in files.items():
        path = folder / name
        if not path.is_file() or _describe(path) != described:
            raise TrainingDataError(f"{path} is missing or changed: remove {folder} and make it again")
    return record


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _describe(path: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(path.parent)
