"""Draws the answers that `docs/blending.md` shows: a grapefruit, a shoe, a monument, a chair, a dog.

    python benchmarks/pictures.py --images docs/images --data ../shared/data

All photographs are the demo's query photographs (`demo/queries/CREDITS.md`). The demo has no photograph of a grapefruit
in its catalogue. For its picture one is added: the slice on the left of `citrus-slices.jpg`, and the slice on the right
is asked for, by the user's own box. Nor has the demo a photograph of a shoe: that answer is drawn when the evaluation
data is given, beside an empty sheet, because those photographs are for measuring only.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from measure import REPOSITORY
from PIL import Image, ImageDraw

sys.path.insert(0, str(REPOSITORY / "tests"))
sys.path.insert(0, str(REPOSITORY / "server"))
sys.path.insert(0, str(REPOSITORY / "sdk"))

from support.backend import make_release

from handlens import Box, Lens, Options
from handlens.cli import describe
from handlens.render import render, save_picture
from handlens.results import SearchResult

QUERIES = REPOSITORY / "demo" / "queries" / "images"
SLICE_ASKED = Box(0.63, 0.26, 0.94, 0.76)
SLICE_HELD = (0.14, 0.29, 0.47, 0.77)  # left, top, right, bottom, as fractions
BACKREST = Box(0.1, 0.05, 0.9, 0.6)  # all of this chair is a table to the classifier
PICTURES = {
    "grapefruit": ("citrus-slices.jpg", SLICE_ASKED),
    "monument": ("eiffel-tower.jpg", None),
    "chair": ("chair.jpg", BACKREST),
    "dog": ("dogs.jpg", None),
}


def write_feed(folder: Path) -> Path:
    """The demo's catalogue and the photograph of one slice of grapefruit."""
    shutil.copytree(REPOSITORY / "demo" / "catalog", folder)
    with Image.open(QUERIES / "citrus-slices.jpg") as photo:
        edges = [round(part * side) for part, side in zip(SLICE_HELD, 2 * photo.size, strict=True)]
        photo.crop(tuple(edges)).save(folder / "images" / "grapefruit-1.jpg", quality=84)
    item = {
        "item_id": "photo-grapefruit-1", "kind": "photo", "object_type": "food", "title": "Slice of red grapefruit",
        "image": "images/grapefruit-1.jpg", "annotations": {"grapefruit": 1.0, "citrus": 0.9, "fruit": 0.8},
        "locale": "en", "created_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    with (folder / "items.jsonl").open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(item) + "\n")
    return folder


def shoe(data: Path) -> Path:
    """The second of the three `val` photographs of shoes; `orders.py` has the figures of all three."""
    rows = (json.loads(line) for line in (data / "retrieval" / "multi_domain.jsonl").read_text("utf-8").splitlines())
    shown = [row["image"] for row in rows if (row["split"], row["coarse"]) == ("val", "Shoes")]
    return data / shown[1]


def sheet(photo: Path, folder: Path) -> Path:
    """An empty sheet as large as a photograph."""
    with Image.open(photo) as shown:
        empty = Image.new("RGB", shown.size, (226, 226, 222))
    words = "photograph of a shoe\n(evaluation data,\nnot shown)"
    ImageDraw.Draw(empty).multiline_text(
        (empty.width / 2, empty.height / 2), words, (90, 90, 90), anchor="mm", align="center", font_size=18
    )
    empty.save(folder / "sheet.png")
    return folder / "sheet.png"


def draw(images: Path, name: str, photo: Path, result: SearchResult, lens: Lens) -> None:
    save_picture(render(photo, result, lens.thumbnail), images / f"answer-{name}.jpg")
    print(name, "\n".join(describe(result)), sep="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="the folder that the pictures are written to")
    parser.add_argument("--data", type=Path, help="the evaluation data, for the shoe")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        release = make_release(write_feed(Path(scratch) / "feed"), Path(scratch), "pictures-1")
        with Lens(Options(data_dir=Path(scratch) / "device", index="exact", consent="none")) as lens:
            lens.install(release)
            for name, (photo, box) in PICTURES.items():
                result = lens.search(QUERIES / photo, box=box)
                draw(options.images, name, QUERIES / photo, result, lens)
            if options.data is not None:
                result = lens.search(shoe(options.data))
                draw(options.images, "shoe", sheet(shoe(options.data), Path(scratch)), result, lens)


if __name__ == "__main__":
    main()
