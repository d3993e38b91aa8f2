"""Asking for a colour: `refine="red"` puts red things first, on photographs of clothes.

    python benchmarks/refine.py --data ../shared/data --out out/refine.json

Catalogue: the `gallery` photographs of the clothing data set as products, titled and tagged by their class, with no
word of colour; the backend imports them and computes their colours. Queries: its `val` photographs, each asked with
every colour below. Measured: of the first five matches, how many have the colour (precision@5; an empty place has
none), beside the same without `refine` and beside the share of the catalogue that has it.

Who has a colour is judged by a rule that shares nothing with the way it is searched by, fixed before anything was
measured by it: what people called colours in the survey of xkcd (Munroe, "Color Survey Results", 2010: 222,500 people,
954 names, public domain, as matplotlib carries them). Of its names those count that end in one of the eleven basic
terms (Berlin and Kay 1969: "brick red" is a red, "reddish brown" a brown, "maroon" no basic term and left out). A pixel
has the term of the nearest such colour in CIELAB; an item has a colour when at least 35 % of the pixels in the middle
half of its photograph (half the width, half the height) have it.

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
from PIL import Image, ImageCms, ImageOps

sys.path.insert(0, str(REPOSITORY / "tests"))
sys.path.insert(0, str(REPOSITORY / "server"))
sys.path.insert(0, str(REPOSITORY / "sdk"))

from support.backend import make_release

from handlens import Lens, Options

TOP = 5
LEAST = 0.35  # of the middle's pixels
LEAST_ITEMS = 5  # a colour that fewer items have cannot fill the first five
ASKED = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "grey", "black")


def survey():
    """The survey's colours whose names end in a basic term: the terms, and their CIELAB values (n, 3)."""
    from matplotlib.colors import XKCD_COLORS, to_rgb

    words = {name: name.removeprefix("xkcd:").split()[-1].replace("gray", "grey") for name in XKCD_COLORS}
    named = {name: word for name, word in words.items() if word in ASKED}
    rgb = np.array([[round(255 * part) for part in to_rgb(name)] for name in named], np.uint8)
    return np.array(list(named.values())), lab(Image.fromarray(rgb[None]))


def lab(image):
    """CIELAB (n, 3) of an image's pixels, by Pillow's colour management (LittleCMS)."""
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    turned = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    lightness, a, b = np.moveaxis(np.asarray(turned).reshape(-1, 3), 1, 0)  # a and b are signed bytes
    return np.stack([lightness / 255 * 100, a.view(np.int8), b.view(np.int8)], axis=1).astype(np.float32)


def colours_in(file, terms, values):
    """The colours that the photograph's middle has."""
    with Image.open(file) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    width, height = image.size
    middle = image.crop((width // 4, height // 4, width * 3 // 4, height * 3 // 4)).resize((48, 48))
    nearest = ((lab(middle)[:, None] - values[None]) ** 2).sum(axis=2).argmin(axis=1)
    found, counts = np.unique(terms[nearest], return_counts=True)
    return {str(name) for name, count in zip(found, counts, strict=True) if count >= LEAST * len(nearest)}


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
    colours, named = {}, survey()
    labels = [colours_in(options.data / row["image"], *named) for row in gallery]
    with tempfile.TemporaryDirectory() as scratch:
        release = make_release(write_feed(Path(scratch) / "feed", options.data, gallery), Path(scratch), "clothes-1")
        with Lens(Options(data_dir=Path(scratch) / "device", index="exact", consent="none")) as lens:
            lens.install(release)
            for name in ASKED:
                wanted = {str(at) for at, found in enumerate(labels) if name in found}
                if len(wanted) < LEAST_ITEMS:
                    continue
                asked = [precision(lens, options.data / row["image"], wanted, name) for row in queries]
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
        "rule": {"names": "xkcd colour survey, by matplotlib", "colours": len(named[0]), "least_share": LEAST},
        "colours": colours,
        "targets": {"precision@5 of red >= 0.8": colours["red"]["precision@5"] >= 0.8},
    }
    print(json.dumps(colours, indent=1))
    write_json(options.out, report)
    return 0 if all(report["targets"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
