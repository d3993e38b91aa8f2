"""Pictures of the catalogue: checked where a feed has them, kept by the server as files named by their SHA-256.

Rules:

1. A picture of a feed lies inside the feed's folder, symbolic links followed. It is read once, and never beyond the
   limit of bytes; its pixels are counted from its header before any is decoded.
2. A kept picture is ``<pictures>/<first two digits>/<SHA-256>``. It is written beside its place, flushed to the disk
   and renamed, so that under its name there is only ever the whole picture.
3. A file under a picture's name is never written again.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from handlens.errors import HandlensError, ImageError
from handlens.faults import fault_point
from handlens.vision.image import load_photo, read_size
from handlens_server.item_rules import ItemRefusedError

__all__ = ["FeedPicture", "PictureError", "PictureLimits", "PictureStore", "check_picture"]

_MARKUP = (b"<!doctype", b"<html", b"<head", b"<body", b"<script", b"<?xml", b"<svg", b"<!--")
_CHECK_SIDE = 32  # pixels: libjpeg then decodes at 1/8, which still reads the file to its end
_PART = ".part"


class PictureError(HandlensError):
    """A picture cannot be kept or read back by the server."""


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """How large a picture of a feed may be."""

    bytes: int = 20_000_000
    pixels: int = 50_000_000


@dataclass(frozen=True, slots=True)
class FeedPicture:
    """A picture that was checked: its file in the feed, and its SHA-256."""

    path: Path
    sha256: str


def check_picture(
    folder: Path, name: str, *, limits: PictureLimits | None = None, is_known: Callable[[str], bool] = lambda _: False
) -> FeedPicture:
    """The picture `name` of the feed in `folder`; one whose SHA-256 `is_known` was decoded before, and is not again.

    Raises:
        ItemRefusedError: it is outside the folder, missing, too large, a web page, or not an image that can be decoded.
    """
    limits = limits or PictureLimits()
    path = _inside(folder, name)
    data = _read(path, name, limits)
    if data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_MARKUP):
        raise ItemRefusedError("picture-is-html", f"image {name} is a web page or markup: fetch the picture itself")
    sha256 = hashlib.sha256(data).hexdigest()
    if not is_known(sha256):
        _check_pixels(data, name, limits)
    return FeedPicture(path, sha256)


class PictureStore:
    """The server's folder of pictures."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, sha256: str) -> Path:
        """Where the picture is or would be."""
        return self._folder / sha256[:2] / sha256

    def read(self, sha256: str) -> bytes:
        """The bytes of a kept picture.

        Raises:
            PictureError: it is not there, or it is damaged.
        """
        try:
            data = self.path(sha256).read_bytes()
        except OSError as error:
            raise PictureError(
                f"picture {self.path(sha256)} cannot be read ({error.strerror}): import its feed again"
            ) from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise PictureError(f"picture {self.path(sha256)} is damaged: remove the file and import its feed again")
        return data

    def keep(self, picture: FeedPicture) -> bool:
        """Copy a feed's picture here; False when it is here already.

        Raises:
            PictureError: it changed since it was checked, or it cannot be written.
        """
        path = self.path(picture.sha256)
        if path.exists():
            return False
        try:
            data = picture.path.read_bytes()
            if hashlib.sha256(data).hexdigest() != picture.sha256:
                raise PictureError(f"picture {picture.path} changed while it was imported: import the feed again")
            _write(path, data)
        except OSError as error:
            raise PictureError(
                f"picture {picture.path} cannot be copied to {path.parent} ({error.strerror}): free some space or give "
                "the folder to this user, and run the same command again, it goes on where it stopped"
            ) from error
        return True

    def sweep(self) -> None:
        """Remove what an import that was killed left half written. Only while no other import runs."""
        for part in self._folder.glob(f"*/*{_PART}"):
            with suppress(OSError):  # it is in nobody's way: the next import tries again
                part.unlink()


def _inside(folder: Path, name: str) -> Path:
    if "://" in name:
        raise ItemRefusedError("picture-outside", f"image {name[:80]!r} is a URL: put the file into the feed's folder")
    try:
        path = (folder / name).resolve()
        is_inside = path.is_relative_to(folder.resolve())
        is_file = path.is_file()
    except (OSError, ValueError, RuntimeError) as error:
        raise ItemRefusedError("picture-missing", f"image {name[:80]!r} cannot be looked up: {error}") from error
    if not is_inside:
        raise ItemRefusedError("picture-outside", f"image {name[:80]!r} leads out of the feed's folder: put it inside")
    if not is_file:
        raise ItemRefusedError("picture-missing", f"image {name[:80]!r} is not there: add the file or leave image out")
    return path


def _read(path: Path, name: str, limits: PictureLimits) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limits.bytes + 1)
    except OSError as error:
        raise ItemRefusedError("picture-missing", f"image {name} cannot be read ({error.strerror})") from error
    if len(data) > limits.bytes:
        raise ItemRefusedError(
            "picture-too-large", f"image {name} has more than {limits.bytes / 1e6:g} MB: scale it down"
        )
    return data


def _check_pixels(data: bytes, name: str, limits: PictureLimits) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is the lower one
            width, height = read_size(data)
        if width * height > limits.pixels:
            raise ItemRefusedError(
                "picture-too-large",
                f"image {name} has {width} x {height} pixels, more than {limits.pixels:,}: scale it down",
            )
        load_photo(data, max_pixels=limits.pixels, decode_side=_CHECK_SIDE)
    except ImageError as error:
        is_bomb = isinstance(error.__cause__, Image.DecompressionBombError)
        code = "picture-too-large" if is_bomb else "picture-unreadable"
        raise ItemRefusedError(code, f"image {name}: {error}") from error


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + _PART)
    try:
        fault_point("import.picture.write")
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            fault_point("import.picture.fsync")
            os.fsync(file.fileno())
        fault_point("import.picture.rename")
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    fault_point("import.picture.renamed")
    _flush_folder(path.parent)
    fault_point("import.picture.flushed")


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
