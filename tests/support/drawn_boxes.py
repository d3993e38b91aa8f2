"""A small export of events with everything that is wrong with real ones, beside real photos to draw on."""

from __future__ import annotations

import json
import random
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from handlens_conversion.boxes.drawn import DrawnBox, event_record
from support.paths import CATALOG

__all__ = ["Export", "drawn_on", "events_of", "lines_of", "make_photos"]

START = 1_700_000_000  # seconds UTC


@dataclass(frozen=True, slots=True)
class Export:
    """A folder: `events`, the list `photos` and the pictures beside it."""

    folder: Path

    @property
    def events(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def photos(self) -> Path:
        return self.folder / "photos.jsonl"


def make_photos(folder: Path, count: int) -> list[str]:
    """A list of photos of the demo, `photos.jsonl`, with copies; the ids."""
    (folder / "images").mkdir(parents=True)
    pictures = sorted((CATALOG / "images").glob("*.jpg"))[:count]
    rows = []
    for picture in pictures:
        shutil.copy(picture, folder / "images" / picture.name)
        with Image.open(picture) as image:
            width, height = image.size
        described = {"image": f"images/{picture.name}", "width": width, "height": height}
        rows.append({"item_id": picture.stem, "attributes": {"licence": "CC0-1.0", "author": "A <b>"}, **described})
    (folder / "photos.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return [row["item_id"] for row in rows]


def drawn_on(photos: Sequence[str], *, users: int = 8, seed: int = 0) -> list[DrawnBox]:
    """Of each photo two objects, each drawn by some of the users: mostly well, sometimes anywhere."""
    chance, drawn = random.Random(seed), []
    for photo in photos:
        for name, box in (("cup", (0.1, 0.15, 0.45, 0.6)), ("lamp", (0.55, 0.3, 0.9, 0.85))):
            for user in chance.sample(range(3 * users), users):
                edges = [min(max(chance.gauss(edge, 0.012), 0.0), 1.0) for edge in box]
                if chance.random() < 0.1:
                    left, right, top, bottom = (
                        *sorted(chance.random() for _ in "ab"),
                        *sorted(chance.random() for _ in "ab"),
                    )
                    edges = [left * 0.9, top * 0.9, right * 0.9 + 0.1, bottom * 0.9 + 0.1]
                event = str(uuid.UUID(int=chance.getrandbits(128), version=4))
                words = name if chance.random() < 0.9 else "thing"
                at = START + chance.randrange(10**6)
                drawn.append(DrawnBox(event, f"user-{user:03}", photo, tuple(edges), words, at))  # type: ignore[arg-type]
    return drawn


def events_of(drawn: Sequence[DrawnBox]) -> list[dict[str, object]]:
    """The events as the server exports them."""
    return [event_record(one) for one in drawn]


def lines_of(events: Sequence[dict[str, object]]) -> bytes:
    """The events as JSON lines."""
    return "".join(json.dumps(event) + "\n" for event in events).encode()
