"""Asking for a colour: `refine="red"` puts red things first, on photographs of clothes.

    python benchmarks/refine.py --data ../shared/data --out out/refine.json

Catalogue: the `gallery` photographs of the clothing data set as products, titled and tagged by their class, with no
word of colour; the backend imports them and computes their colours. Queries: its `val` photographs, each asked with
every colour below. Measured: of the first five matches, how many have the colour (precision@5; an empty place has
none), beside the same without `refine` and beside the share of the catalogue that has it.

Who has a colour is judged by a rule that shares nothing with the way it is searched by: of the pixels in the middle
half of the photograph (half its width, half its height), the part whose hue, saturation and value (HSV) lie in the
colour's range is at least 35 %. Red: hue within 335 to 15 degrees, saturation at least 0.45, value at least 0.25. (The
ISCC-NBS system's own "vivid red" has a hue of 344.) "Red, narrow" counts hues from 345 on only, and is no target.

Exits with 1 when precision@5 of red is below 0.8.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from measure import REPOSITORY, machine, write_json
from PIL import Image, ImageOps

sys.path.insert(0, str(REPOSITORY / "tests"))
sys.path.insert(0, str(REPOSITORY / "server"))
sys.path.insert(0, str(REPOSITORY / "sdk"))

from support.backend import make_release

from handlens import Lens, Options

TOP = 5
LEAST = 0.35  # of the middle's pixels
# The word asked with; from and to hue in degrees, least saturation, least value.
RANGES = {
    "red": ("red", 335, 15, 0.45, 0.25),
    "red, narrow": ("red", 345, 15, 0.45, 0.25),
    "blue": ("blue", 195, 250, 0.30, 0.20),
    "green": ("green", 75, 170, 0.20, 0.20),
}


def has_colour(file, name):
    with Image.open(file) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    width, height = image.size
    middle = image.crop((width // 4, height // 4, width * 3 // 4, height * 3 // 4)).resize((64, 64))
    hue, saturation, value = np.moveaxis(np.asarray(middle.convert("HSV"), dtype=float) / 255, 2, 0)
    _, first, last, least_saturation, least_value = RANGES[name]
    degrees = hue * 360
    turned = (degrees >= first) | (degrees <= last) if first > last else (degrees >= first) & (degrees <= last)
    return float((turned & (saturation >= least_saturation) & (value >= least_value)).mean()) >= LEAST


def clothes(data, split):
    lines = (data / "retrieval" / "multi_domain.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [row for row in rows if row["split"] == split and "clothing" in row["source"]]


def write_feed(folder, data, rows):
    (folder / "images").mkdir(parents=True)
    items = []
    for number, row in enumerate(rows):
        name = f"images/{number}{Path(row['image']).suffix}"
        shutil.copy(data / row["image"], folder / name)
        word = row["coarse"].lower()
        item = {"item_id": str(number), "kind": "product", "object_type": "fashion", "title": row["coarse"]}
        items.append({**item, "image": name, "annotations": {word: 1.0}, "created_at": "2026-01-01T00:00:00Z"})
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items), "utf-8")
    return folder


def precision(lens, photo, wanted, refine):
    """Of the first matches of the main object, the part that is among the `wanted` items; an empty place is none."""
    found = lens.search(photo, refine=refine).objects[0]
    first = [match.item.item_id for section in found.sections for match in section.matches][:TOP]
    return sum(item_id in wanted for item_id in first) / TOP


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data", help="the evaluation data")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args()
    if not (options.data / "retrieval").is_dir():
        parser.error(f"{options.data} has no folder 'retrieval': give the evaluation data's folder with --data")
    gallery, queries = clothes(options.data, "gallery"), clothes(options.data, "val")
    colours = {}
    with tempfile.TemporaryDirectory() as scratch:
        release = make_release(write_feed(Path(scratch) / "feed", options.data, gallery), Path(scratch), "clothes-1")
        with Lens(Options(data_dir=Path(scratch) / "device", index="exact", consent="none")) as lens:
            lens.install(release)
            for name in RANGES:
                wanted = {str(at) for at, row in enumerate(gallery) if has_colour(options.data / row["image"], name)}
                asked = [precision(lens, options.data / row["image"], wanted, RANGES[name][0]) for row in queries]
                plain = [precision(lens, options.data / row["image"], wanted, None) for row in queries]
                colours[name] = {
                    "items_that_have_it": len(wanted),
                    "share_of_the_catalogue": round(len(wanted) / len(gallery), 4),
                    "precision@5": round(float(np.mean(asked)), 4),
                    "precision@5_without_refine": round(float(np.mean(plain)), 4),
                }
    report = {
        "machine": machine(),
        "items": len(gallery),
        "queries": len(queries),
        "rule": {"ranges": RANGES, "least_share": LEAST},
        "colours": colours,
        "targets": {"precision@5 of red >= 0.8": colours["red"]["precision@5"] >= 0.8},
    }
    print(json.dumps(colours, indent=1))
    write_json(options.out, report)
    return 0 if all(report["targets"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
