"""What the benchmarks of the blend work on: the demo's photographs, answered by the sources, judged by rule.

Queries are the 38 query photographs, which are in no catalogue, and every photograph of the catalogue with itself and
its own offers left out. Each goes through the SDK's own detector, embedder, understanding and sources, over the demo
catalogue of 757 items.

How helpful an item is, by rule (no person judged pairs): `about` times `wish`.

* `about` is 2 where the item carries the first of the photo's tags (the thing itself) with a weight of at least 0.8, 1
  where it carries another of them with at least 0.5, else 0. The tags are those of people: `expect_tags` of a query;
  of a photo in the catalogue its own tags of weight 0.8 and more.
* `wish` is what `WISHES` says of the item's kind for the true type of the thing: 3 what a person wants first, 2 what
  they want next, 1 what does no harm, 0 what does not help. `docs/blending.md` gives the reasons by type.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from handlens.index import ExactIndex, add_codes
from handlens.results import Candidate, Evidence, Neighbour, Query, Region, Understanding
from handlens.sources import AnnotationSource, ObjectSource, VisualSource
from handlens.store import Store
from handlens.understand import choose_regions, understand
from handlens.vision.detector import Detector
from handlens.vision.embedder import Embedder
from handlens.vision.image import load_photo
from handlens.wire.item import Item
from handlens.wire.taxonomy import Taxonomy

__all__ = ["WISHES", "Case", "Pipeline", "catalogue_of", "collect", "helpfulness"]

ROOT = Path(__file__).resolve().parent.parent
NEIGHBOURS = 40  # Options.neighbours
MARGIN = 0.08  # Options.crop_margin
WORD_GATE = 0.25

_STORY = {"article": 3, "place": 2, "photo": 1, "idea": 1, "how_to": 1}
WISHES = {
    "food": {"recipe": 3, "how_to": 2, "idea": 2, "article": 1, "product": 1, "photo": 1, "place": 1},
    "fashion": {"product": 3, "idea": 3, "photo": 2, "how_to": 1, "article": 1},
    "beauty": {"product": 3, "how_to": 3, "idea": 2, "article": 1, "photo": 1},
    "home": {"idea": 3, "product": 2, "how_to": 2, "article": 1, "photo": 1},
    "plant": {"how_to": 3, "article": 2, "photo": 1, "place": 1, "idea": 1, "recipe": 1, "product": 1},
    "animal": _STORY,
    "vehicle": {"article": 3, "photo": 2, "place": 2, "how_to": 1, "idea": 1, "product": 1},
    "electronics": {"how_to": 3, "product": 2, "article": 1, "idea": 1, "photo": 1},
    "tool": {"how_to": 3, "product": 2, "idea": 1, "article": 1, "photo": 1},
    "art": _STORY,
    "place": {"article": 3, "place": 3, "photo": 1, "idea": 1, "how_to": 1},
    "media": {"how_to": 3, "article": 2, "product": 2, "photo": 1, "idea": 1},
    "toy": {"product": 3, "idea": 3, "how_to": 2, "article": 1, "photo": 1},
    "sport": {"how_to": 3, "product": 2, "place": 2, "idea": 1, "article": 1, "photo": 1},
    "other": {"photo": 2, "article": 2, "how_to": 1, "idea": 1, "place": 1, "product": 1},
}


@dataclass(frozen=True, slots=True)
class Case:
    """A photo with what the sources offered; `tags` (the thing itself first) and `object_type` are the truth."""

    name: str
    is_query: bool
    object_type: str
    tags: tuple[str, ...]
    item_id: str
    understanding: Understanding
    candidates: tuple[Candidate, ...]

    def about(self, item: Item) -> int:
        """2: of the thing itself, 1: of something that it is or has to do with, 0: of something else."""
        if item.annotations.get(self.tags[0], 0.0) >= 0.8:
            return 2
        return int(any(item.annotations.get(tag, 0.0) >= 0.5 for tag in self.tags))


def helpfulness(case: Case, item: Item) -> int:
    """0..6, by the rule above."""
    return 0 if item.item_id == case.item_id else case.about(item) * WISHES[case.object_type].get(item.kind, 0)


def catalogue_of() -> list[Item]:
    """Every item of the demo catalogue."""
    lines = (ROOT / "demo" / "catalog" / "items.jsonl").read_text("utf-8").splitlines()
    return [Item.from_dict(json.loads(line)) for line in lines]


def collect(device: Path, *, threads: int = 2, photos: int | None = None) -> Iterator[Case]:
    """The cases, queries first, then the first `photos` of the catalogue's photographs, or all of them."""
    with Store.open(device) as store:
        pipeline = Pipeline(store, threads)
        folder = ROOT / "demo" / "queries"
        for line in (folder / "queries.jsonl").read_text("utf-8").splitlines():
            query = json.loads(line)
            understanding, candidates = pipeline.ask(folder / query["image"], "")
            tags = tuple(query["expect_tags"])
            yield Case(query["image"], True, query["expect_type"], tags, "", understanding, candidates)
        for item in [item for item in catalogue_of() if item.image is not None][:photos]:
            understanding, candidates = pipeline.ask(ROOT / "demo" / "catalog" / item.image, item.item_id)
            tags = tuple(
                sorted((tag for tag, w in item.annotations.items() if w >= 0.8), key=item.annotations.get)[::-1]
            )
            if tags:
                yield Case(item.item_id, False, item.object_type, tags, item.item_id, understanding, candidates)


class Pipeline:
    """The steps of a search, with one item left out."""

    def __init__(self, store: Store, threads: int) -> None:
        self._store = store
        self.taxonomy = Taxonomy.from_json((ROOT / "models" / "taxonomy.json").read_bytes())
        self._detector = Detector.open(ROOT / "models" / "detector", threads=threads)
        self._embedder = Embedder.open(ROOT / "models" / "embedder", threads=threads)
        ids, codes = store.vectors()
        self._index = ExactIndex(space=self._embedder.spec.space, dim=self._embedder.spec.dim)
        add_codes(self._index, np.asarray(ids), np.asarray(codes))
        self._sources = (VisualSource(), ObjectSource(gate=WORD_GATE), AnnotationSource(store, gate=WORD_GATE))

    def ask(self, photo_path: Path, left_out: str) -> tuple[Understanding, tuple[Candidate, ...]]:
        evidence = self.evidence(photo_path, left_out)
        understanding = understand(evidence, self.taxonomy, weights=self._embedder.spec.understanding)
        has_object = evidence.detection is not None
        query = Query(understanding, evidence.neighbours, NEIGHBOURS + 1, "en", has_object=has_object)
        offers = (one for source in self._sources for one in source.candidates(query))
        return understanding, tuple(one for one in offers if one.item.item_id != left_out)

    def evidence(self, photo_path: Path, left_out: str) -> Evidence:
        photo = load_photo(photo_path)
        found = [Region(one.box, "detector", one.label, one.score) for one in self._detector.detect(photo)]
        region = choose_regions(found, limit=1)[0]
        part = self._embedder.embed(photo, [region.box], margin=MARGIN)
        detection = None if region.label is None else (region.label, region.score)
        return Evidence(detection, part.label_scores[0], self._neighbours(part.vectors[0], left_out))

    def _neighbours(self, vector: np.ndarray, left_out: str) -> tuple[Neighbour, ...]:
        near = self._index.search(vector, NEIGHBOURS + 4)  # a picture has at most four parts
        parts = self._store.items_of([int(one) for one in near.ids])
        pairs = ((parts[int(one)], 1.0 - float(far)) for one, far in zip(near.ids, near.distances, strict=True))
        found = (
            Neighbour(part.item_key, part.item, likeness, part.box)
            for part, likeness in pairs
            if part.item.item_id != left_out
        )
        return tuple(found)[:NEIGHBOURS]
