"""Catalogue items become pack rows: embeddings of the picture and of each object in it, and a thumbnail.

The SDK's own models do it, so device and catalogue see a picture alike.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from handlens.errors import ImageError
from handlens.geometry import WHOLE, Box
from handlens.vision.detector import Detector
from handlens.vision.embedder import Embedder
from handlens.vision.image import Photo, load_photo
from handlens.wire.item import Item
from handlens.wire.pack import ItemEmbedding, PackRow, encode_codes
from handlens_server.catalogue import Catalogue, CatalogueError

__all__ = ["Embedding", "embed_catalogue"]


@dataclass(frozen=True, slots=True)
class Embedding:
    """How pictures are embedded. Areas are fractions of the picture."""

    max_objects: int = 3
    min_object_area: float = 0.04  # smaller objects are background
    max_object_area: float = 0.80  # larger objects are the picture itself
    crop_margin: float = 0.08
    thumbnail_side: int = 160  # pixels
    thumbnail_quality: int = 70


def embed_catalogue(
    catalogue: Catalogue, detector: Detector, embedder: Embedder, how: Embedding | None = None
) -> Iterator[PackRow]:
    """One row an item, in the catalogue's order.

    Raises:
        CatalogueError: a picture cannot be read.
    """
    for item in catalogue.items:
        yield _row(catalogue, item, detector, embedder, how or Embedding())


def _row(catalogue: Catalogue, item: Item, detector: Detector, embedder: Embedder, how: Embedding) -> PackRow:
    path = catalogue.picture(item)
    if path is None:
        return PackRow(item)
    photo = _photo(catalogue.folder, path)
    boxes = [WHOLE, *_objects(photo, detector, how)]
    whole = embedder.embed(photo, boxes[:1], labels=1)
    parts = embedder.embed(photo, boxes[1:], margin=how.crop_margin, labels=1)
    codes = (
        [*encode_codes(whole.vectors), *encode_codes(parts.vectors)] if len(boxes) > 1 else encode_codes(whole.vectors)
    )
    embeddings = tuple(ItemEmbedding(box, code.tobytes()) for box, code in zip(boxes, codes, strict=True))
    return PackRow(item, embeddings, _thumbnail(photo, how))


def _photo(folder: Path, path: Path) -> Photo:
    try:
        return load_photo(path)
    except ImageError as error:
        raise CatalogueError(folder, [str(error)]) from error


def _objects(photo: Photo, detector: Detector, how: Embedding) -> list[Box]:
    found = detector.detect(photo, limit=how.max_objects)
    return [one.box for one in found if how.min_object_area <= one.box.area <= how.max_object_area]


def _thumbnail(photo: Photo, how: Embedding) -> bytes:
    small = photo.image.copy()
    small.thumbnail((how.thumbnail_side, how.thumbnail_side), reducing_gap=2.0)
    file = io.BytesIO()
    small.save(file, "WEBP", quality=how.thumbnail_quality, method=4)
    return file.getvalue()
