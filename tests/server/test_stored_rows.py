"""What packs are built from: the rows of the catalogue, in one order, as canonical lines."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from sqlalchemy import delete
from support.catalogue import an_item, as_stored, models, some_items, store_items

from handlens.wire.item import Item
from handlens.wire.pack import PackUpsert, encode_row, parse_change
from handlens.wire.palette import COLOURS
from handlens_server.catalogue import CatalogueError, withdraw_items
from handlens_server.config import Config
from handlens_server.database import Database
from handlens_server.embedding_rows import decode_parts, with_colours
from handlens_server.item_rules import read_item
from handlens_server.stored_rows import load_rows, unembedded
from handlens_server.tables import EmbeddingRow

ITEMS = some_items(photos=3, others=3)


def everything(_: Item) -> bool:
    return True


def ids(database: Database, *, top: int | None = None, space: str = "none") -> list[str]:
    with database.read() as session:
        return [item_id for item_id, _ in load_rows(session, space, everything, top)]


def test_a_row_has_the_item_its_embeddings_and_its_thumbnail(
    config: Config, database: Database, tmp_path: Path
) -> None:
    store_items(config, ITEMS, tmp_path / "feed")
    with database.read() as session:
        lines = dict(load_rows(session, models().space, everything, None))
    for item_id, line in lines.items():
        change = parse_change(line, dim=models().dim)
        assert isinstance(change, PackUpsert)
        assert encode_row(change.row) == line
        assert change.digest == hashlib.sha256(line).digest()
        shown = change.row.item.to_dict()
        if change.row.embeddings:
            colours = shown["attributes"].pop("colours")
            assert set(colours) <= set(COLOURS)
            assert 0.5 < sum(colours.values()) <= 1.02
        assert shown == as_stored(ITEMS)[item_id]
        assert bool(change.row.embeddings) == bool(change.row.thumbnail) == bool(change.row.item.image)
    shown = (tmp_path / "feed" / ITEMS[0]["image"]).read_bytes()
    first = parse_change(lines[ITEMS[0]["item_id"]], dim=models().dim)
    assert isinstance(first, PackUpsert)
    assert first.row.embeddings == models().embed(shown).parts


def test_rows_come_by_code_point_whatever_the_language_of_the_database(
    config: Config, database: Database, tmp_path: Path
) -> None:
    names = ["b", "B", "a-1", "a_1", "a1", "ä", "Z", "z", "_", "é", "日", "\U0001f511", "\uffee"]
    store_items(config, [an_item(item_id=name) for name in names], tmp_path / "feed")
    assert ids(database) == sorted(names)


def test_withdrawn_items_are_not_among_the_rows(config: Config, database: Database, tmp_path: Path) -> None:
    store_items(config, [an_item(), an_item(item_id="lamp-2")], tmp_path / "feed")
    with database.session() as session:
        withdraw_items(session, ["lamp-1"])
    assert ids(database) == ["lamp-2"]


def test_only_items_that_match_are_taken(config: Config, database: Database, tmp_path: Path) -> None:
    store_items(config, ITEMS, tmp_path / "feed")
    with database.read() as session:
        found = [item_id for item_id, _ in load_rows(session, models().space, lambda item: not item.image, None)]
    assert found == sorted(item["item_id"] for item in ITEMS if not item["image"])


def test_the_top_are_those_of_best_quality_and_of_equal_ones_the_first_by_id(
    config: Config, database: Database, tmp_path: Path
) -> None:
    items = [
        an_item(item_id=name, quality=quality) for name, quality in zip("edcba", (0.9, 0.5, 0.5, 0.5, 0.1), strict=True)
    ]
    store_items(config, items, tmp_path / "feed")
    assert ids(database, top=3) == ["b", "c", "e"]
    assert ids(database, top=99) == list("abcde")
    assert ids(database, top=0) == []


def test_an_item_without_an_embedding_is_counted_and_never_left_out_in_silence(
    config: Config, database: Database, tmp_path: Path
) -> None:
    store_items(config, ITEMS, tmp_path / "feed")
    with database.read() as session:
        assert unembedded(session, models().space) == 0
        assert unembedded(session, "another-space") == 3
    with pytest.raises(CatalogueError, match="handlens-server catalog embed"):
        ids(database, space="another-space")
    with database.session() as session:
        session.execute(delete(EmbeddingRow))
        withdraw_items(session, [item["item_id"] for item in ITEMS if item["image"]])
    with database.read() as session:
        assert unembedded(session, models().space) == 0
    assert len(ids(database, space=models().space)) == 3


def test_the_colours_that_a_feed_gives_stay(config: Config, database: Database, tmp_path: Path) -> None:
    item = {**ITEMS[0], "attributes": {"colours": {"red": 1.0}}}
    store_items(config, [item], tmp_path / "feed")
    with database.read() as session:
        lines = dict(load_rows(session, models().space, everything, None))
    change = parse_change(lines[item["item_id"]], dim=models().dim)
    assert isinstance(change, PackUpsert)
    assert change.row.item.attributes["colours"] == {"red": 1.0}


def test_rows_that_were_embedded_before_there_were_colours_are_read() -> None:
    boxes = [[0.0, 0.0, 1.0, 1.0], [0.1, 0.1, 0.5, 0.5]]
    assert len(decode_parts(json.dumps(boxes), bytes(256))) == 2
    item = read_item(an_item())
    assert with_colours(item, json.dumps(boxes)) is item
