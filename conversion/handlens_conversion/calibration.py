"""The photographs that a model is calibrated with: a list of files with their hashes, kept beside the model.

Rules:

* A list is exact: each photograph is named by its path, relative to a folder that the caller gives, and its SHA-256.
  A photograph that is missing or has changed is an error, so that a build that runs through is the same build.
* A list is drawn by hash, so the same folder gives the same list on every machine.

Use::

    photos = make_list(Path("."), sorted(Path("demo/catalog/images").iterdir()), count=200)
    save_list(photos, Path("models/embedder/calibration.json"))
    paths = check_list(load_list(Path("models/embedder/calibration.json")), root=Path("."))
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from handlens.errors import DecodeError, ModelError
from handlens.wire.fields import Fields, load_object
from handlens_conversion.packages import file_sha256

__all__ = ["CalibrationPhoto", "check_list", "load_list", "make_list", "save_list"]

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class CalibrationPhoto:
    """A photograph: `path` with forward slashes, relative to the list's root folder."""

    path: str
    sha256: str


def make_list(root: Path, files: Iterable[Path], *, count: int) -> tuple[CalibrationPhoto, ...]:
    """Draw at most `count` of the files below `root`: those whose hashes come first, no two alike, sorted by path."""
    photos = {file_sha256(file): file.relative_to(root).as_posix() for file in files}
    drawn = sorted(photos, key=lambda digest: hashlib.sha256(digest.encode()).digest())[:count]
    return tuple(sorted((CalibrationPhoto(photos[digest], digest) for digest in drawn), key=lambda photo: photo.path))


def save_list(photos: Sequence[CalibrationPhoto], path: Path) -> None:
    """Write a list as JSON."""
    record = {"format": _FORMAT, "images": [{"path": photo.path, "sha256": photo.sha256} for photo in photos]}
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load_list(path: Path) -> tuple[CalibrationPhoto, ...]:
    """Read a list.

    Raises:
        ModelError: missing or malformed.
    """
    try:
        fields = Fields(load_object(path.read_bytes(), what=str(path)), what=str(path))
        fields.require_format(_FORMAT)
        rows = fields.values.get("images")
        if not isinstance(rows, list) or not rows:
            raise fields.wrong("images", "a list of at least one photograph")
        return tuple(_photo(Fields(row, what=f"{path}, image {at}")) for at, row in enumerate(rows))
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}): name the list with --calibration") from error
    except DecodeError as error:
        raise ModelError(f"{error}: make the list again with 'handlens-convert calibration make'") from error


def check_list(photos: Sequence[CalibrationPhoto], *, root: Path) -> list[Path]:
    """Return the photographs' files after checking each against its hash.

    Raises:
        ModelError: one is missing or has changed.
    """
    return [_checked(photo, root) for photo in photos]


def _photo(fields: Fields) -> CalibrationPhoto:
    path = fields.text("path")
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts:
        raise fields.wrong("path", "a path below the list's root folder")
    return CalibrationPhoto(path, fields.text("sha256"))


def _checked(photo: CalibrationPhoto, root: Path) -> Path:
    file = root / photo.path
    try:
        found = file_sha256(file)
    except OSError as error:
        raise ModelError(
            f"the calibration photograph {file} cannot be read ({error.strerror}): name its root folder with --photos"
        ) from error
    if found != photo.sha256:
        raise ModelError(
            f"the calibration photograph {file} has changed (SHA-256 {found}, listed {photo.sha256}): "
            "restore it, or make the list again with 'handlens-convert calibration make'"
        )
    return file
