"""Feeds and models for the tests of the catalogue: few pictures of the demo, and the shipped models opened once."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from handlens_server.catalogue import ItemFilter, list_items
from handlens_server.config import Config
from handlens_server.database import Database, open_database
from handlens_server.embedding import PictureEmbedder
from handlens_server.feeds import open_feed
from handlens_server.importing import ImportOptions, ImportReport, import_feed
from handlens_server.item_rules import read_item
from support.paths import CATALOG, MODELS


@functools.cache
def models() -> PictureEmbedder:
    """The shipped models."""
    return PictureEmbedder.open(MODELS)


@functools.cache
def demo_items() -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(line) for line in (CATALOG / "items.jsonl").read_text("utf-8").splitlines())


def some_items(photos: int, others: int) -> list[dict[str, Any]]:
    """Items of the demo: so many with a photograph, so many without."""
    with_photo = [dict(item) for item in demo_items() if item["image"]]
    without = [dict(item) for item in demo_items() if not item["image"]]
    return with_photo[:: len(with_photo) // max(photos, 1)][:photos] + without[:others]


def an_item(**fields: Any) -> dict[str, Any]:
    """An item without a picture; a field that is given as None is left out."""
    values = {"item_id": "lamp-1", "kind": "product", "object_type": "home", "title": "Lamp", **fields}
    return {name: value for name, value in values.items() if value is not None}


def write_feed(folder: Path, items: list[dict[str, Any]]) -> Path:
    """A feed folder with these items and the demo's pictures that they name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in {item["image"] for item in items if item.get("image")}:
        if (CATALOG / name).is_file():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(CATALOG / name, folder / name)
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items), "utf-8")
    return folder


def store_items(config: Config, items: list[dict[str, Any]], folder: Path, *, feed: str = "feed") -> ImportReport:
    """Import items as a feed of the folder `folder`."""
    with opened(config) as database:
        return run_import(config, database, write_feed(folder, items), feed=feed)


def run_import(
    config: Config, database: Database, folder: Path, *, feed: str = "feed", **options: bool
) -> ImportReport:
    found = open_feed(folder, name=feed)
    return import_feed(config, database, found, models(), options=ImportOptions(**options))


@contextmanager
def opened(config: Config) -> Iterator[Database]:
    database = open_database(config, create=True)
    try:
        yield database
    finally:
        database.close()


def catalogue(database: Database, *, withdrawn: bool = False) -> dict[str, int]:
    """The items of the catalogue with their sequence numbers."""
    with database.read() as session:
        found = list(list_items(session, ItemFilter(is_withdrawn=withdrawn)))
    return {one.item.item_id: one.sequence for one in found}


def records(database: Database) -> dict[str, dict[str, Any]]:
    """The records of the items that are not withdrawn."""
    with database.read() as session:
        return {one.item.item_id: one.item.to_dict() for one in list_items(session, ItemFilter())}


def as_stored(items: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What `records` gives for these items of a feed."""
    return {item["item_id"]: read_item(item).to_dict() for item in items}
