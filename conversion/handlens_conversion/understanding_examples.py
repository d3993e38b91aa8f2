"""Examples to fit understanding on: photographs as queries to a catalogue that never saw them.

The photographs are those that the head was trained on, and a head knows its own photographs better than any others:
asked as they are, they would make every confidence too high. So the head is trained again without the photographs that
are asked (cross-fitting: Zheng and van der Laan, 2010; Chernozhukov et al., 2018), in turns:

* A turn leaves out a fifth of each class. The rest is the catalogue, the fifth are the queries. Photographs of one
  class that look almost alike (taken seconds apart) are never parted, or the catalogue would hold the query itself.
* Another turn leaves out a fifth of the *classes*, for queries of things that neither head nor catalogue ever met.

Catalogues, as in `benchmarks/understanding.py`: ``all``, ``sparse`` (a random tenth of it), ``unknown`` (without the
class). The networks are float and the query is cut out as a device cuts it out: detector, main region, margin.

Use::

    examples = make_examples(data, models=Path("models"), cache=default_cache())
    examples["sparse"][0].evidence
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from handlens.geometry import WHOLE, Box
from handlens.results import Evidence, Neighbour, Region
from handlens.understand import choose_regions
from handlens.vision.detector import Detector
from handlens.vision.image import load_photo
from handlens.vision.runtime import read_spec
from handlens.wire.item import Item
from handlens_conversion.embedder_features import Features, extract
from handlens_conversion.embedder_head import Head, load_head
from handlens_conversion.embedder_parent import HEAD_FILE, float_features
from handlens_conversion.embedder_train import TrainOptions, train
from handlens_conversion.retrieval_data import Row, load_set, training_photos
from handlens_conversion.retrieval_words import tag_of, type_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CATALOGUES", "Example", "ExampleOptions", "class_turns", "make_examples", "photo_turns"]

CATALOGUES = ("all", "sparse", "unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleOptions:
    """How examples are made. Margin and neighbours are those of a device's own options."""

    turns: int = 5
    alike: float = 0.85  # cosine of centred features from which on two photographs of one class are taken together
    sparse: float = 0.1  # part of the catalogue
    margin: float = 0.08  # of the main region's size
    neighbours: int = 40
    labels: int = 10
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Example:
    """What is known of one photograph, and what it shows."""

    evidence: Evidence
    row: Row


@dataclass(frozen=True, slots=True)
class _Asked:
    """The photographs as queries: the main regions, their features, and the rows they belong to."""

    rows: Sequence[Row]
    regions: Sequence[Region]
    parts: Features
    wholes: Features


def make_examples(
    data: Path,
    *,
    models: Path,
    cache: Path,
    options: ExampleOptions | None = None,
    threads: int = 2,
    progress: bool = True,
) -> tuple[dict[str, list[Example]], NDArray[np.float32], list[Row]]:
    """Examples by catalogue, and the logits (n, labels) of all photographs as queries with their rows.

    Raises:
        ModelError: a model, its head, the packages, PyTorch or the data cannot be used.
        ImageError: a photograph cannot be read.
    """
    chosen = options or ExampleOptions()
    head = load_head(models / "embedder" / HEAD_FILE)
    labels = read_spec(models / "embedder", "embedder")
    asked = _ask(data, models, cache, chosen, threads, progress)
    once = replace(TrainOptions.of(head), seeds=(chosen.seed,))
    names = [row.label for row in asked.rows]
    parts = photo_turns(names, asked.wholes.of(("top",)), chosen)
    classes = class_turns([row.coarse or row.label for row in asked.rows], chosen)
    said = _labels(asked.parts.logits, labels.labels, labels.temperature or 1.0, chosen.labels)
    known = np.random.default_rng(chosen.seed + 1).random(len(names)) < chosen.sparse
    found: dict[str, list[Example]] = {name: [] for name in CATALOGUES}
    for turns, wanted in ((parts, ("all", "sparse")), (classes, ("unknown",))):
        for turn in range(chosen.turns):
            taught = turns != turn
            cosines = _cosines(asked, taught, once, threads, progress)
            for name in wanted:
                allowed = taught & known if name == "sparse" else taught
                found[name] += _examples(asked, said, cosines, np.flatnonzero(~taught), allowed, chosen)
    return found, asked.parts.logits, list(asked.rows)


def photo_turns(labels: Sequence[str], features: NDArray[np.float32], options: ExampleOptions) -> NDArray[np.intp]:
    """The turn (n,) in which each photograph is asked: each class over all turns, those that look alike together."""
    centred = features - features.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    turns = np.zeros(len(labels), dtype=np.intp)
    random = np.random.default_rng(options.seed)
    names = np.array(labels)
    for name in sorted(set(labels)):
        at = np.flatnonzero(names == name)
        sizes = np.zeros(options.turns)
        first = random.permutation(options.turns)
        for group in sorted(_alike(unit[at], options.alike), key=len, reverse=True):
            turn = first[int(np.argmin(sizes[first]))]
            turns[at[group]] = turn
            sizes[turn] += len(group)
    return turns


def class_turns(classes: Sequence[str], options: ExampleOptions) -> NDArray[np.intp]:
    """The turn (n,) in which each photograph is asked: whole classes, drawn at random."""
    names = sorted(set(classes))
    order = np.random.default_rng(options.seed).permutation(len(names))
    turn_of = {names[at]: turn % options.turns for turn, at in enumerate(order)}
    return np.array([turn_of[name] for name in classes], dtype=np.intp)


def _alike(unit: NDArray[np.float32], least: float) -> Iterator[list[int]]:
    """Groups of rows that are joined by a chain of cosines above `least`."""
    near = unit @ unit.T > least
    left = set(range(len(unit)))
    while left:
        group, waiting = [], [left.pop()]
        while waiting:
            one = waiting.pop()
            group.append(one)
            found = {int(other) for other in np.flatnonzero(near[one])} & left
            left -= found
            waiting += sorted(found)
        yield sorted(group)


def _ask(data: Path, models: Path, cache: Path, options: ExampleOptions, threads: int, progress: bool) -> _Asked:
    from tqdm import tqdm

    gallery = {row.image: row for row in load_set(data, "multi_domain").gallery}
    rows = [gallery[photo.image] for photo in training_photos(data) if photo.image in gallery]
    files = [data / row.image for row in rows]
    detector = Detector.open(models / "detector", threads=threads)
    regions = [_main(detector, file) for file in tqdm(files, desc="detect", unit="photo", disable=not progress)]
    boxes = [region.box.expanded(options.margin) for region in regions]
    model = float_features(cache)

    def features(what: str, parts: Sequence[Box] | None) -> Features:
        return extract(files, parts=parts, model=model, cache=cache, what=what, threads=threads, progress=progress)

    return _Asked(rows, regions, features("main regions", boxes), features("photographs", None))


def _main(detector: Detector, file: Path) -> Region:
    photo = load_photo(file)
    found = [Region(one.box, "detector", one.label, one.score) for one in detector.detect(photo)]
    return choose_regions(found, limit=1)[0]


def _cosines(
    asked: _Asked, taught: NDArray[np.bool_], options: TrainOptions, threads: int, progress: bool
) -> NDArray[np.float32]:
    """Cosines (n, n) of each main region to each photograph, by a head that knows only those that are `taught`."""
    names = [row.label for row, known in zip(asked.rows, taught, strict=True) if known]
    wholes = asked.wholes.of(options.taps)
    head = train(wholes[taught], names, options.taps, options=options, threads=threads, progress=progress)
    return np.asarray(_unit(head, asked.parts.of(options.taps)) @ _unit(head, wholes).T)


def _unit(head: Head, features: NDArray[np.float32]) -> NDArray[np.float32]:
    vectors = head.apply(features)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def _examples(
    asked: _Asked,
    said: Sequence[tuple[tuple[str, float], ...]],
    cosines: NDArray[np.float32],
    queries: NDArray[np.intp],
    allowed: NDArray[np.bool_],
    options: ExampleOptions,
) -> Iterator[Example]:
    at = np.flatnonzero(allowed)
    items = {int(number): _item(asked.rows[int(number)], int(number)) for number in at}
    for query in map(int, queries):
        best = at[np.argsort(-cosines[query, at], kind="stable")[: options.neighbours]]
        near = tuple(Neighbour(int(one), items[int(one)], float(cosines[query, one]), WHOLE) for one in best)
        region = asked.regions[query]
        detection = None if region.label is None else (region.label, region.score)
        yield Example(Evidence(detection, said[query], near), asked.rows[query])


def _item(row: Row, number: int) -> Item:
    return Item(f"photo-{number}", "photo", type_of(row), tag_of(row), annotations={tag_of(row): 1.0})


def _labels(
    logits: NDArray[np.float32], names: Sequence[str], temperature: float, count: int
) -> list[tuple[tuple[str, float], ...]]:
    """The best labels of each row with their probabilities, as the SDK's embedder gives them."""
    scaled = logits / temperature
    odds = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    shares = odds / odds.sum(axis=1, keepdims=True)
    best = np.argsort(-shares, axis=1, kind="stable")[:, :count]
    return [tuple((names[at], float(row[at])) for at in ranked) for row, ranked in zip(shares, best, strict=True)]
