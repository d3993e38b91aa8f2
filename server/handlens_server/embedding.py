"""A picture becomes embeddings of itself and of each object in it, the colours of its main object, and a thumbnail.

The SDK's own models do it, so that device and catalogue see a picture alike.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from handlens.geometry import WHOLE, Box
from handlens.results import Colour, Region
from handlens.understand import choose_regions, colours_of
from handlens.vision.detector import Detection, Detector
from handlens.vision.embedder import Embedder
from handlens.vision.image import Photo, load_photo
from handlens.wire.pack import ItemEmbedding, encode_codes

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["EmbeddingRules", "PictureEmbedder", "PictureEmbedding"]


@dataclass(frozen=True, slots=True)
class EmbeddingRules:
    """How pictures are embedded. Areas are fractions of the picture."""

    max_objects: int = 3
    min_object_area: float = 0.04  # smaller objects are background
    max_object_area: float = 0.80  # larger objects are the picture itself
    crop_margin: float = 0.08
    thumbnail_side: int = 160  # pixels
    thumbnail_quality: int = 70


@dataclass(frozen=True, slots=True)
class PictureEmbedding:
    """What a picture became: its parts, the whole picture first, its main object's colours, and a thumbnail (WebP)."""

    parts: tuple[ItemEmbedding, ...]
    thumbnail: bytes
    colours: tuple[Colour, ...] = ()


class PictureEmbedder:
    """Detector and embedder, opened once. `space`, `dim` and `detector` name what the embeddings are made by."""

    def __init__(self, detector: Detector, embedder: Embedder, *, rules: EmbeddingRules | None = None) -> None:
        self._detector = detector
        self._embedder = embedder
        self._rules = rules or EmbeddingRules()
        self.space = embedder.spec.space
        self.dim = embedder.spec.dim
        self.detector = detector.spec.model_id

    @classmethod
    def open(cls, models: Path, *, threads: int = 2) -> Self:
        """Open the models in the folder `models`.

        Raises:
            ModelError: one is missing, damaged, or not as its model.json says.
        """
        return cls(
            Detector.open(models / "detector", threads=threads), Embedder.open(models / "embedder", threads=threads)
        )

    def embed(self, picture: bytes) -> PictureEmbedding:
        """Embed a picture, given as the bytes of its file.

        Raises:
            ImageError: it cannot be decoded.
        """
        photo = load_photo(picture)
        found = self._detector.detect(photo, limit=self._rules.max_objects)
        objects = self._objects(found)
        parts = list(self._parts(photo, [WHOLE], margin=0.0))
        if objects:
            parts += self._parts(photo, objects, margin=self._rules.crop_margin)
        return PictureEmbedding(tuple(parts), _thumbnail(photo, self._rules), _colours(photo, found))

    def _objects(self, found: Sequence[Detection]) -> list[Box]:
        rules = self._rules
        return [one.box for one in found if rules.min_object_area <= one.box.area <= rules.max_object_area]

    def _parts(self, photo: Photo, boxes: list[Box], *, margin: float) -> list[ItemEmbedding]:
        codes = encode_codes(self._embedder.embed(photo, boxes, margin=margin, labels=1).vectors)
        return [ItemEmbedding(box, code.tobytes()) for box, code in zip(boxes, codes, strict=True)]


def _colours(photo: Photo, found: Sequence[Detection]) -> tuple[Colour, ...]:
    """The colours of what a device would take for the main object."""
    regions = choose_regions([Region(one.box, "detector", one.label, one.score) for one in found], limit=1)
    return colours_of(photo, regions[0].box)


def _thumbnail(photo: Photo, rules: EmbeddingRules) -> bytes:
    small = photo.image.copy()
    small.thumbnail((rules.thumbnail_side, rules.thumbnail_side), reducing_gap=2.0)
    file = io.BytesIO()
    small.save(file, "WEBP", quality=rules.thumbnail_quality, method=4)
    return file.getvalue()
