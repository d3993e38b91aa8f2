"""The loop, once around: people draw boxes on their devices, and their detector learns what it could not name.

Nothing is replaced: four devices sync from a real server over HTTP, the boxes go through the outbox, the export, the
Spark job, the training and a signed release, and come back as a detector by the next sync.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.backend import Backend
from support.paths import CATALOG, MODELS, QUERIES, ROOT
from support.workshop import convert, require_workshop

from handlens import Box, Lens, Options
from handlens_server.cli import main as server

pytestmark = pytest.mark.heavy

DRAWN: dict[str, list[list[float]]] = json.loads((ROOT / "tests/data/windmill_boxes.json").read_bytes())["photos"]
STRANGERS = ("photo-cow-1", "photo-duck-1", "photo-parthenon-1", "photo-mug-1", "photo-rocket-1", "photo-bee-1")
DEVICES = 4
UNSEEN = QUERIES / "images" / "windmill.jpg"  # not in the catalogue: nobody drew on it


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """The demo's windmills and a few other items, with their pictures."""
    folder = tmp_path / "catalogue"
    (folder / "images").mkdir(parents=True)
    rows = [json.loads(line) for line in (CATALOG / "items.jsonl").read_text("utf-8").splitlines()]
    kept = [row for row in rows if f"catalog/{row['image']}" in DRAWN or row["item_id"] in STRANGERS]
    for row in kept:
        shutil.copy(CATALOG / row["image"], folder / row["image"])
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept), "utf-8")
    return folder


def test_what_people_draw_is_found_by_every_device_after_the_next_release(tmp_path: Path, catalogue: Path) -> None:
    python = require_workshop("torch", "pyspark")
    models = Path(shutil.copytree(MODELS, tmp_path / "models"))
    backend = Backend(tmp_path / "backend")
    backend.add(catalogue)
    backend.define("demo")
    publish(backend, models, "r1")
    with backend.serve() as url, devices(tmp_path, url, backend) as lenses:
        for lens in lenses:
            lens.sync()
        assert "windmill" not in labels(lenses[0])
        for number, lens in enumerate(lenses):
            draw_windmills(lens, catalogue, random.Random(number))
            assert lens.sync().events_waiting == 0

        events = export(backend, tmp_path / "events.jsonl")
        assert len(events.read_text("utf-8").splitlines()) >= DEVICES * len(list(windmills(catalogue)))
        dataset = make_dataset(python, events, catalogue, tmp_path)
        teach(python, dataset, catalogue, models, tmp_path)
        publish(backend, models, "r2")

        for lens in lenses:
            report = lens.sync()
            assert (report.release, report.changes) == ("r2", 0)  # a detector came, no row of the pack
            assert "windmill" in labels(lens)
        assert {found.type for found in lenses[0].search(UNSEEN).objects if found.region.label == "windmill"} == {
            "place"
        }


def publish(backend: Backend, models: Path, name: str) -> None:
    with backend.database() as database:
        backend.publisher.publish(database, models, name=name)


class devices:  # noqa: N801 - read as a function
    """Opened devices that consent to send boxes."""

    def __init__(self, folder: Path, url: str, backend: Backend) -> None:
        self._stack = ExitStack()
        self._options = [
            Options(data_dir=folder / f"device-{at}", server_url=url, trusted_root=backend.root, consent="events")
            for at in range(DEVICES)
        ]

    def __enter__(self) -> list[Lens]:
        return [self._stack.enter_context(Lens(options)) for options in self._options]

    def __exit__(self, *details: Any) -> None:
        self._stack.close()


def labels(lens: Lens) -> set[str]:
    return {found.region.label for found in lens.search(UNSEEN).objects}


def windmills(catalogue: Path) -> Iterator[tuple[str, Path, list[list[float]]]]:
    for line in (catalogue / "items.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        boxes = DRAWN.get(f"catalog/{row['image']}")
        if boxes:
            yield row["item_id"], catalogue / row["image"], boxes


def draw_windmills(lens: Lens, catalogue: Path, hand: random.Random) -> None:
    """Draw as people do: no edge where it belongs, now and then the whole photo or another word."""
    for item, photo, boxes in windmills(catalogue):
        result = lens.search(photo)
        for box in boxes:
            word = "house" if hand.random() < 0.1 else "windmill"
            lens.feedback(result, box=trembling(box, hand), label=word, pictured=item)
        if hand.random() < 0.1:
            lens.feedback(result, box=Box(0, 0, 1, 1), label="photo", pictured=item)


def trembling(box: list[float], hand: random.Random) -> Box:
    sides = (box[2] - box[0], box[3] - box[1]) * 2
    moved = [edge + hand.gauss(0, 0.02) * side for edge, side in zip(box, sides, strict=True)]
    clipped = Box.clipped(*moved)
    assert clipped is not None
    return clipped


def export(backend: Backend, out: Path) -> Path:
    done = CliRunner().invoke(
        server, ["events", "export", "--data-dir", str(backend.config.data_dir), "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    return out


def make_dataset(python: str, events: Path, catalogue: Path, folder: Path) -> Path:
    photos = ("--photos", catalogue / "items.jsonl", "--master", "local[1]", "--val", "0.2", "--sheets", "0", "--json")
    made = json.loads(convert(python, "boxes", events, *photos, "--out", folder / "datasets", at=folder))
    return Path(made["folder"])


def teach(python: str, dataset: Path, catalogue: Path, models: Path, folder: Path) -> None:
    background = folder / "background"
    background.mkdir()
    for stranger in STRANGERS:
        name = stranger.removeprefix("photo-") + ".jpg"
        shutil.copy(catalogue / "images" / name, background / name)
    given = ("--photos", catalogue, "--background", background, "--type", "windmill=place", "--models", models)
    spent = ("--epochs", "6", "--views", "8", "--cache", folder / "cache", "--quiet")
    convert(python, "train", "detector", dataset, *given, *spent, "--out", folder / "trained", at=folder)
    convert(python, "models", "publish", folder / "trained", "--models", models, at=folder)
