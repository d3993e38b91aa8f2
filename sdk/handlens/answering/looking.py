"""What is seen in a photo: its objects, each with its embedding and the classifier's labels."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from handlens.answering.beside import Beside, Coming
from handlens.answering.clock import Stopwatch
from handlens.geometry import WHOLE
from handlens.options import Options
from handlens.results import Colour, LeftOut, Region
from handlens.understand import choose_regions, colours_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from handlens.geometry import Box
    from handlens.vision.detector import Detector
    from handlens.vision.embedder import Embedder, Outputs
    from handlens.vision.image import Photo

__all__ = ["Hurry", "Look", "Seen", "look", "look_each", "look_in_time"]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One object before anything was searched: `vector` is (dim,) float32, of any length but 0.

    `label_scores` are (label, probability) of the classifier head, best first; `colours` are those of its pixels.
    """

    region: Region
    vector: NDArray[np.float32]
    label_scores: tuple[tuple[str, float], ...]
    colours: tuple[Colour, ...] = ()


Look: TypeAlias = Callable[[], Seen]


@dataclass(frozen=True, slots=True)
class Hurry:
    """A deadline in milliseconds of the clock, and how many milliseconds steps are expected to take; 0 is not known.

    `detect` is the detector's run; `one` is all that an object needs, from its embedding to its sections.
    """

    deadline_ms: float
    detect: float = 0.0
    one: float = 0.0


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


def look_in_time(
    photo: Photo,
    detector: Detector,
    embedder: Embedder,
    box: Box | None,
    options: Options,
    clock: Stopwatch,
    hurry: Hurry,
) -> tuple[tuple[Seen, ...], tuple[LeftOut, ...]]:
    """As `look`, but what would not be done by the deadline is left out and named.

    Where there is no time for the detector, the whole photo is the object; where there is none for all objects, the
    last ones are not looked at. The main object always is: whether there is time for it, the caller decides before.
    """
    left_out: list[LeftOut] = []
    late = f"there was no time for it before the deadline of {hurry.deadline_ms:g} ms"
    if box is None and clock.elapsed + hurry.detect + hurry.one > hurry.deadline_ms:
        regions: tuple[Region, ...] = (Region(WHOLE, "whole", is_main=True),)
        left_out.append(LeftOut("detector", late, is_late=True))
    else:
        with clock.step("detect"):
            regions = _regions(photo, detector, box, options)
    seen: list[Seen] = []
    for region in regions:
        # Those seen before this one still need their own neighbours and sections.
        if seen and clock.elapsed + (len(seen) + 1) * hurry.one > hurry.deadline_ms:
            left_out.append(LeftOut("objects", late, is_late=True))
            break
        seen.append(_one(photo, embedder, region, options, clock))
    return tuple(seen), tuple(left_out)


def _one(photo: Photo, embedder: Embedder, region: Region, options: Options, clock: Stopwatch) -> Seen:
    with clock.step("embed"):
        embeddings = embedder.embed(photo, [region.box], margin=options.crop_margin)
    return Seen(region, embeddings.vectors[0], embeddings.label_scores[0], _colours(photo, region, clock))


def look_each(
    photo: Photo,
    detector: Detector,
    embedder: Embedder,
    box: Box | None,
    options: Options,
    clock: Stopwatch,
    beside: Beside,
) -> Iterator[Look]:
    """As `look`, but one object after the other, each when the network has run on it.

    The networks run in the caller's thread while `beside` cuts out the next object and looks at this one's colours.
    What comes reads the network's outputs when it is called, which can be done beside as well.
    """
    with clock.step("detect"):
        regions = _regions(photo, detector, box, options)
    cut = functools.partial(embedder.cut, photo, margin=options.crop_margin)
    with clock.step("embed"):
        pixels = cut(regions[0].box)
    for at, region in enumerate(regions):
        colours = beside.submit(_colours, photo, region, clock)
        with clock.step("embed"):
            coming = beside.submit(cut, regions[at + 1].box) if at + 1 < len(regions) else None
            outputs = embedder.run(pixels)
        yield functools.partial(_seen, embedder, region, outputs, colours)
        if coming is not None:
            with clock.step("embed"):
                pixels = coming.result()


def _colours(photo: Photo, region: Region, clock: Stopwatch) -> tuple[Colour, ...]:
    with clock.step("colours"):
        return colours_of(photo, region.box)


def _seen(embedder: Embedder, region: Region, outputs: Outputs, colours: Coming[tuple[Colour, ...]]) -> Seen:
    embeddings = embedder.read([outputs])
    return Seen(region, embeddings.vectors[0], embeddings.label_scores[0], colours.result())


def _regions(photo: Photo, detector: Detector, box: Box | None, options: Options) -> tuple[Region, ...]:
    if box is not None:
        return (Region(box, "user", is_main=True),)
    detections = detector.detect(photo, min_score=options.min_detection_score)
    return choose_regions(
        [Region(found.box, "detector", found.label, found.score) for found in detections], limit=options.max_objects
    )
