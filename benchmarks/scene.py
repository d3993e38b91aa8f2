"""The photo that the benchmarks search: 12 megapixels, three objects, made from the demo's own photographs.

Three photographs of one thing each lie side by side as in a shop window, the first in the middle and largest, over
sensor grain (without it the enlarged pictures would decode faster than a camera's). Which three is tried in a seeded
order until a search finds exactly three objects by detection.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import islice, permutations
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

__all__ = ["SIZE", "make_scene"]

SIZE = (4000, 3000)
_QUALITY = 90
_TRIES = 60
_GRAIN = 3.0  # standard deviation in grey levels: a phone's sensor by daylight
_SUBJECTS = (
    "elephant-1.jpg",
    "giraffe-2.jpg",
    "cow-1.jpg",
    "horse-1.jpg",
    "zebra-1.jpg",
    "sheep-1.jpg",
    "husky-1.jpg",
    "pickup-truck-1.jpg",
    "teddy-bear-1.jpg",
    "bus-1.jpg",
)
# Left, top, width, height of each panel, in pixels.
_PANELS = ((1000, 300, 2000, 2400), (0, 900, 1000, 1500), (3000, 900, 1000, 1500))


def make_scene(catalog: Path, out: Path, found_by: Callable[[Path], list[str]], *, seed: int) -> str:
    """Write the JPEG to `out` and return what it shows.

    `found_by` searches a photo and says how each of its objects was found ("detector" or "whole").

    Raises:
        SystemExit: no composition gives exactly three detected objects.
    """
    orders = list(permutations(_SUBJECTS, len(_PANELS)))
    random.Random(seed).shuffle(orders)
    for names in islice(orders, _TRIES):
        _compose([catalog / "images" / name for name in names], seed).save(out, "JPEG", quality=_QUALITY)
        if found_by(out) == ["detector"] * len(_PANELS):
            return ", ".join(names)
    raise SystemExit(f"no scene of {_TRIES} has exactly three detected objects: choose other photographs in {__file__}")


def _compose(paths: list[Path], seed: int) -> Image.Image:
    canvas = Image.new("RGB", SIZE, (186, 182, 174))
    for path, (left, top, width, height) in zip(paths, _PANELS, strict=True):
        with Image.open(path) as photo:
            canvas.paste(ImageOps.fit(photo.convert("RGB"), (width, height), Image.Resampling.BICUBIC), (left, top))
    grain = np.random.default_rng(seed).normal(0.0, _GRAIN, (SIZE[1], SIZE[0], 1))
    return Image.fromarray(np.clip(np.asarray(canvas) + grain, 0, 255).astype(np.uint8))
