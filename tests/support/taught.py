"""Small data sets to teach the detector with: the demo's windmills, boxes drawn by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from support.paths import CATALOG, ROOT

__all__ = ["DEMO", "TRAINED", "UNSEEN", "coco", "windmill_dataset", "write"]

DEMO = CATALOG.parent
DRAWN: dict[str, list[list[float]]] = json.loads((ROOT / "tests/data/windmill_boxes.json").read_bytes())["photos"]
TRAINED = tuple(photo for photo in DRAWN if photo.startswith("catalog/"))
UNSEEN = tuple(photo for photo in DRAWN if photo.startswith("queries/"))
_STRANGERS = tuple(f"catalog/images/{name}-1.jpg" for name in ("cow", "bus", "cat"))


def coco(photos: Iterable[str], *, label: str = "windmill", **category: str) -> dict[str, Any]:
    """COCO JSON of photos of the demo; one that nobody drew on has no boxes."""
    content: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 7, "name": label, **category}],
        "licenses": [{"id": 1, "name": "CC BY-SA 3.0"}],
    }
    for number, photo in enumerate(photos, start=1):
        with Image.open(DEMO / photo) as image:
            width, height = image.size
        content["images"].append({"id": number, "file_name": photo, "width": width, "height": height})
        for left, top, right, bottom in DRAWN.get(photo, []):
            bbox = [left * width, top * height, (right - left) * width, (bottom - top) * height]
            at = len(content["annotations"]) + 1
            content["annotations"].append({"id": at, "image_id": number, "category_id": 7, "bbox": bbox})
    return content


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")
    return path


def windmill_dataset(folder: Path, **category: str) -> Path:
    """A folder with train.json (windmills and a few strangers) and val.json."""
    write(folder / "train.json", coco((*TRAINED, *_STRANGERS), **category))
    write(folder / "val.json", coco(UNSEEN, **category))
    return folder
