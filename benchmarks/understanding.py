"""How well understanding names types and things: the shipped fusion against its peers, on photographs in no catalogue.

    python benchmarks/understanding.py --data ../shared/data --out out/understanding.json

Queries are the `val` rows of multi_domain, the catalogue its `gallery` rows, both run through the SDK's own detector
and embedder. Three catalogues: all of it; without the things of the query's class ("unknown thing"); a random tenth.
Each item is annotated with its class's name and nothing else.

Parameters are those that the embedder's model.json carries. They were fitted on the gallery (`handlens-convert fit
understanding`), never on `val`.

Methods for the type: the fusion as shipped, each voice alone, the weighted mean of the same voices, and the type of the
nearest item. "ece" is the expected calibration error over ten bins (Guo et al., "On Calibration of Modern Neural
Networks", 2017), "log_loss" the mean of -ln(confidence given to the right type). Words: "right" is a name of the class
or a synonym (`handlens_conversion.retrieval_words`, taxonomy), "named" the part of the classes that no label list has
whose name comes first for at least half of their photographs.

Exits with 1 when a target is missed on the whole catalogue; --plot draws the reliability diagrams.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "conversion"))
sys.path.insert(0, str(Path(__file__).parents[1] / "sdk"))

from handlens.geometry import WHOLE
from handlens.results import Evidence, Neighbour, Region
from handlens.understand import choose_regions, colours_of, type_confidences, understand
from handlens.vision.detector import Detector
from handlens.vision.embedder import Embedder
from handlens.vision.image import load_photo
from handlens.wire.item import OBJECT_TYPES, Item
from handlens.wire.taxonomy import Taxonomy
from handlens_conversion.retrieval_data import load_set
from handlens_conversion.retrieval_words import Judge, tag_of, type_of
from handlens_conversion.understanding_fit import calibration_error

ROOT = Path(__file__).parents[1]
NEIGHBOURS = 40  # Options.neighbours
MARGIN = 0.08  # Options.crop_margin


class Seen:
    """The models' answers for every photo, each computed once: vectors (n, dim), labels, and the main detection."""

    def __init__(self, data, rows, detector, embedder, *, whole):
        self.vectors, self.labels, self.detections, self.colour_ms = [], [], [], []
        for row in rows:
            photo = load_photo(data / row.image)
            region = Region(WHOLE, "whole") if detector is None else main_region(detector, photo)
            part = embedder.embed(photo, [WHOLE if whole else region.box], margin=MARGIN)
            self.vectors.append(part.vectors[0])
            self.labels.append(part.label_scores[0])
            self.detections.append(None if region.label is None else (region.label, region.score))
            begun = time.perf_counter()
            colours_of(photo, region.box)
            self.colour_ms.append((time.perf_counter() - begun) * 1000)
        self.vectors = np.array(self.vectors)


def main_region(detector, photo):
    found = [Region(one.box, "detector", one.label, one.score) for one in detector.detect(photo)]
    return choose_regions(found, limit=1)[0]


def catalogues(queries, gallery):
    """Name -> (queries, items) mask of the items that a query may find."""
    query_class = np.array([row.coarse for row in queries])
    item_class = np.array([row.coarse for row in gallery])
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


def methods(taxonomy, shipped):
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


def types_report(method, found, truth):
    answers = [method(evidence) for evidence in found]
    best = [max(answer, key=answer.get) for answer in answers]
    right = [one == true for one, true in zip(best, truth, strict=True)]
    losses = [-math.log(max(answer[true], 1e-9)) for answer, true in zip(answers, truth, strict=True)]
    return {
        "type@1": round(float(np.mean(right)), 4),
        "ece": calibration_error([answer[one] for answer, one in zip(answers, best, strict=True)], right),
        "log_loss": round(float(np.mean(losses)), 4),
    }


class Words:
    """The annotations of every query, against what it shows."""

    def __init__(self, found, queries, taxonomy, weights):
        self.judge, self.queries = Judge(taxonomy), queries
        begun = time.perf_counter()
        self.known = [understand(evidence, taxonomy, weights=weights) for evidence in found]
        self.milliseconds = (time.perf_counter() - begun) * 1000 / len(found)
        self.right = [
            [self.judge.is_right(note.tag, row) for note in one.annotations]
            for one, row in zip(self.known, queries, strict=True)
        ]
        self.first = [bool(one[:1] and one[0]) for one in self.right]
        self.confidences = [one.annotations[0].confidence if one.annotations else 0.0 for one in self.known]

    def report(self):
        """How often a right word is among the first, and how true the first one's confidence is."""
        among = {f"right@{top}": round(float(np.mean([any(one[:top]) for one in self.right])), 4) for top in (1, 2, 5)}
        return {**among, "ece": calibration_error(self.confidences, self.first), **self._unlisted()}

    def _unlisted(self):
        classes = {}
        for row, first in zip(self.queries, self.first, strict=True):
            if self.judge.is_in_no_list(row):
                classes.setdefault(row.coarse, []).append(first)
        named = [float(np.mean(one)) >= 0.5 for one in classes.values()]
        return {"classes_in_no_list": len(named), "of_them_named": round(float(np.mean(named)), 4)}

    def types(self):
        """Confidence of the type, and whether it is right."""
        right = [one.object_type == type_of(row) for one, row in zip(self.known, self.queries, strict=True)]
        return [one.type_confidence for one in self.known], right


def reliability(confidences, right):
    """Confidence, how often right and how many, in ten bins."""
    confidences, right = np.array(confidences), np.array(right, dtype=float)
    bins = np.minimum((confidences * 10).astype(int), 9)
    return [
        [
            round(float(confidences[bins == one].mean()), 4),
            round(float(right[bins == one].mean()), 4),
            int((bins == one).sum()),
        ]
        for one in sorted(set(bins.tolist()))
    ]


def draw(report, path):
    """The reliability diagrams of type and first word on each catalogue."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 4.4), sharey=True)
    for axis, kind, title in ((axes[0], "type", "Object type"), (axes[1], "word", "First annotation")):
        axis.plot([0, 1], [0, 1], color="#999999", linewidth=1)
        for (name, one), colour in zip(report["catalogues"].items(), ("#0067a5", "#be0032", "#f38400"), strict=True):
            points = np.array(one["reliability"][kind])
            axis.plot(points[:, 0], points[:, 1], color=colour, linewidth=1, label=name)
            axis.scatter(points[:, 0], points[:, 1], s=points[:, 2], color=colour, alpha=0.6)
        axis.set(title=title, xlabel="confidence", xlim=(0, 1.02), ylim=(0, 1.02))
    axes[0].set_ylabel("share that is right")
    axes[1].legend(title="catalogue", loc="upper left")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=ROOT.parent / "shared" / "data", help="the evaluation data's folder"
    )
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    parser.add_argument("--plot", type=Path, help="write the reliability diagrams to this PNG file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--whole", action="store_true", help="embed the whole photo, whatever was detected")
    options = parser.parse_args()
    if not (options.data / "retrieval").is_dir():
        parser.error(f"{options.data} has no folder 'retrieval': give the evaluation data's folder with --data")

    taxonomy = Taxonomy.from_json((ROOT / "models" / "taxonomy.json").read_bytes())
    detector = Detector.open(ROOT / "models" / "detector", threads=options.threads)
    embedder = Embedder.open(ROOT / "models" / "embedder", threads=options.threads)
    weights, photos = embedder.spec.understanding, load_set(options.data, "multi_domain")
    gallery, queries = photos.gallery, photos.queries
    items = [
        Item(f"g{at}", "photo", type_of(row), tag_of(row), annotations={tag_of(row): 1.0})
        for at, row in enumerate(gallery)
    ]
    known = Seen(options.data, gallery, None, embedder, whole=True)
    asked = Seen(options.data, queries, detector, embedder, whole=options.whole)
    similarities = asked.vectors @ known.vectors.T

    truth = [type_of(row) for row in queries]
    report = {"queries": len(queries), "items": len(items), "embedder": embedder.spec.model_id, "catalogues": {}}
    for name, allowed in catalogues(queries, gallery).items():
        found = list(evidences(asked, np.where(allowed, similarities, -1.0), items))
        kinds = {method: types_report(call, found, truth) for method, call in methods(taxonomy, weights).items()}
        words = Words(found, queries, taxonomy, weights)
        bins = {"type": reliability(*words.types()), "word": reliability(words.confidences, words.first)}
        report["catalogues"][name] = {"types": kinds, "words": words.report(), "reliability": bins}
        report.setdefault("understanding_ms", round(words.milliseconds, 3))
    report["colours_ms"] = round(float(np.median(asked.colour_ms)), 3)
    report["targets"] = targets(report["catalogues"]["all"])
    text = json.dumps(report, indent=2)
    print(text)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n")
    if options.plot:
        draw(report, options.plot)
    return 0 if all(report["targets"].values()) else 1


def targets(whole):
    types, words = whole["types"]["fused"], whole["words"]
    return {
        "type@1 >= 0.985": types["type@1"] >= 0.985,
        "ece of the type <= 0.05": types["ece"] <= 0.05,
        "first word right >= 0.80": words["right@1"] >= 0.80,
        "ece of the first word <= 0.05": words["ece"] <= 0.05,
        "classes in no list that are named >= 0.50": words["of_them_named"] >= 0.50,
    }


if __name__ == "__main__":
    sys.exit(main())
