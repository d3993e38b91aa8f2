"""What the sources cost: a search that asks all of them beside one that asks the visual source alone.

    python benchmarks/sources.py --out out/sources.json

Three parts. *Search*: photos of the demo from pixels to sections, both ways in turns; the words that the annotation
source remembers are forgotten before each search, so that every word is searched anew (a camera that stays on a thing
pays less). Two catalogues: the demo's, and a synthetic one of `--items` items in a store and an HNSW or exact index.
*Threads*: the four sources one after another, and by a pool of threads. *Words*: one full-text search by how many items
carry the word.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "sdk"))
sys.path.insert(1, str(Path(__file__).parents[1] / "server"))

from measure import REPOSITORY, concluded, machine, make_device, milliseconds, spread, target
from synthetic import Synthetic

from handlens.answering import Answerer, Ask, Seen, Stopwatch, look, neighbours_of
from handlens.blend import Policy
from handlens.index import ExactIndex, HnswIndex, add_codes, available
from handlens.local_catalogue import LocalCatalogue
from handlens.options import Options
from handlens.results import Evidence, Query
from handlens.sources import Source
from handlens.store import Store
from handlens.understand import FusionWeights, understand
from handlens.vision.detector import Detector
from handlens.vision.embedder import Embedder
from handlens.vision.image import Photo, load_photo
from handlens.wire.pack import NO_ROWS, PackHeader, PackRow, PackUpsert, encode_row, row_digest
from handlens.wire.taxonomy import Taxonomy

MODELS = REPOSITORY / "models"
OPTIONS = Options(threads=1)
MOST = 1.2  # a search that asks all sources, beside one that asks the visual source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--photos", type=int, default=38)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", type=Path, help="a device's data folder; made of the demo where none is given")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    taxonomy = Taxonomy.from_json((MODELS / "taxonomy.json").read_text("utf-8"))
    policy = Policy.from_json((MODELS / "policy.json").read_text("utf-8"))
    detector = Detector.open(MODELS / "detector", threads=1)
    embedder = Embedder.open(MODELS / "embedder", threads=1)
    paths = sorted((REPOSITORY / "demo" / "queries" / "images").iterdir())[: arguments.photos]
    photos = [load_photo(path) for path in paths]
    figures: dict[str, Any] = {"machine": machine(), "items": arguments.items, "photos": len(photos)}
    with tempfile.TemporaryDirectory() as folder:
        device = arguments.device or make_device(Path(folder) / "demo")
        synthetic = Synthetic(arguments.items, embedder.spec.dim, tuple(taxonomy.classifier), dict(taxonomy.classifier))
        with Store.open(device) as demo, filled(Path(folder) / "large", synthetic, embedder.spec.space) as large:
            for name, store in (("demo", demo), ("synthetic", large)):
                catalogue = LocalCatalogue(store, index_of(store, embedder.spec.space), locale=OPTIONS.locale)
                bench = Bench(catalogue, taxonomy, policy, detector, embedder)
                figures[name] = {
                    "search": bench.searches(photos, arguments.rounds),
                    "sources": bench.threads(photos, arguments.rounds),
                }
                print(name, figures[name])
            figures["words"] = words(large, arguments.items)
    figures["targets"] = [
        target(f"all sources / visual alone, {name}", figures[name]["search"]["ratio"], MOST)
        for name in ("demo", "synthetic")
    ]
    raise SystemExit(concluded(arguments.out, figures))


class Bench:
    """One catalogue, searched in several ways."""

    def __init__(
        self, catalogue: LocalCatalogue, taxonomy: Taxonomy, policy: Policy, detector: Detector, embedder: Embedder
    ) -> None:
        self.catalogue, self.taxonomy, self.policy = catalogue, taxonomy, policy
        self.detector, self.embedder = detector, embedder

    def answerer(self, *, only_visual: bool) -> Answerer:
        """One that remembers no word yet."""
        made = Answerer(self.catalogue, self.taxonomy, self.policy, OPTIONS, weights=FusionWeights())
        if only_visual:
            made.sources = made.sources[:1]
        return made

    def searches(self, photos: list[Photo], rounds: int) -> dict[str, Any]:
        """Milliseconds from pixels to sections, both ways in turns, and of the steps behind the models."""
        whole: dict[str, list[float]] = {"all": [], "visual": []}
        behind: dict[str, list[float]] = {"all": [], "visual": []}
        steps: dict[str, list[float]] = {}
        for turn in range(rounds + 1):
            for photo in photos:
                for name in ("all", "visual") if turn % 2 else ("visual", "all"):
                    answerer, clock = self.answerer(only_visual=name == "visual"), Stopwatch()
                    seen = look(photo, self.detector, self.embedder, None, OPTIONS, clock)
                    begun = clock.elapsed
                    answerer.answer(seen, ask(), clock)
                    ended = clock.elapsed
                    if turn:  # the first round warms up
                        whole[name].append(ended)
                        behind[name].append(ended - begun)
                        for step, taken in clock.milliseconds.items() if name == "all" else ():
                            steps.setdefault(step, []).append(taken)
        ratio = float(np.median(np.array(whole["all"]) / np.array(whole["visual"])))
        return {
            "ratio": round(ratio, 3),
            "whole_ms": {name: spread(taken) for name, taken in whole.items()},
            "behind_models_ms": {name: spread(taken) for name, taken in behind.items()},
            "steps_ms": {step: spread(taken) for step, taken in steps.items()},
        }

    def threads(self, photos: list[Photo], rounds: int) -> dict[str, Any]:
        """Milliseconds of the four sources for the main object, one after another and by threads."""
        taken: dict[str, list[float]] = {"in turn": [], "by threads": []}
        with ThreadPoolExecutor(4) as pool:
            for _ in range(rounds):
                for photo in photos:
                    seen = look(photo, self.detector, self.embedder, None, OPTIONS, Stopwatch())[0]
                    query = self.query(seen)
                    one, other = self.answerer(only_visual=False).sources, self.answerer(only_visual=False).sources
                    taken["in turn"].append(milliseconds(partial(offers, one, query, map)))
                    taken["by threads"].append(milliseconds(partial(offers, other, query, pool.map)))
        return {name: spread(values) for name, values in taken.items()}

    def query(self, seen: Seen) -> Query:
        neighbours = neighbours_of(self.catalogue, seen.vector, OPTIONS.neighbours)
        understanding = understand(Evidence(None, seen.label_scores, neighbours), self.taxonomy)
        return Query(understanding, neighbours, OPTIONS.neighbours, OPTIONS.locale, has_object=True, day="2026-01-01")


def offers(sources: Sequence[Source], query: Query, run: Any) -> list[Any]:
    return list(run(lambda source: source.candidates(query), sources))


def ask() -> Ask:
    return Ask("bench", OPTIONS.limit, locale=OPTIONS.locale, day="2026-01-01")


def filled(folder: Path, synthetic: Synthetic, space: str) -> Store:
    """A store with a synthetic catalogue."""
    store = Store.open(folder, create=True)
    header = PackHeader("large", "base", 0, 1, "2026-01-01T00:00:00Z", space, synthetic.dim, 0, 0, 0, NO_ROWS)
    with store.write() as writer:
        writer.merge(
            header,
            (PackUpsert(row, row_digest(encode_row(row)), encode_record(row)) for row in synthetic.rows()),
        )
    return store


def encode_record(row: PackRow) -> str:
    return json.dumps(row.item.to_dict(), ensure_ascii=False)


def index_of(store: Store, space: str) -> ExactIndex | HnswIndex:
    ids, codes = store.vectors()
    is_large = len(ids) >= OPTIONS.exact_below and available()
    index = (
        HnswIndex(space=space, dim=codes.shape[1], threads=2)
        if is_large
        else ExactIndex(space=space, dim=codes.shape[1])
    )
    add_codes(index, ids, codes)
    return index


def words(store: Store, items: int) -> list[dict[str, Any]]:
    """Milliseconds of one text search, from the most frequent word to rare ones."""
    rows = []
    for number in (0, 3, 10, 30, 100, 300, 1000, 5000):
        search = partial(store.search_text, f"word{number}", limit=40, locale="en")
        taken = [milliseconds(search) for _ in range(15)]
        rows.append({"word": number, **spread(taken)})
        print(f"word{number} among {items}: {rows[-1]}")
    return rows


if __name__ == "__main__":
    main()
