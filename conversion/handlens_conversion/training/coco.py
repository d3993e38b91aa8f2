"""COCO JSON read as photos with boxes (Lin et al., "Microsoft COCO", 2014; cocodataset.org/#format-data).

Rules:

* A data set is a folder with ``train.json`` and ``val.json`` or ``test.json``, as ``handlens-convert boxes`` writes it,
  or one JSON file. Without photos held out, every fifth photo is, by the hash of its name.
* A guard list may also be JSON lines: `image`, `width`, `height`, `boxes` of left, top, right, bottom, label in pixels,
  and `split`, of which only ``val`` is used where it is given.
* What is wrong with a file is a `TrainingDataError` that names the entry; nothing is left out in silence. Annotations
  with ``iscrowd`` and the entries of `unlabelled` and `unsettled` are places to ignore.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from handlens.errors import DecodeError, TrainingDataError
from handlens.vision.image import read_size
from handlens.wire.fields import load_object
from handlens.wire.item import OBJECT_TYPES
from handlens_conversion.training.records import BoxedPhoto, Dataset

__all__ = ["read_background", "read_dataset", "read_guard", "require_photos"]

_HELD_OUT_OF = 5  # one photo of so many is held out where the data set says nothing
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_OVERSHOOT = 1.0  # pixels that a box may leave the photo by: rounding


def read_dataset(path: Path, *, photos: Path | None = None) -> Dataset:
    """Read a data set; `photos` is the folder that file names start from, that of the JSON file when None.

    Raises:
        TrainingDataError: a file is missing or is no COCO JSON, has no boxes, or names photos it does not describe.
    """
    if path.is_dir():
        train = _read(path / "train.json", photos)
        held_out = [_read(file, photos) for file in (path / "val.json", path / "test.json") if file.is_file()]
        parts = (train.photos, [photo for side in held_out for photo in side.photos])
        files = [train, *held_out]
    else:
        train = _read(path, photos)
        parts, files = (train.photos, []), [train]
    learned, kept = parts if any(photo.labels for photo in parts[1]) else _split(train.photos)
    if not any(photo.labels for photo in learned):
        raise TrainingDataError(
            f"{path} has no box to train with: draw boxes, or ask for less with 'boxes --min-users'"
        )
    return Dataset(
        tuple(learned),
        tuple(kept),
        tuple(sorted({label for photo in learned for label in photo.labels})),
        {label: kind for file in files for label, kind in file.types.items()},
        tuple(sorted({licence for file in files for licence in file.licences})),
    )


def read_guard(path: Path, *, photos: Path | None = None) -> tuple[BoxedPhoto, ...]:
    """Read the photos that the old labels are guarded with: COCO JSON, or JSON lines.

    Raises:
        TrainingDataError: as `read_dataset`.
    """
    found = _read_lines(path, photos or path.parent) if path.suffix == ".jsonl" else _read(path, photos).photos
    if not any(photo.labels for photo in found):
        raise TrainingDataError(f"{path} has no box to guard with: give photos of the old labels with their boxes")
    return tuple(found)


def read_background(folder: Path) -> tuple[BoxedPhoto, ...]:
    """The photos of a folder, in which nothing of the new labels is.

    Raises:
        TrainingDataError: there are none. ImageError: one is no photo.
    """
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in _SUFFIXES)
    if not files:
        raise TrainingDataError(f"{folder} holds no photographs ({', '.join(_SUFFIXES)}): name another folder")
    return tuple(BoxedPhoto(file, read_size(file), _array([]), (), _array([])) for file in files)


def require_photos(photos: Iterable[BoxedPhoto]) -> None:
    """Check that the photos are there and have the size that the boxes are measured in.

    Raises:
        TrainingDataError: one is missing, or has another size. ImageError: it is no photo.
    """
    for photo in photos:
        if not photo.path.is_file():
            raise TrainingDataError(f"{photo.path} is missing: name the folder of the photos with --photos")
        found = read_size(photo.path)
        if found != photo.size:
            raise TrainingDataError(
                f"{photo.path} is {found[0]} x {found[1]} pixels, its boxes are for {photo.size[0]} x {photo.size[1]}: "
                "give the photos that the boxes were drawn on, upright"
            )


class _File:
    """One COCO JSON file, checked."""

    def __init__(self, content: Mapping[str, Any], path: Path, photos: Path) -> None:
        self._path = path
        images, annotations = self._list(content, "images"), self._list(content, "annotations")
        categories = self._by_id(self._list(content, "categories"), "category")
        self._names = {number: self._name(category) for number, category in categories.items()}
        if len(set(self._names.values())) != len(self._names):
            raise self._wrong("categories", "has the same name twice: give each label one category")
        self.types = {
            self._names[number]: category["supercategory"]
            for number, category in categories.items()
            if category.get("supercategory") in OBJECT_TYPES
        }
        self.licences = [str(entry.get("name", "")) for entry in self._list(content, "licenses", needed=False)]
        unclear = [
            {**row, "iscrowd": 1}
            for name in ("unlabelled", "unsettled")
            for row in self._list(content, name, needed=False)
        ]
        by_image: dict[Any, list[Mapping[str, Any]]] = {}
        known = self._by_id(images, "image")
        for row in [*annotations, *unclear]:
            if row.get("image_id") not in known:
                raise self._wrong(
                    "annotations", f"speak of image {row.get('image_id')!r}, which `images` does not list"
                )
            by_image.setdefault(row["image_id"], []).append(row)
        self.photos = [self._photo(image, by_image.get(number, []), photos) for number, image in known.items()]

    def _photo(self, image: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], folder: Path) -> BoxedPhoto:
        name: Any = image.get("file_name")
        size: tuple[Any, Any] = (image.get("width"), image.get("height"))
        if not isinstance(name, str) or not name or not all(isinstance(side, int) and side > 0 for side in size):
            raise self._wrong("images", f"holds {dict(image)!r}: it needs file_name, width and height")
        clear = [row for row in rows if not row.get("iscrowd")]
        unclear = [row for row in rows if row.get("iscrowd")]
        return BoxedPhoto(
            folder / name,
            (size[0], size[1]),
            _array([self._box(row, size) for row in clear]),
            tuple(self._label(row) for row in clear),
            _array([self._box(row, size) for row in unclear]),
        )

    def _box(self, row: Mapping[str, Any], size: tuple[Any, Any]) -> tuple[float, float, float, float]:
        edges = row.get("bbox")
        if not isinstance(edges, list) or len(edges) != 4 or not all(_is_number(edge) for edge in edges):
            raise self._wrong("annotations", f"hold the bbox {edges!r}: it must be left, top, width, height in pixels")
        left, top, width, height = edges
        box = _fractions((left, top, left + width, top + height), size)
        if box is None:
            raise self._wrong(
                "annotations",
                f"hold the bbox {edges} in a photo of {size[0]} x {size[1]} pixels: it must lie in the photo and have "
                "an area (left, top, width, height in pixels)",
            )
        return box

    def _label(self, row: Mapping[str, Any]) -> str:
        if row.get("category_id") not in self._names:
            raise self._wrong(
                "annotations", f"name category {row.get('category_id')!r}, which `categories` does not list"
            )
        return self._names[row["category_id"]]

    def _name(self, category: Mapping[str, Any]) -> str:
        name = category.get("name")
        if not isinstance(name, str) or not name.strip():
            raise self._wrong("categories", f"hold {dict(category)!r}: each needs a name")
        return name.strip()

    def _by_id(self, rows: Sequence[Mapping[str, Any]], what: str) -> dict[Any, Mapping[str, Any]]:
        found = {row.get("id"): row for row in rows if isinstance(row.get("id"), (int, str))}
        if len(found) != len(rows):
            raise self._wrong(what, "ids are missing or not unique: give each its own number")
        return found

    def _list(self, content: Mapping[str, Any], name: str, *, needed: bool = True) -> list[Mapping[str, Any]]:
        rows = content.get(name, None if needed else [])
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            raise self._wrong(name, "is no list of records: it is not COCO JSON (images, annotations, categories)")
        return rows

    def _wrong(self, name: str, what: str) -> TrainingDataError:
        return TrainingDataError(f"{self._path}: {name} {what}")


def _read(path: Path, photos: Path | None) -> _File:
    try:
        content = load_object(path.read_bytes(), what=str(path))
    except OSError as error:
        raise TrainingDataError(
            f"{path} cannot be read ({error.strerror}): give a COCO JSON file, or a folder with train.json"
        ) from error
    except DecodeError as error:
        raise TrainingDataError(f"{error}: give a COCO JSON file with boxes") from error
    return _File(content, path, photos or path.parent)


def _read_lines(path: Path, folder: Path) -> list[BoxedPhoto]:
    try:
        rows = [json.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
        wanted = [row for row in rows if row.get("split", "val") == "val"]
        return [_line_photo(row, folder) for row in wanted]
    except OSError as error:
        raise TrainingDataError(
            f"{path} cannot be read ({error.strerror}): give a list of photos with boxes"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise TrainingDataError(
            f"{path} is no list of photos with boxes ({error!r}): each line needs image, width, height and boxes"
        ) from error


def _line_photo(row: Mapping[str, Any], folder: Path) -> BoxedPhoto:
    size = (int(row["width"]), int(row["height"]))
    boxes = [(_fractions(tuple(edges), size), label) for *edges, label in row["boxes"]]
    whole = [(box, str(label)) for box, label in boxes if box is not None]
    return BoxedPhoto(
        folder / row["image"], size, _array([box for box, _ in whole]), tuple(label for _, label in whole), _array([])
    )


def _fractions(edges: Sequence[float], size: tuple[Any, Any]) -> tuple[float, float, float, float] | None:
    """Edges in pixels as fractions, clipped where they leave the photo by rounding; None for what is no box."""
    left, top, right, bottom = edges
    width, height = size
    if min(left, top) < -_OVERSHOOT or right > width + _OVERSHOOT or bottom > height + _OVERSHOOT:
        return None
    x_min, y_min = max(left / width, 0.0), max(top / height, 0.0)
    x_max, y_max = min(right / width, 1.0), min(bottom / height, 1.0)
    return (x_min, y_min, x_max, y_max) if x_min < x_max and y_min < y_max else None


def _split(photos: Sequence[BoxedPhoto]) -> tuple[list[BoxedPhoto], list[BoxedPhoto]]:
    def held_out(photo: BoxedPhoto) -> bool:
        return hashlib.sha256(photo.path.name.encode()).digest()[0] % _HELD_OUT_OF == 0

    return [photo for photo in photos if not held_out(photo)], [photo for photo in photos if held_out(photo)]


def _array(boxes: Sequence[tuple[float, float, float, float]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(boxes, np.float64).reshape(-1, 4)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
