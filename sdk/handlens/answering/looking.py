"""What is seen in a photo: its objects, each with its embedding and the classifier's labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from handlens.answering.clock import Stopwatch
from handlens.options import Options
from handlens.results import Colour, Region
from handlens.understand import choose_regions, colours_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from handlens.geometry import Box
    from handlens.vision.detector import Detector
    from handlens.vision.embedder import Embedder
    from handlens.vision.image import Photo

__all__ = ["Seen", "look"]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One object before anything was searched: `vector` is (dim,) float32, of any length but 0.

    `label_scores` are (label, probability) of the classifier head, best first; `colours` are those of its pixels.
    """

    region: Region
    vector: NDArray[np.float32]
    label_scores: tuple[tuple[str, float], ...]
    colours: tuple[Colour, ...] = ()


def look(
    photo: Photo, detector: Detector, embedder: Embedder, box: Box | None, options: Options, clock: Stopwatch
) -> tuple[Seen, ...]:
    """The objects of a photo, the main one first: those detected, or what is in the user's `box`."""
    with clock.step("detect"):
        regions = _regions(photo, detector, box, options)
    with clock.step("embed"):
        embeddings = embedder.embed(photo, [region.box for region in regions], margin=options.crop_margin)
    with clock.step("colours"):
        colours = [colours_of(photo, region.box) for region in regions]
    rows = zip(regions, embeddings.vectors, embeddings.label_scores, colours, strict=True)
    return tuple(Seen(region, vector, labels, shades) for region, vector, labels, shades in rows)


def _regions(photo: Photo, detector: Detector, box: Box | None, options: Options) -> tuple[Region, ...]:
    if box is not None:
        return (Region(box, "user", is_main=True),)
    detections = detector.detect(photo, min_score=options.min_detection_score)
    return choose_regions(
        [Region(found.box, "detector", found.label, found.score) for found in detections], limit=options.max_objects
    )
