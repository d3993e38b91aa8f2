"""The server's index follows the catalogue: what changed is found, what was withdrawn is not."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.catalogue import models, run_import, some_items, store_items, write_feed
from support.paths import MODELS

from handlens.index import ExactIndex, available
from handlens.wire.pack import decode_codes
from handlens_server.catalogue import restore_items, withdraw_items
from handlens_server.config import Config
from handlens_server.database import Database
from handlens_server.embedding import PictureEmbedder
from handlens_server.embedding_rows import embed_all
from handlens_server.full_index import FullIndex

ITEMS = some_items(photos=4, others=2)
KINDS = [
    "exact",
    pytest.param("hnsw", marks=pytest.mark.skipif(available() is None, reason="hnswlib is not installed")),
]


@pytest.fixture
def database(config: Config, database: Database, tmp_path: Path) -> Database:
    store_items(config, ITEMS, tmp_path / "feed")
    return database


@pytest.fixture(params=KINDS)
def index(request: pytest.FixtureRequest, database: Database) -> FullIndex:
    chosen = ExactIndex(space=models().space, dim=models().dim) if request.param == "exact" else None
    made = FullIndex(space=models().space, dim=models().dim, index=chosen)
    refreshed(made, database)
    return made


def refreshed(index: FullIndex, database: Database) -> int:
    with database.read() as session:
        return index.refresh(session)


def query(folder: Path, item: dict[str, Any]) -> NDArray[np.float32]:
    """The vector of the whole picture of an item."""
    code = models().embed((folder / item["image"]).read_bytes()).parts[0].code
    return decode_codes(np.frombuffer(code, np.int8)[None])[0]


def found(index: FullIndex, vector: NDArray[np.float32], k: int = 50) -> list[str]:
    return [item_id for item_id, _, _ in index.search(vector, k)]


def test_each_picture_finds_its_own_item_first(index: FullIndex, tmp_path: Path) -> None:
    for item in (item for item in ITEMS if item["image"]):
        item_id, box, distance = index.search(query(tmp_path / "feed", item), 1)[0]
        assert (item_id, box.to_list()) == (item["item_id"], [0, 0, 1, 1])
        assert distance < 1e-3


def test_every_part_of_every_picture_is_held(index: FullIndex, tmp_path: Path) -> None:
    parts = sum(
        len(models().embed((tmp_path / "feed" / item["image"]).read_bytes()).parts) for item in ITEMS if item["image"]
    )
    assert len(index) == len(found(index, np.ones(models().dim, np.float32), 1000)) == parts


def test_a_refresh_reads_only_what_changed(index: FullIndex, database: Database, tmp_path: Path) -> None:
    assert index.sequence == 6
    assert refreshed(index, database) == 0
    with database.session() as session:
        withdraw_items(session, [ITEMS[0]["item_id"]])
    assert refreshed(index, database) == 1
    assert index.sequence == 7


def test_a_withdrawn_item_is_gone_and_comes_back_when_it_is_restored(
    index: FullIndex, database: Database, tmp_path: Path
) -> None:
    item_id, vector = ITEMS[0]["item_id"], query(tmp_path / "feed", ITEMS[0])
    with database.session() as session:
        withdraw_items(session, [item_id])
    assert item_id in found(index, vector)
    refreshed(index, database)
    assert item_id not in found(index, vector)
    with database.session() as session:
        restore_items(session, [item_id])
    refreshed(index, database)
    assert found(index, vector)[0] == item_id


def test_a_changed_picture_takes_the_place_of_the_former(
    index: FullIndex, database: Database, config: Config, tmp_path: Path
) -> None:
    former, vectors = query(tmp_path / "feed", ITEMS[0]), len(index)
    changed = [{**ITEMS[0], "image": ITEMS[1]["image"]}, *ITEMS[1:]]
    run_import(config, database, write_feed(tmp_path / "feed", changed))
    for _ in range(3):
        refreshed(index, database)
    assert min(distance for item_id, _, distance in index.search(former, 99) if item_id == ITEMS[0]["item_id"]) > 0.05
    new = query(tmp_path / "feed", changed[0])
    assert set(found(index, new, 2)) == {ITEMS[0]["item_id"], ITEMS[1]["item_id"]}
    assert len(index) == len(found(index, new, 1000)) != 0
    assert abs(len(index) - vectors) <= 3


def test_items_that_are_embedded_later_are_found_after_the_next_refresh(database: Database, config: Config) -> None:
    other = PictureEmbedder.open(MODELS)
    other.space = "another-space"
    index = FullIndex(space=other.space, dim=other.dim)
    refreshed(index, database)
    assert len(index) == 0
    embed_all(config, database, other)
    assert refreshed(index, database) == 4
    assert len(index) > 0


def test_searches_during_refreshes_see_each_item_that_stays(
    index: FullIndex, database: Database, tmp_path: Path
) -> None:
    vector, item_id = query(tmp_path / "feed", ITEMS[0]), ITEMS[0]["item_id"]
    seen: list[bool] = []
    stop = threading.Event()

    def search() -> None:
        while not stop.is_set():
            seen.append(found(index, vector, 200)[:1] == [item_id])
            time.sleep(0.001)

    thread = threading.Thread(target=search)
    thread.start()
    try:
        for _ in range(5):
            for change in (withdraw_items, restore_items):
                with database.session() as session:
                    change(session, [ITEMS[1]["item_id"], ITEMS[2]["item_id"]])
                refreshed(index, database)
    finally:
        stop.set()
        thread.join()
    assert seen
    assert all(seen)
