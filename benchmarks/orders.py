"""A shoe, a monument, a chair, a dog: each kind of thing has an order of sections of its own.

    python benchmarks/orders.py --data ../shared/data --out out/orders.json

Queries are the `val` photographs of multi_domain that show these things; no model was trained on them. The catalogue
is the demo's and the `gallery` photographs of the same things, tagged with their word. Told for each: how often the
type is right, and how often the first section is the type's own; the order of sections that came most often; the kind
of the first match, and the first word. (The demo has an article for the pyramid and none for pagodas: there the places
to visit lead.)

Exit code 1 when the first section is the type's own in less than 80 % of all photographs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from measure import REPOSITORY, machine, write_json

sys.path.insert(0, str(REPOSITORY / "tests"))
sys.path.insert(0, str(REPOSITORY / "server"))
sys.path.insert(0, str(REPOSITORY / "sdk"))

from support.backend import make_release

from handlens import Lens, Options

# The thing: the classes and their words that show it, its type, and the section that the policy gives the type first.
THINGS = {
    "shoe": ({"Shoes": "shoe"}, "fashion", "shop"),
    "monument": ({"minaret": "minaret", "pagoda": "pagoda", "pyramid": "pyramid"}, "place", "story"),
    "chair": ({"chair": "chair"}, "home", "ideas"),
    "dog": ({"dalmatian": "dog"}, "animal", "read"),
}
LEAST = 0.8


def photographs(data, classes, split):
    rows = [json.loads(line) for line in (data / "retrieval" / "multi_domain.jsonl").read_text("utf-8").splitlines()]
    return [(data / row["image"], classes[row["coarse"]]) for row in rows if row["split"] == split
            and row["coarse"] in classes]  # fmt: skip


def write_feed(folder, data):
    """The demo's catalogue with further photographs."""
    shutil.copytree(REPOSITORY / "demo" / "catalog", folder)
    with (folder / "items.jsonl").open("a", encoding="utf-8") as lines:
        for classes, object_type, _ in THINGS.values():
            for path, word in photographs(data, classes, "gallery"):
                shutil.copy(path, folder / "images" / path.name)
                item = {"item_id": path.stem, "kind": "photo", "object_type": object_type, "title": word.capitalize()}
                item |= {
                    "image": f"images/{path.name}",
                    "annotations": {word: 1.0},
                    "created_at": "2026-01-01T00:00:00Z",
                }
                lines.write(json.dumps(item) + "\n")
    return folder


def measured(lens, photos, object_type, section):
    found = [lens.search(photo).objects[0] for photo in photos]
    orders = Counter(tuple(one.title for one in answer.sections) for answer in found)
    return {
        "photos": len(found),
        "right_type": sum(answer.type == object_type for answer in found),
        "own_section_first": sum(answer.sections[0].name == section for answer in found),
        "most_frequent_order": list(orders.most_common(1)[0][0]),
        "first_kinds": dict(Counter(answer.sections[0].matches[0].kind for answer in found)),
        "first_words": dict(Counter(note.tag for answer in found for note in answer.annotations[:1]).most_common(4)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data", help="the evaluation data")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args()
    if not (options.data / "retrieval").is_dir():
        parser.error(f"{options.data} has no folder 'retrieval': give the evaluation data's folder with --data")
    report = {}
    with tempfile.TemporaryDirectory() as scratch:
        release = make_release(write_feed(Path(scratch) / "feed", options.data), Path(scratch), "orders-1")
        with Lens(Options(data_dir=Path(scratch) / "device", index="exact", consent="none")) as lens:
            lens.install(release)
            for thing, (classes, object_type, section) in THINGS.items():
                photos = [path for path, _ in photographs(options.data, classes, "val")]
                report[thing] = measured(lens, photos, object_type, section)
                print(thing, json.dumps(report[thing]))
    write_json(options.out, {"machine": machine(), "things": report})
    first, photos = (sum(row[name] for row in report.values()) for name in ("own_section_first", "photos"))
    print(f"the type's own section comes first in {first} of {photos}")
    sys.exit(0 if first >= LEAST * photos else 1)


if __name__ == "__main__":
    main()
