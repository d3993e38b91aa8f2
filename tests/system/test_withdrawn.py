"""What was withdrawn is gone with the next release: from every device that syncs, and from the server's own index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support.backend import Backend
from support.catalogue import models, some_items, write_feed
from support.paths import CATALOG

from handlens import Lens, Options
from handlens.wire.pack import decode_codes
from handlens_server.cli import main
from handlens_server.local_index import LocalIndex
from handlens_server.packs import Rule

ITEMS = some_items(6, 20)
SHOWN = next(item for item in ITEMS if item["image"])  # its own picture is searched for: it is the first match
PHOTO = CATALOG / str(SHOWN["image"])


class World:
    """A backend whose catalogue is changed by the command line, on a network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.backend = Backend(folder)
        self.backend.define("demo")
        self.backend.add(write_feed(folder / "feed", ITEMS))
        self.backend.publish(name="one")
        self.url = ""

    def command(self, *words: str) -> str:
        keys = ["--keys", str(self.folder / "keys")] if words[0] == "release" else []
        done = CliRunner().invoke(main, [*words, "--data-dir", str(self.backend.config.data_dir), *keys])
        assert done.exit_code == 0, done.output
        return done.output

    def device(self, name: str, **settings: object) -> Lens:
        options = {"index": "hnsw", "neighbours": 100, "limit": 100, **settings}
        where = {"data_dir": self.folder / name, "server_url": self.url, "trusted_root": self.backend.root}
        return Lens(Options(**where, **options))  # type: ignore[arg-type]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    with made.backend.serve() as made.url:
        yield made


def found(lens: Lens) -> set[str]:
    """The ids of all matches for the picture, and for the words of the item."""
    results = [lens.search(PHOTO), lens.search(PHOTO, refine=str(SHOWN["title"]))]
    sections = [section for result in results for one in result.objects for section in one.sections]
    return {match.item.item_id for section in sections for match in section.matches}


def test_a_withdrawn_item_is_gone_from_every_device_that_syncs(world: World) -> None:
    with world.device("hnsw") as one, world.device("exact", index="exact") as other, world.device("late") as late:
        for lens in (one, other, late):
            lens.sync()
            assert SHOWN["item_id"] in found(lens)
        world.command("catalog", "withdraw", SHOWN["item_id"])
        assert SHOWN["item_id"] in found(one)  # not before there is a release without it
        world.command("release", "publish", "--name", "two")
        for lens in (one, other):
            lens.sync()
            assert SHOWN["item_id"] not in found(lens)
        world.command("release", "publish", "--name", "three")
        late.sync()
        assert SHOWN["item_id"] not in found(late)
    with world.device("new") as new:
        new.sync()
        assert SHOWN["item_id"] not in found(new)


def test_a_withdrawn_item_is_gone_from_the_servers_index(world: World) -> None:
    index = LocalIndex(space=models().space, dim=models().dim, folder=world.folder / "index")
    code = models().embed(PHOTO.read_bytes()).parts[0].code
    vector = decode_codes(np.frombuffer(code, np.int8)[None])[0]
    with world.backend.database() as database:
        with database.read() as session:
            index.refresh(session)
        assert index.search(vector, 1)[0][0] == SHOWN["item_id"]
        world.command("catalog", "withdraw", SHOWN["item_id"])
        with database.read() as session:
            index.refresh(session)
    assert SHOWN["item_id"] not in {item_id for item_id, _, _ in index.search(vector, 100)}
    index.close()


def test_an_item_that_its_feed_lists_no_more_is_gone(world: World) -> None:
    feed = write_feed(world.folder / "feed", [item for item in ITEMS if item is not SHOWN])
    with world.device("device") as lens:
        lens.sync()
        world.backend.add(feed, withdraw_missing=True)
        world.command("release", "publish")
        lens.sync()
        assert SHOWN["item_id"] not in found(lens)


def test_an_item_that_a_packs_rule_leaves_out_is_gone(world: World) -> None:
    kept = next(one for one in ("food", "animal", "tool", "place") if one != SHOWN["object_type"])
    with world.device("device") as lens:
        lens.sync()
        world.backend.define("demo", Rule(types=(kept,)))
        world.command("release", "publish")
        lens.sync()
        assert SHOWN["item_id"] not in found(lens)


def test_an_item_that_was_wrong_is_as_it_was_corrected(world: World) -> None:
    feed = write_feed(world.folder / "feed", [{**SHOWN, "title": "The right title"}, *ITEMS[1:]])
    with world.device("device") as lens:
        lens.sync()
        world.backend.add(feed)
        world.command("release", "publish")
        lens.sync()
        titles = {
            match.title
            for one in lens.search(PHOTO).objects
            for section in one.sections
            for match in section.matches
            if match.item.item_id == SHOWN["item_id"]
        }
    assert titles == {"The right title"}


def test_undoing_a_release_does_not_bring_back_what_was_withdrawn(world: World) -> None:
    with world.device("device") as lens:
        lens.sync()
        world.command("catalog", "withdraw", SHOWN["item_id"])
        world.command("release", "publish", "--name", "two")
        lens.sync()
        world.command("release", "rollback", "--to", "one", "--name", "back")
        assert lens.sync().release == "back"
        assert SHOWN["item_id"] not in found(lens)
        world.command("release", "rollback", "--to", "one", "--name", "whole", "--with-withdrawn")
        lens.sync()
        assert SHOWN["item_id"] in found(lens)


def test_a_device_that_steps_back_says_what_comes_back_and_loses_it_with_the_next_release(world: World) -> None:
    with world.device("device") as lens:
        lens.sync()
        world.command("catalog", "withdraw", SHOWN["item_id"])
        world.command("release", "publish", "--name", "two")
        lens.sync()
        back = lens.rollback()
        assert (back.name, back.left, back.returned) == ("one", "two", 1)
        assert SHOWN["item_id"] in found(lens)
        world.command("release", "publish", "--name", "three")
        assert lens.sync().release == "three"
        assert SHOWN["item_id"] not in found(lens)
