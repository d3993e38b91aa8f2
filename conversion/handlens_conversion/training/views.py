"""Views of a photo: the whole, and seeded cuts of it, larger and smaller, each knowing the boxes that are left in it.

Rules:

* View 0 is the whole photo as a device sees it. The others are cuts whose sides are `SCALES` of the photo's, placed so
  that a box of the photo lies in them; what is beyond the photo's edge is grey. Every second one or so is mirrored, if
  that is allowed, and its light is changed a little; colours stay, they may be what tells labels apart.
* A box stays in a view if enough of it is seen (`LEAST_SEEN`) and it is not too small (`LEAST_SIDE`); what is seen less
  or is smaller becomes a place to ignore. Small objects that the network does not make out would count as much as
  others, and pull a row away from those.
* The same seed and photo give the same views, whatever other photos there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from handlens.geometry import Box
from handlens.vision.image import Photo
from handlens_conversion.training.records import BoxedPhoto, TrainingOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Cut", "Seen", "View", "make_views"]

SCALES = (0.4, 2.2)  # sides of a cut as fractions of the photo's: below 1 objects become larger
LEAST_SEEN = 0.4  # of a box, to count as an object of the view
LEAST_SIDE = 0.05  # root of a box's area as a fraction of the view's: 16 of 320 pixels, what COCO calls small in 640
_STRETCH = 0.15  # a cut's sides differ by up to this, as a logarithm
_CONTRAST, _LIGHT = 0.25, 25.0  # largest changes: a factor's distance from 1, and levels of 255
_GREY = (114, 114, 114)
_MARGIN = 0.05  # of the cut, that the chosen box's centre keeps from its edge


@dataclass(frozen=True, slots=True)
class Seen:
    """Boxes (n, 4) and places to ignore (m, 4) as fractions of a view; `kept` numbers the photo's boxes in it."""

    boxes: NDArray[np.float64]
    kept: tuple[int, ...]
    ignored: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cut:
    """A part of a photo: `edges` (4,) as fractions of it, beyond 0..1 where it is larger, and if it is mirrored."""

    edges: NDArray[np.float64]
    mirrored: bool

    def of(self, boxed: BoxedPhoto) -> Seen:
        """What of a photo's boxes is in it."""
        boxes, shares = _moved(boxed.boxes, self)
        ignored, _ = _moved(boxed.ignored, self)
        whole = (shares >= LEAST_SEEN) & (_areas(boxes) >= LEAST_SIDE**2)
        return Seen(
            boxes[whole],
            tuple(int(number) for number in np.flatnonzero(whole)),
            np.concatenate([ignored, boxes[~whole & (shares > 0)]]),
        )


@dataclass(frozen=True, slots=True)
class View:
    """`pixels` (side, side, 3) uint8 RGB, and where they are in the photo."""

    pixels: NDArray[np.uint8]
    cut: Cut


def make_views(
    photo: Photo, boxed: BoxedPhoto, options: TrainingOptions, *, key: str, side: int, resample: str
) -> Iterator[View]:
    """The views of a photo whose content is named by `key`."""
    digest = hashlib.sha256(f"{options.seed}/{key}".encode()).digest()
    random = np.random.default_rng(list(digest))
    mirrored = options.mirror and not set(boxed.labels) & set(options.directed)
    yield View(photo.pixels(size=(side, side), resample=resample), Cut(np.array([0.0, 0.0, 1.0, 1.0]), False))
    views = options.views if len(boxed.boxes) else min(options.views, options.background_views)
    for _ in range(views - 1):
        edges = _edges(random, boxed.boxes)
        cut = Cut(edges, mirrored and bool(random.random() < 0.5))
        pixels = _relit(_pixels(photo, edges, side, resample), random)
        yield View(np.ascontiguousarray(pixels[:, ::-1] if cut.mirrored else pixels), cut)


def _edges(random: np.random.Generator, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Left, top, right, bottom of a cut."""
    scale = np.exp(random.uniform(*np.log(SCALES)))
    stretch = np.exp(random.uniform(-_STRETCH, _STRETCH))
    size = np.array([scale * stretch, scale / stretch])
    box = boxes[random.integers(len(boxes))] if len(boxes) else np.array([0.0, 0.0, 1.0, 1.0])
    centre = (box[:2] + box[2:]) / 2
    start = centre - size * random.uniform(_MARGIN, 1 - _MARGIN, 2)
    # Inside the photo where the cut is smaller than it, around the photo where it is larger.
    start = np.clip(start, np.minimum(0.0, 1 - size), np.maximum(0.0, 1 - size))
    return np.concatenate([start, start + size])


def _pixels(photo: Photo, cut: NDArray[np.float64], side: int, resample: str) -> NDArray[np.uint8]:
    left, top, right, bottom = (float(edge) for edge in cut)
    scale_x, scale_y = side / (right - left), side / (bottom - top)
    seen = Box.clipped(left, top, right, bottom) or Box(0, 0, 1, 1)
    width = max(1, round((seen.x_max - seen.x_min) * scale_x))
    height = max(1, round((seen.y_max - seen.y_min) * scale_y))
    part = photo.pixels(seen, size=(width, height), resample=resample)
    if (width, height) == (side, side):
        return np.asarray(part, np.uint8)
    canvas = Image.new("RGB", (side, side), _GREY)
    canvas.paste(Image.fromarray(part), (round((seen.x_min - left) * scale_x), round((seen.y_min - top) * scale_y)))
    return np.asarray(canvas)


def _relit(pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    factor, shift = random.uniform(1 - _CONTRAST, 1 + _CONTRAST), random.uniform(-_LIGHT, _LIGHT)
    changed = np.clip((pixels.astype(np.float32) - 128) * factor + 128 + shift, 0, 255)
    return np.asarray(changed, np.uint8)


def _moved(boxes: NDArray[np.float64], cut: Cut) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes as fractions of the cut, clipped to it, and the share of each that is in it."""
    start, end = cut.edges[:2], cut.edges[2:]
    placed = (boxes - np.tile(start, 2)) / np.tile(end - start, 2)
    clipped = np.clip(placed, 0.0, 1.0)
    shares = _areas(clipped) / np.maximum(_areas(placed), 1e-12)
    if cut.mirrored:
        clipped = np.stack([1 - clipped[:, 2], clipped[:, 1], 1 - clipped[:, 0], clipped[:, 3]], axis=1)
    return clipped, shares


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), np.float64)
