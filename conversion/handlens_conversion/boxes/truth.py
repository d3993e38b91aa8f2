"""True boxes, as the lines of a detection data set hold them: what is simulated from, and measured against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handlens.errors import BoxError, DecodeError
from handlens.geometry import Box
from handlens.wire.fields import Fields, load_object
from handlens_conversion.boxes.drawn import Edges

__all__ = ["TrueObject", "TruePhoto", "load_truth"]


@dataclass(frozen=True, slots=True)
class TrueObject:
    """One object: its box in fractions of the upright photo, and its word."""

    box: Edges
    word: str


@dataclass(frozen=True, slots=True)
class TruePhoto:
    """A photo with its size (width, height) in pixels, its part of the data set and its objects."""

    photo: str
    size: tuple[int, int]
    split: str
    objects: tuple[TrueObject, ...]


def load_truth(path: Path) -> tuple[TruePhoto, ...]:
    """Read JSON lines with `image`, `width`, `height` and `boxes` [left, top, right, bottom, word] in pixels.

    Raises:
        DecodeError: the file cannot be read, or a line is not such a photo; it names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DecodeError(f"{path} cannot be read as true boxes ({error}): name a file of JSON lines") from error
    photos = tuple(
        _photo(load_object(line, what=f"{path.name}:{number}"), f"{path.name}:{number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    )
    if not any(photo.objects for photo in photos):
        raise DecodeError(f"{path} holds no boxes: name a file with true boxes")
    return photos


def _photo(record: Mapping[str, Any], what: str) -> TruePhoto:
    fields = Fields(record, what=what)
    size = fields.integer("width"), fields.integer("height")
    boxes = record.get("boxes")
    if not isinstance(boxes, list):
        raise fields.wrong("boxes", "a list of boxes")
    try:
        objects = tuple(_object(box, size) for box in boxes)
    except (BoxError, TypeError, ValueError, IndexError) as error:
        raise DecodeError(f"{what}: a box is not [left, top, right, bottom, word] in pixels ({error})") from error
    return TruePhoto(fields.text("image"), size, fields.text("split", ""), objects)


def _object(values: Sequence[Any], size: tuple[int, int]) -> TrueObject:
    left, top, right, bottom = (float(edge) for edge in values[:4])
    width, height = size
    box = Box.from_pixels(left, top, min(right, width) - left, min(bottom, height) - top, image_size=size)
    return TrueObject(box.edges, str(values[4]))
