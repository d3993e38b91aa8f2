"""What is seen in a photo: its objects, each with its embedding and the classifier's labels."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from handlens.answering.beside import AtOnce, Beside, Coming, Done, processors
from handlens.answering.clock import Stopwatch
from handlens.geometry import WHOLE
from handlens.options import Options
from handlens.results import Colour, LeftOut, Region
from handlens.understand import choose_regions, colours_of
from handlens.vision.detector import Detector
from handlens.vision.embedder import Embedder, Outputs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from handlens.geometry import Box
    from handlens.vision.image import Photo

__all__ = ["Eyes", "Hurry", "Look", "Seen", "look", "look_each", "look_in_time"]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One object before anything was searched: `vector` is (dim,) float32, of any length but 0.

    `label_scores` are (label, probability) of the classifier head, best first; `colours` are those of its pixels.
    """

    region: Region
    vector: NDArray[np.float32]
    label_scores: tuple[tuple[str, float], ...]
    colours: tuple[Colour, ...] = ()


Look: TypeAlias = Callable[[], "tuple[Seen, ...]"]
_Colours: TypeAlias = "list[tuple[Colour, ...]]"


@dataclass(frozen=True, slots=True, eq=False)
class Eyes:
    """The models of a device. `halves`, where there are any, are two more openings of the embedder, each with half of
    the threads: two objects at once take less time than two in turn on all threads, and free one side the sooner.
    """

    detector: Detector
    embedder: Embedder
    halves: tuple[Embedder, Embedder] | None = None

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
            (open_one(threads=threads // 2), open_one(threads=threads // 2)) if has_halves else None,
        )


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
    with clock.step("colours"):
        colours = colours_of(photo, region.box)
    return Seen(region, embeddings.vectors[0], embeddings.label_scores[0], colours)


def look_each(
    photo: Photo, eyes: Eyes, box: Box | None, options: Options, clock: Stopwatch, beside: Beside
) -> Iterator[Look]:
    """As `look`, but two objects after two, each pair when the network has run on it.

    What comes reads the network's outputs when it is called, which can be done `beside` as well. Work is handed over in
    few pieces: waking a thread takes as long as cutting out an object.
    """
    with clock.step("detect"):
        regions = _regions(photo, eyes.detector, box, options)
    task = _Task(photo, functools.partial(eyes.embedder.cut, photo, margin=options.crop_margin), clock)
    if not eyes.halves:
        yield from _by_turns(task, eyes.embedder, regions, beside)
    elif len(regions) > 1:
        yield from _in_pairs(task, eyes.embedder, eyes.halves, regions, beside)
    else:  # it is embedded on all threads: what ran beside would only hold them up
        yield from _by_turns(task, eyes.embedder, regions, AtOnce())


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """What is done with the regions of one photo, in whichever thread."""

    photo: Photo
    cut: Callable[[Box], NDArray[Any]]
    clock: Stopwatch

    def ahead(self, further: Sequence[Region], group: Sequence[Region]) -> tuple[list[NDArray[Any]], _Colours]:
        """The pixels of further objects, and the colours of those that the network runs on meanwhile."""
        return [self.cut(region.box) for region in further], self.colours(group)

    def other(self, embedder: Embedder, group: Sequence[Region]) -> tuple[list[Outputs], _Colours]:
        """The network's outputs for the second of a pair, and the colours of both."""
        return [embedder.run(self.cut(region.box)) for region in group[1:]], self.colours(group)

    def colours(self, group: Sequence[Region]) -> _Colours:
        """The colours of some objects."""
        with self.clock.step("colours"):
            return [colours_of(self.photo, region.box) for region in group]


def _by_turns(task: _Task, embedder: Embedder, regions: Sequence[Region], beside: Beside) -> Iterator[Look]:
    """The caller's thread runs the network; what it needs next, and the colours, are made beside."""
    with task.clock.step("embed"):
        cuts = [task.cut(regions[0].box)]
    for at in range(0, len(regions), 2):
        group = regions[at : at + 2]
        coming = beside.submit(task.ahead, regions[at + 1 : at + 3], group)
        with task.clock.step("embed"):
            outputs = [embedder.run(cuts[-1])]
            cuts, colours = coming.result()
            outputs += [embedder.run(cuts[0]) for _ in group[1:]]
        yield functools.partial(_seen, embedder, group, outputs, Done(([], colours)))


def _in_pairs(
    task: _Task, reader: Embedder, halves: tuple[Embedder, Embedder], regions: Sequence[Region], beside: Beside
) -> Iterator[Look]:
    """Both threads run the network, on an object each; the colours are seen beside."""
    mine, others = halves
    for at in range(0, len(regions), 2):
        group = regions[at : at + 2]
        with task.clock.step("embed"):
            first = task.cut(group[0].box)
            coming = beside.submit(task.other, others, group)
            outputs = [mine.run(first)]
        yield functools.partial(_seen, reader, group, outputs, coming)


def _seen(
    embedder: Embedder,
    group: Sequence[Region],
    outputs: Sequence[Outputs],
    coming: Coming[tuple[list[Outputs], _Colours]],
) -> tuple[Seen, ...]:
    others, colours = coming.result()
    embeddings = embedder.read([*outputs, *others])
    rows = zip(group, embeddings.vectors, embeddings.label_scores, colours, strict=True)
    return tuple(Seen(region, vector, labels, shades) for region, vector, labels, shades in rows)


def _regions(photo: Photo, detector: Detector, box: Box | None, options: Options) -> tuple[Region, ...]:
    if box is not None:
        return (Region(box, "user", is_main=True),)
    detections = detector.detect(photo, min_score=options.min_detection_score)
    return choose_regions(
        [Region(found.box, "detector", found.label, found.score) for found in detections], limit=options.max_objects
    )
