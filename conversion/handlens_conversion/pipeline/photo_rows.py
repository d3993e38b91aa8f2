"""One row of the list of photos that boxes may lie on.

The list is JSON lines: the catalogue's ``items.jsonl`` as it is (docs/catalogue.md), or the rows of a detection data
set. A photo's id is `item_id`, or `image` where there is none; `image` is the path of its file from the photos' root.
`width` and `height` are pixels of the upright photo. Licence and author stand at the top or in `attributes`.

::

    photo = read_photo_row(b'{"item_id":"cup-1","image":"images/cup-1.jpg","annotations":{"cup":1.0}}')
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from handlens.errors import DecodeError

__all__ = ["ListedPhoto", "read_photo_row"]


@dataclass(frozen=True, slots=True)
class ListedPhoto:
    """A photo: `image` is a path from the photos' root, `size` is (width, height) or None, `tags` are of its item."""

    photo: str
    image: str
    size: tuple[int, int] | None = None
    licence: str = ""
    credit: str = ""
    tags: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The record as one line."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ListedPhoto:
        """The record that `to_json` wrote."""
        values = json.loads(text)
        size = values.pop("size")
        return cls(**{**values, "size": None if size is None else tuple(size), "tags": tuple(values["tags"])})


def read_photo_row(line: bytes) -> ListedPhoto | None:
    """One line of the list; None for an item without a picture.

    Raises:
        DecodeError: the line is no JSON object, or a field has another type.
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"not JSON: {line[:80]!r}") from error
    if not isinstance(row, Mapping):
        raise DecodeError(f"not a JSON object: {line[:80]!r}")
    image = row.get("image")
    if image is None:
        return None
    photo = row.get("item_id", image)
    for name, value in (("item_id", photo), ("image", image)):
        if not isinstance(value, str) or not value.strip():
            raise DecodeError(f"{name} is {value!r}, not some text")
    if image.startswith("/") or "://" in image or ".." in image.split("/"):
        raise DecodeError(f"image is {image!r}, not a path below the photos' root")
    return ListedPhoto(photo, image, _size(row), *_terms(row), _tags(row))


def _size(row: Mapping[str, Any]) -> tuple[int, int] | None:
    sides = row.get("width"), row.get("height")
    if sides == (None, None):
        return None
    width, height = sides
    if not isinstance(width, int) or not isinstance(height, int) or width < 1 or height < 1:
        raise DecodeError(f"width and height are {sides!r}, not two counts of pixels")
    return width, height


def _terms(row: Mapping[str, Any]) -> tuple[str, str]:
    attributes = row.get("attributes")
    places = (row, attributes if isinstance(attributes, Mapping) else {})
    return tuple(  # type: ignore[return-value]  # two names, two texts
        next((str(place[name]) for place in places for name in names if place.get(name)), "")
        for names in (("licence", "license"), ("credit", "author"))
    )


def _tags(row: Mapping[str, Any]) -> tuple[str, ...]:
    annotations = row.get("annotations", {})
    if not isinstance(annotations, Mapping):
        raise DecodeError(f"annotations is {annotations!r}, not tags with weights")
    return tuple(sorted(annotations))
