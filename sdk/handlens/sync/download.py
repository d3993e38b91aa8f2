"""Fetching one file whose size and hash are known.

Rules:

1. A file lies in the downloads folder under its SHA-256 once it is whole and proved; until then under that name with
   ``.part``. What is there is never fetched again.
2. A broken transfer goes on where it stopped (HTTP Range), now and after a restart.
3. Never more bytes are taken than the size promises.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from handlens.errors import HashMismatchError, HTTPStatusError, LengthExceededError, OfflineError, SyncError
from handlens.faults import fault_point
from handlens.sync.transport import Transport
from handlens.wire.release import ReleaseFile

__all__ = ["Downloads", "hash_of", "stored_path"]

_BLOCK = 1 << 20  # bytes hashed at a time
_ATTEMPTS = 6  # how often in a row a transfer may break without having brought anything


class Downloads:
    """The downloads folder of a device."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, file: ReleaseFile) -> Path:
        """Where a file lies when it is there."""
        return self._folder / file.sha256

    def has(self, file: ReleaseFile) -> bool:
        """Whether it is there, whole."""
        return self.path(file).is_file()

    def missing_bytes(self, file: ReleaseFile) -> int:
        """How much of it would have to be fetched."""
        if self.has(file):
            return 0
        return max(0, file.size - _size(self._part(file)))

    def fetch(self, transport: Transport, file: ReleaseFile, progress: Callable[[int], None]) -> Path:
        """The file, fetched where it is not there; `progress` is called with the bytes that came.

        Raises:
            DownloadError: it cannot be had now; what came is kept.
            HashMismatchError: it is not what was promised.
            SyncError: the disk is full or may not be written.
        """
        if not self.has(file):
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._fetch_part(transport, file, progress)
                fault_point("download.rename")
                os.replace(self._part(file), self.path(file))
                fault_point("download.renamed")
            except OSError as error:
                raise SyncError(
                    f"{self._folder} cannot be written ({error.strerror}): make room on the disk"
                ) from error
        return self.path(file)

    def clean(self, kept: set[str]) -> None:
        """Remove every file whose SHA-256 is not in `kept`, and every part."""
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def _part(self, file: ReleaseFile) -> Path:
        return self._folder / f"{file.sha256}.part"

    def _fetch_part(self, transport: Transport, file: ReleaseFile, progress: Callable[[int], None]) -> None:
        with self._part(file).open("ab+") as part:
            digest = hash_of(part)
            failures = 0
            while part.tell() < file.size:
                begun = part.tell()
                try:
                    self._append(transport, file, part, digest, progress)
                except OfflineError:
                    failures = 0 if part.tell() > begun else failures + 1
                    if failures >= _ATTEMPTS:
                        raise
                except HTTPStatusError as error:
                    if error.status == 416:  # the file is shorter than the part: it is another one
                        self._part(file).unlink()
                    raise
            part.flush()
            os.fsync(part.fileno())
        if digest.hexdigest() != file.sha256:
            self._part(file).unlink()
            raise HashMismatchError(f"{file.path} is not what the release says: it was thrown away, sync again")

    def _append(
        self,
        transport: Transport,
        file: ReleaseFile,
        part: BinaryIO,
        digest: hashlib._Hash,
        progress: Callable[[int], None],
    ) -> None:
        begun = part.tell()
        for chunk in transport.read(stored_path(file), start=part.tell()):
            if part.tell() + len(chunk) > file.size:
                self._part(file).unlink()
                raise LengthExceededError(f"{file.path} is longer than the {file.size} bytes promised: try again later")
            part.write(chunk)
            digest.update(chunk)
            progress(len(chunk))
            fault_point("download.chunk")
        if part.tell() == begun and file.size:
            raise OfflineError(f"{file.path} came empty: try again later")


def stored_path(file: ReleaseFile) -> str:
    """The path under which a repository keeps a file: its hash stands before its name (TUF, consistent snapshots)."""
    folder, _, name = file.path.rpartition("/")
    return f"targets/{folder}/{file.sha256}.{name}" if folder else f"targets/{file.sha256}.{name}"


def hash_of(file: BinaryIO) -> hashlib._Hash:
    """The SHA-256 of a whole file; it is left at its end."""
    digest = hashlib.sha256()
    file.seek(0)
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
