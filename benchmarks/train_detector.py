"""What the detector's training is worth: new labels, old labels, size and speed.

    python benchmarks/train_detector.py --data ../shared/data --out benchmarks/results/train_detector.json
    python benchmarks/train_detector.py --data ../shared/data --parts speed --out benchmarks/results/train_detector.json

Parts:

* ``labels``: the signs of `detection/road_signs.jsonl` are taught with its `train` photos, the demo's photographs as
  background, and measured on its `val`; the old labels on `val` of `detection/coco.jsonl`. It runs from an empty cache
  and is timed by the wall clock.
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
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "conversion"))
sys.path.insert(0, str(Path(__file__).parents[1] / "sdk"))

from measure import concluded, machine, target

from handlens.vision.detector import Detector
from handlens.vision.image import load_photo
from handlens_conversion.training.records import TrainingOptions
from handlens_conversion.training.run import train_detector

ROOT = Path(__file__).parents[1]
SIGNS = "detection/road_signs.jsonl"
PARTS = ("labels", "speed")


def main():
    arguments = parsed()
    out = arguments.out
    figures = json.loads(out.read_bytes()) if out and out.exists() else {}
    rows = [json.loads(line) for line in (arguments.data / SIGNS).read_bytes().splitlines()]
    if "labels" in arguments.parts:
        figures["labels"] = labels_part(arguments, rows)
    if "speed" in arguments.parts:
        figures["speed"] = speed_part(arguments, rows)
    figures["machine"] = machine()
    figures["targets"] = targets(figures)
    return concluded(out, figures)


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
    for threads, row in figures.get("speed", {}).items():
        found.append(target(f"time beside the shipped detector's, {threads}", row["ratio_of_pairs"], at_most=1.03))
    return found


def types_of(rows):
    return {label: "other" for row in rows if row["split"] == "train" for *_, label in row["boxes"]}


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
    parser.add_argument("--rounds", type=int, default=15)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
