"""How well understanding names types and things: the shipped fusion against its peers, on photographs in no catalogue.

    python benchmarks/understanding.py --data ../shared/data --out out/understanding.json

Queries are the `val` rows of multi_domain, the catalogue its `gallery` rows, both run through the SDK's own detector
and embedder. Three catalogues: all of it; without the things of the query's class ("unknown thing"); a random tenth.
Each item is annotated with its class's name and nothing else.

Methods for the type: the fusion as shipped, each voice alone, the weighted mean of the same voices, and the type of the
nearest item. "ece" is the expected calibration error over ten bins (Guo et al., "On Calibration of Modern Neural
Networks", 2017), "log_loss" the mean of -ln(confidence given to the right type).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "sdk"))

from handlens.geometry import WHOLE
from handlens.results import Evidence, Neighbour, Region
from handlens.understand import FusionWeights, choose_regions, type_confidences, understand
from handlens.vision.detector import Detector
from handlens.vision.embedder import Embedder
from handlens.vision.image import load_photo
from handlens.wire.item import OBJECT_TYPES, Item
from handlens.wire.taxonomy import Taxonomy

ROOT = Path(__file__).parents[1]
NEIGHBOURS = 40  # Options.neighbours
MARGIN = 0.08  # Options.crop_margin
# The data set's names for types, and the classes that it files under another type than our taxonomy's rules do.
TYPES = {
    "animals": "animal",
    "plants": "plant",
    "home_decor": "home",
    "vehicles": "vehicle",
    "landmark": "place",
    "music": "media",
}
CLASSES = {
    "wrench": "tool",
    "scissors": "tool",
    "stapler": "tool",
    "binocular": "tool",
    "soccer_ball": "sport",
    "inline_skate": "sport",
    "buddha": "art",
}


def type_of(row):
    return CLASSES.get(row["coarse"]) or TYPES.get(row["object_type"], row["object_type"])


def tag_of(row):
    return row["coarse"].lower().replace("_", " ").replace("-", " ")


def rows_of(data, split):
    lines = (data / "retrieval" / "multi_domain.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["split"] == split]


class Seen:
    """The models' answers for every photo, each computed once: vectors (n, dim), labels, and the main detection."""

    def __init__(self, data, rows, detector, embedder, *, whole):
        self.vectors, self.labels, self.detections = [], [], []
        for row in rows:
            photo = load_photo(data / row["image"])
            region = Region(WHOLE, "whole") if detector is None else main_region(detector, photo)
            part = embedder.embed(photo, [WHOLE if whole else region.box], margin=MARGIN)
            self.vectors.append(part.vectors[0])
            self.labels.append(part.label_scores[0])
            self.detections.append(None if region.label is None else (region.label, region.score))
        self.vectors = np.array(self.vectors)


def main_region(detector, photo):
    found = [Region(one.box, "detector", one.label, one.score) for one in detector.detect(photo)]
    return choose_regions(found, limit=1)[0]


def catalogues(queries, gallery):
    """Name -> (queries, items) mask of the items that a query may find."""
    query_class = np.array([row["coarse"] for row in queries])
    item_class = np.array([row["coarse"] for row in gallery])
    everything = np.ones((len(queries), len(gallery)), dtype=bool)
    tenth = np.random.default_rng(0).permutation(len(gallery)) < len(gallery) // 10
    return {
        "all": everything,
        "unknown thing": query_class[:, None] != item_class[None],
        "a tenth": everything & tenth[None],
    }


def evidences(seen, similarities, items):
    for row, near in enumerate(similarities):
        best = np.argsort(-near, kind="stable")[:NEIGHBOURS]
        neighbours = tuple(Neighbour(int(at), items[at], float(near[at]), WHOLE) for at in best)
        yield Evidence(seen.detections[row], seen.labels[row], neighbours)


def methods(taxonomy):
    shipped = FusionWeights()
    voices = {"neighbours": shipped.neighbours, "classifier": shipped.classifier, "detector": shipped.detector}
    silent = dict.fromkeys(voices, 0.0)
    alone = {name: replace(shipped, **{**silent, name: 1.0}) for name in voices}

    def mean(evidence):
        total = sum(voices.values())
        parts = {name: type_confidences(evidence, taxonomy, weights=one) for name, one in alone.items()}
        return {t: sum(voices[name] * parts[name][t] for name in voices) / total for t in OBJECT_TYPES}

    def fused(weights):
        return lambda evidence: type_confidences(evidence, taxonomy, weights=weights)

    return {
        "fused": fused(shipped),
        **{f"{name} alone": fused(one) for name, one in alone.items()},
        "weighted mean": mean,
        "nearest item": lambda evidence: {t: float(t == evidence.neighbours[0].item.object_type) for t in OBJECT_TYPES},
    }


def calibration_error(confidences, right):
    confidences, right = np.array(confidences), np.array(right, dtype=float)
    bins = np.ceil(confidences * 10)
    return float(
        sum(
            (bins == one).mean() * abs(confidences[bins == one].mean() - right[bins == one].mean()) for one in set(bins)
        )
    )


def types_report(method, found, truth):
    answers = [method(evidence) for evidence in found]
    best = [max(answer, key=answer.get) for answer in answers]
    right = [one == true for one, true in zip(best, truth, strict=True)]
    losses = [-math.log(max(answer[true], 1e-9)) for answer, true in zip(answers, truth, strict=True)]
    return {
        "type@1": round(float(np.mean(right)), 4),
        "ece": round(calibration_error([answer[one] for answer, one in zip(answers, best, strict=True)], right), 4),
        "log_loss": round(float(np.mean(losses)), 4),
    }


def words_report(found, tags, taxonomy):
    notes = [understand(evidence, taxonomy).annotations for evidence in found]
    ranks = [
        [note.tag for note in one].index(tag) if tag in [n.tag for n in one] else 99
        for one, tag in zip(notes, tags, strict=True)
    ]
    return {f"word@{top}": round(float(np.mean([rank < top for rank in ranks])), 4) for top in (1, 2, 5)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=ROOT.parent / "shared" / "data", help="the evaluation data's folder"
    )
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--whole", action="store_true", help="embed the whole photo, whatever was detected")
    options = parser.parse_args()
    if not (options.data / "retrieval").is_dir():
        parser.error(f"{options.data} has no folder 'retrieval': give the evaluation data's folder with --data")

    taxonomy = Taxonomy.from_json((ROOT / "models" / "taxonomy.json").read_bytes())
    detector = Detector.open(ROOT / "models" / "detector", threads=options.threads)
    embedder = Embedder.open(ROOT / "models" / "embedder", threads=options.threads)
    gallery, queries = rows_of(options.data, "gallery"), rows_of(options.data, "val")
    items = [
        Item(f"g{at}", "photo", type_of(row), tag_of(row), annotations={tag_of(row): 1.0})
        for at, row in enumerate(gallery)
    ]
    known = Seen(options.data, gallery, None, embedder, whole=True)
    asked = Seen(options.data, queries, detector, embedder, whole=options.whole)
    similarities = asked.vectors @ known.vectors.T

    truth, tags = [type_of(row) for row in queries], [tag_of(row) for row in queries]
    report = {"queries": len(queries), "items": len(items), "embedder": embedder.spec.model_id, "catalogues": {}}
    for name, allowed in catalogues(queries, gallery).items():
        found = list(evidences(asked, np.where(allowed, similarities, -1.0), items))
        kinds = {method: types_report(call, found, truth) for method, call in methods(taxonomy).items()}
        report["catalogues"][name] = {"types": kinds, "words": words_report(found, tags, taxonomy)}
    text = json.dumps(report, indent=2)
    print(text)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
