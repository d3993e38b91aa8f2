"""What is seen in a photo: its objects, each with its embedding and the classifier's labels."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from handlens.answering.beside import AtOnce, Beside, Coming, Done, processors, shared
from handlens.answering.clock import Stopwatch
from handlens.options import Options
from handlens.results import Colour, Region
from handlens.understand import choose_regions, colours_of
from handlens.vision.detector import Detector, Share
from handlens.vision.embedder import Embedder, Outputs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from handlens.geometry import Box
    from handlens.vision.image import Photo

__all__ = ["Eyes", "Look", "Seen", "look", "look_each"]


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


@dataclass(frozen=True, slots=True, eq=False)
class Eyes:
    """The models of a device. `halves`, where there are any, are two more openings of the embedder, each with half of
    the threads: two objects at once take less time than two in turn on all threads, and free one side the sooner.
    """

    detector: Detector
    embedder: Embedder
    halves: tuple[Embedder, ...] = ()

    @classmethod
    def open(cls, detector: Path, embedder: Path, options: Options) -> Eyes:
        """Open the models in two folders; halves where threads, processors and objects make use of them.

        Raises:
            ModelError: no runtime, or a model is missing, damaged, or not as its model.json says.
        """
        threads, open_one = options.threads, functools.partial(Embedder.open, embedder, runtime=options.runtime)
        has_halves = min(threads, processors(), options.max_objects) > 1
        return cls(
            Detector.open(detector, threads=threads, runtime=options.runtime),
            open_one(threads=threads),
            tuple(open_one(threads=threads // 2) for _ in range(2)) if has_halves else (),
        )

    def sides(self, objects: int) -> tuple[Embedder, ...]:
        """The embedders that so many objects are given to by turns; the first one runs in the caller's thread."""
        return self.halves if self.halves and objects > 1 else (self.embedder,)


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


def look_each(
    photo: Photo, eyes: Eyes, box: Box | None, options: Options, clock: Stopwatch, beside: Beside
) -> Iterator[Look]:
    """As `look`, but object by object, each when the network has run on it.

    The caller's thread samples, detects and embeds; `beside` does half of the sampling, cuts out the further objects,
    looks at the colours and, where the eyes have halves, embeds every other object. What comes reads the network's
    outputs when it is called, which can be done beside as well.
    """
    with clock.step("detect"):
        regions = _regions(photo, eyes.detector, box, options, functools.partial(shared, beside))
    sides = eyes.sides(len(regions))
    if eyes.halves and len(sides) == 1:
        beside = AtOnce()  # one object is embedded on all threads: what ran beside would only hold them up
    cut = functools.partial(eyes.embedder.cut, photo, margin=options.crop_margin)
    with clock.step("embed"):
        cuts = [beside.submit(cut, region.box) for region in regions[1:]]
        pixels = cut(regions[0].box)
    for at in range(0, len(regions), len(sides)):
        group = regions[at : at + len(sides)]
        with clock.step("embed"):
            others = [beside.submit(_run, side, cuts[at]) for side, _ in zip(sides[1:], group[1:], strict=False)]
            colours = [beside.submit(_colours, photo, region, clock) for region in group]
            outputs = sides[0].run(pixels if at == 0 else cuts[at - 1].result())
        for region, run, shades in zip(group, [Done(outputs), *others], colours, strict=True):
            yield functools.partial(_seen, eyes.embedder, region, run, shades)


def _run(embedder: Embedder, pixels: Coming[NDArray[np.uint8]]) -> Outputs:
    return embedder.run(pixels.result())


def _colours(photo: Photo, region: Region, clock: Stopwatch) -> tuple[Colour, ...]:
    with clock.step("colours"):
        return colours_of(photo, region.box)


def _seen(embedder: Embedder, region: Region, outputs: Coming[Outputs], colours: Coming[tuple[Colour, ...]]) -> Seen:
    embeddings = embedder.read([outputs.result()])
    return Seen(region, embeddings.vectors[0], embeddings.label_scores[0], colours.result())


def _regions(
    photo: Photo, detector: Detector, box: Box | None, options: Options, share: Share = map
) -> tuple[Region, ...]:
    if box is not None:
        return (Region(box, "user", is_main=True),)
    detections = detector.detect(photo, min_score=options.min_detection_score, share=share)
    return choose_regions(
        [Region(found.box, "detector", found.label, found.score) for found in detections], limit=options.max_objects
    )
