"""What the detector's training is worth: new labels, old labels, size, speed, and boxes of users beside true ones.

    python benchmarks/train_detector.py --data ../shared/data --out benchmarks/results/train_detector.json
    python benchmarks/train_detector.py --data ../shared/data --parts speed --out benchmarks/results/train_detector.json

Parts:

* ``labels``: the signs of `detection/road_signs.jsonl` are taught with its `train` photos, the demo's photographs as
  background, and measured on its `val`; the old labels on `val` of `detection/coco.jsonl`. It runs from an empty cache
  and is timed by the wall clock.
* ``boxes``: simulated users draw on the `train` photos (`handlens-convert simulate`, noise model `--noise`). Three
  trainings of the same budget: with every user's box as it was drawn (raw), with the consensus of the pipeline's pure
  functions, with the true boxes; each with the seeds of `--seeds`, which draw boxes, views and order anew. The gap
  that consensus closes is (consensus - raw) / (true - raw) of the means.
* ``speed``: the taught detector and the shipped one take turns on the same photos, decoding included. It needs the
  detector that ``labels`` wrote (`--work`), and an idle machine.

`train` of road_signs holds only green and yellow lights, `val` also other signs. Labels that cannot be learned are not
counted, but their photos stay in: a red light that is taken for a green one is a mistake.

A part that is not asked for leaves its figures in the JSON as they are. Exits with 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "conversion"))
sys.path.insert(0, str(Path(__file__).parents[1] / "sdk"))

from measure import machine, write_json

from handlens.vision.detector import Detector
from handlens.vision.image import load_photo
from handlens_conversion.boxes.cleaning import clean_photo
from handlens_conversion.boxes.consensus import find_objects
from handlens_conversion.boxes.labels import vote
from handlens_conversion.boxes.mode_fit import fit_modes
from handlens_conversion.boxes.noise import noise_of
from handlens_conversion.boxes.robots import robot_verdict, statistics_of
from handlens_conversion.boxes.simulate import Scene, SimulationOptions, chunks_of, drawn_boxes
from handlens_conversion.boxes.truth import load_truth
from handlens_conversion.detector_metrics import average_precision
from handlens_conversion.training.cache import cached_cells
from handlens_conversion.training.cells import FeatureReader, join
from handlens_conversion.training.coco import read_dataset
from handlens_conversion.training.folder import describe, open_base
from handlens_conversion.training.head import Head
from handlens_conversion.training.judging import measure
from handlens_conversion.training.learning import learn
from handlens_conversion.training.records import TrainingOptions
from handlens_conversion.training.run import train_detector

ROOT = Path(__file__).parents[1]
SIGNS = "detection/road_signs.jsonl"
PARTS = ("labels", "boxes", "speed")
KINDS = ("raw", "consensus", "true")


def main():
    arguments = parsed()
    out = arguments.out
    figures = json.loads(out.read_bytes()) if out and out.exists() else {}
    rows = [json.loads(line) for line in (arguments.data / SIGNS).read_bytes().splitlines()]
    if "labels" in arguments.parts:
        figures["labels"] = labels_part(arguments, rows)
    if "boxes" in arguments.parts:
        figures.setdefault("boxes", {})[arguments.noise] = boxes_part(arguments, rows)
    if "speed" in arguments.parts:
        figures["speed"] = speed_part(arguments, rows)
    figures["machine"] = machine()
    figures["targets"] = targets(figures)
    for one in figures["targets"]:
        print(one)
    if out:
        write_json(out, figures)
    return 0 if all(one["met"] for one in figures["targets"]) else 1


def labels_part(arguments, rows):
    work = fresh(arguments.work / "labels")
    write_dataset(work / "signs", {side: true_boxes(rows, side) for side in ("train", "val")}, rows)
    begun = time.perf_counter()
    found = train_detector(
        work / "signs",
        work / "taught",
        models=ROOT / "models",
        cache=work / "cache",
        photos=arguments.data,
        guard=arguments.data / "detection/coco.jsonl",
        guard_photos=arguments.data,
        background=ROOT / "demo/catalog/images",
        types=types_of(rows),
        options=TrainingOptions(),
        threads=2,
    )
    judged = found.judgement
    return {
        "seconds": round(time.perf_counter() - begun, 1),
        "labels": found.labels,
        "ap50": round(judged.new.ap50, 4),
        "map": round(judged.new.map, 4),
        "map_by_label": {label: round(value, 4) for label, value in judged.new.by_label.items()},
        "shown_precision": round(judged.new_shown.precision, 3),
        "shown_recall": round(judged.new_shown.recall, 3),
        "old_map_before_after": [round(value, 4) for value in judged.old_map],
        "guard_shown_precision_before_after": [round(side.precision, 4) for side in judged.shown],
        "guard_shown_recall_before_after": [round(side.recall, 4) for side in judged.shown],
        "bytes_more": found.size - (ROOT / "models/detector/model.tflite").stat().st_size,
        "photos": {"train": len(true_boxes(rows, "train")), "val": judged.held_out, "guard": judged.guard_photos},
    }


def boxes_part(arguments, rows):
    runs = defaultdict(list)
    for seed in arguments.seeds:
        drawn = simulated(arguments, seed)
        sides = {"raw": raw_boxes(drawn), "consensus": consensus_boxes(drawn), "true": true_boxes(rows, "train")}
        for kind in KINDS:
            runs[kind].append({"seed": seed, **one_run(arguments, rows, sides[kind], seed)})
            print(kind, runs[kind][-1], flush=True)
    shares = {figure: closed(runs, figure) for figure in ("ap50", "map")}
    means = {kind: {name: mean(runs[kind], name) for name in ("ap50", "map")} for kind in KINDS}
    return {"events": arguments.events, "runs": dict(runs), "means": means, "closed": shares}


def one_run(arguments, rows, boxes, seed):
    """Train from the photos' boxes, and measure on `val` alone: there is nothing to refuse here."""
    work = fresh(arguments.work / "boxes")
    write_dataset(work / "signs", {"train": boxes, "val": true_boxes(rows, "val")}, rows)
    data = read_dataset(work / "signs", photos=arguments.data)
    options = TrainingOptions(seed=seed, views=4, epochs=6)
    base = open_base(ROOT / "models")
    head = Head.open(base.data)
    found = cached_cells(
        data.train,
        data.labels,
        options,
        network=base.spec.sha256,
        folder=work / "cells",
        reader=lambda: FeatureReader(head, base.spec),
    )
    cells = join([cells for _, cells in found])
    taught = learn(cells, data.labels, scale=head.scale, options=options, state=work / "state.pt", key="")
    network = head.with_rows(taught)
    folder = fresh(work / "detector")
    (folder / "model.tflite").write_bytes(network)
    write_json(folder / "model.json", describe(base, network, taught.labels, {}))
    scored = measure(Detector.open(folder), data.held_out, data.labels)
    precision = average_precision(scored, labels=data.labels)
    shutil.rmtree(work)
    return {"objects": sum(map(len, boxes.values())), "ap50": round(precision.ap50, 4), "map": round(precision.map, 4)}


def simulated(arguments, seed):
    """Boxes of simulated users by photo."""
    wanted = {row["image"] for row in rows_of(arguments, "train")}
    truth = [photo for photo in load_truth(arguments.data / SIGNS) if photo.photo in wanted]
    noise = noise_of(arguments.noise, {})
    scene, options = Scene(truth), SimulationOptions(events=arguments.events, seed=seed, noise=noise)
    photos = defaultdict(list)
    for chunk in chunks_of(scene, options):
        for drawn in drawn_boxes(scene, options, chunk):
            photos[drawn.photo].append(drawn)
    return photos


def raw_boxes(drawn):
    """Every box that has a word and an area, as it was drawn."""
    return {photo: [(one.box, one.words) for one in boxes if one.words] for photo, boxes in drawn.items()}


def consensus_boxes(drawn):
    by_user = defaultdict(list)
    for boxes in drawn.values():
        for one in boxes:
            by_user[one.user].append(one)
    robots = {user for user, boxes in by_user.items() if robot_verdict(statistics_of(boxes)).is_robot}
    cleaned = {
        photo: clean_photo([one for one in boxes if one.user not in robots]).kept for photo, boxes in drawn.items()
    }
    modes = fit_modes(cleaned.values())
    result = {}
    for photo, boxes in cleaned.items():
        named = [(one.box, vote(member.words for member in one.members)) for one in find_objects(boxes, modes=modes)]
        # The pipeline's labels are words, as a dictionary has them.
        result[photo] = [(box, label.word.replace(" ", "_")) for box, label in named if label is not None]
    return result


def true_boxes(rows, side):
    return {
        row["image"]: [
            ((x0 / row["width"], y0 / row["height"], x1 / row["width"], y1 / row["height"]), label)
            for x0, y0, x1, y1, label in row["boxes"]
        ]
        for row in rows
        if row["split"] == side
    }


def speed_part(arguments, rows):
    folders = [ROOT / "models/detector", arguments.work / "labels/taught/detector"]
    photos = [load_photo(arguments.data / row["image"]) for row in rows if row["split"] == "val"][:20]
    result = {}
    for threads in (1, 2):
        detectors = [Detector.open(folder, threads=threads) for folder in folders]
        times = ([], [])
        for turn in range(arguments.rounds * len(photos) + 10):
            photo = photos[turn % len(photos)]
            for side in (0, 1) if turn % 2 else (1, 0):
                begun = time.perf_counter()
                detectors[side].detect(photo)
                # The first turns pack weights and grow caches.
                if turn >= 10:
                    times[side].append(1000 * (time.perf_counter() - begun))
        before, after = (statistics.median(side) for side in times)
        # Pairs of neighbours in time were slowed alike by whatever else ran.
        ratio = statistics.median(new / old for old, new in zip(*times, strict=True))
        result[f"{threads} threads"] = {
            "shipped_ms": round(before, 2),
            "taught_ms": round(after, 2),
            "ratio_of_pairs": round(ratio, 4),
        }
    return result


def targets(figures):
    found = []
    if "labels" in figures:
        part = figures["labels"]
        lost = part["old_map_before_after"][0] - part["old_map_before_after"][1]
        found += [
            target("AP50 of the new labels (0 before)", part["ap50"], at_least=0.40),
            target("mAP that the old labels lose", round(lost, 4), at_most=0.01),
            target("minutes of training", round(part["seconds"] / 60, 2), at_most=30),
            target("megabytes more", round(part["bytes_more"] / 1e6, 4), at_most=0.1),
        ]
    for noise, part in figures.get("boxes", {}).items():
        found.append(target(f"gap in mAP that consensus closes, {noise}", part["closed"]["map"], at_least=0.8))
    for threads, row in figures.get("speed", {}).items():
        found.append(target(f"time beside the shipped detector's, {threads}", row["ratio_of_pairs"], at_most=1.03))
    return found


def target(name, value, *, at_least=None, at_most=None):
    met = value is not None and (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
    return {"name": name, "value": value, "at_least": at_least, "at_most": at_most, "met": met}


def closed(runs, figure):
    raw, consensus, true = (mean(runs[kind], figure) for kind in KINDS)
    return round((consensus - raw) / (true - raw), 3) if true > raw else None


def mean(runs, figure):
    return round(statistics.mean(run[figure] for run in runs), 4)


def types_of(rows):
    return {label: "other" for row in rows if row["split"] == "train" for *_, label in row["boxes"]}


def rows_of(arguments, side):
    rows = [json.loads(line) for line in (arguments.data / SIGNS).read_bytes().splitlines()]
    return [row for row in rows if row["split"] == side]


def write_dataset(folder, sides, rows):
    """COCO JSON of boxes by photo."""
    folder.mkdir(parents=True)
    sizes = {row["image"]: (row["width"], row["height"]) for row in rows}
    names = sorted({label for row in rows for *_, label in row["boxes"]})
    for side, photos in sides.items():
        content = {"categories": [{"id": at, "name": name} for at, name in enumerate(names)]}
        content["images"] = [
            {"id": at, "file_name": photo, "width": sizes[photo][0], "height": sizes[photo][1]}
            for at, photo in enumerate(photos)
        ]
        content["annotations"] = [
            {
                "image_id": at,
                "category_id": names.index(label),
                "bbox": in_pixels(box, sizes[photo]),
            }
            for at, (photo, boxes) in enumerate(photos.items())
            for box, label in boxes
        ]
        (folder / f"{side}.json").write_text(json.dumps(content), "utf-8")


def in_pixels(box, size):
    left, top, right, bottom = np.array(box) * np.tile(size, 2)
    return [float(left), float(top), float(right - left), float(bottom - top)]


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def parsed():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder of the photos for measuring.")
    parser.add_argument("--work", type=Path, default=Path("out/train_detector"), help="Folder for what is made.")
    parser.add_argument("--out", type=Path, help="JSON file for the figures.")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--noise", default="messy")
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=15)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
