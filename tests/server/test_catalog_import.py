"""An import takes all of a feed or nothing, leaves alone what is unchanged, and goes on where it was stopped."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Engine, event, func, select
from support.catalogue import (
    an_item,
    as_stored,
    catalogue,
    models,
    opened,
    records,
    run_import,
    some_items,
    store_items,
    write_feed,
)
from support.paths import MODELS

from handlens_server.catalogue import (
    CatalogueBusyError,
    CatalogueError,
    catalogue_lock,
    find_item,
    restore_items,
    withdraw_items,
)
from handlens_server.checking import FeedRefusedError
from handlens_server.config import Config
from handlens_server.database import Database, DatabaseError
from handlens_server.embedding import EmbeddingRules, PictureEmbedder
from handlens_server.embedding_rows import embed_all
from handlens_server.exporting import ExportError, export_feed
from handlens_server.feeds import FeedError
from handlens_server.pictures import PictureError, PictureStore
from handlens_server.tables import EmbeddingRow

ITEMS = some_items(photos=3, others=3)


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    return write_feed(tmp_path / "feed", ITEMS)


def embeddings(database: Database) -> int:
    with database.read() as session:
        return session.scalars(select(func.count()).select_from(EmbeddingRow)).one()


def kept_files(config: Config) -> list[Path]:
    return [path for path in config.pictures_path.rglob("*") if path.is_file()]


def test_an_imported_feed_is_in_the_catalogue_with_its_pictures_and_embeddings(
    config: Config, database: Database, feed: Path
) -> None:
    report = run_import(config, database, feed)
    assert (report.added, report.pictures_copied, report.pictures_embedded) == (6, 3, 3)
    assert records(database) == as_stored(ITEMS)
    assert sorted(catalogue(database).values()) == [1, 2, 3, 4, 5, 6]
    for path in kept_files(config):
        assert PictureStore(config.pictures_path).read(path.name)
    with database.read() as session:
        assert find_item(session, ITEMS[0]["item_id"]).spaces == (models().space,)


def test_an_unchanged_feed_changes_nothing(config: Config, database: Database, feed: Path) -> None:
    run_import(config, database, feed)
    before = catalogue(database)
    report = run_import(config, database, feed)
    assert (report.added, report.changed, report.unchanged) == (0, 0, 6)
    assert (report.pictures_copied, report.pictures_embedded) == (0, 0)
    assert catalogue(database) == before


def test_only_changed_rows_take_new_numbers(config: Config, database: Database, tmp_path: Path, feed: Path) -> None:
    run_import(config, database, feed)
    before = catalogue(database)
    changed = [{**ITEMS[0], "title": "Another title"}, *ITEMS[1:], an_item()]
    report = run_import(config, database, write_feed(tmp_path / "feed", changed))
    assert (report.added, report.changed, report.unchanged) == (1, 1, 5)
    after = catalogue(database)
    assert {item_id for item_id in after if after[item_id] != before.get(item_id)} == {"lamp-1", ITEMS[0]["item_id"]}
    assert sorted(after.values())[-2:] == [7, 8]


def test_a_new_picture_under_the_old_name_changes_its_item(config: Config, database: Database, feed: Path) -> None:
    run_import(config, database, feed)
    shutil.copy(feed / ITEMS[0]["image"], feed / ITEMS[1]["image"])
    report = run_import(config, database, feed)
    assert (report.changed, report.pictures_embedded) == (1, 0)


def test_a_refused_row_refuses_the_feed_and_changes_nothing(config: Config, database: Database, feed: Path) -> None:
    write_feed(feed, [*ITEMS, an_item(kind="advert"), an_item(item_id="x", link="javascript:alert(1)")])
    with pytest.raises(FeedRefusedError, match="2 rows are refused, so nothing was imported: line 7") as caught:
        run_import(config, database, feed)
    assert [one.code for one in caught.value.refused] == ["unknown-kind", "bad-link"]
    assert catalogue(database) == {}
    assert embeddings(database) == 0
    assert kept_files(config) == []


def test_with_skip_refused_the_good_rows_come_in_and_the_others_are_reported(
    config: Config, database: Database, feed: Path
) -> None:
    write_feed(feed, [an_item(kind="advert"), *ITEMS])
    report = run_import(config, database, feed, skip_refused=True)
    assert (report.added, [one.line for one in report.refused]) == (6, [1])


def test_a_feed_with_no_good_row_is_refused_even_with_skip_refused(
    config: Config, database: Database, tmp_path: Path
) -> None:
    with pytest.raises(FeedRefusedError):
        run_import(config, database, write_feed(tmp_path / "bad", [an_item(kind="advert")]), skip_refused=True)


def test_an_item_of_another_feed_is_not_taken_over(config: Config, database: Database, tmp_path: Path) -> None:
    store_items(config, [an_item()], tmp_path / "ours", feed="ours")
    theirs = write_feed(tmp_path / "theirs", [an_item(title="Mine now")])
    with pytest.raises(FeedRefusedError, match="is of the feed 'ours'"):
        run_import(config, database, theirs, feed="theirs")
    assert records(database)["lamp-1"]["title"] == "Lamp"


def test_missing_items_are_withdrawn_only_when_asked_and_only_of_that_feed(
    config: Config, database: Database, tmp_path: Path, feed: Path
) -> None:
    store_items(config, [an_item()], tmp_path / "other", feed="other")
    run_import(config, database, feed)
    write_feed(feed, ITEMS[:2])
    assert run_import(config, database, feed).withdrawn == 0
    before = catalogue(database)
    assert run_import(config, database, feed, withdraw_missing=True).withdrawn == 4
    assert set(catalogue(database)) == {"lamp-1", ITEMS[0]["item_id"], ITEMS[1]["item_id"]}
    gone = catalogue(database, withdrawn=True)
    assert min(gone.values()) > max(before.values())


def test_an_item_whose_row_is_refused_is_not_missing(config: Config, database: Database, tmp_path: Path) -> None:
    folder = write_feed(tmp_path / "lamps", [an_item(), an_item(item_id="lamp-2")])
    run_import(config, database, folder)
    write_feed(folder, [an_item(kind="advert"), an_item(item_id="lamp-2")])
    run_import(config, database, folder, skip_refused=True, withdraw_missing=True)
    assert set(catalogue(database)) == {"lamp-1", "lamp-2"}


def test_what_is_missing_is_not_guessed_when_an_id_cannot_be_read(
    config: Config, database: Database, tmp_path: Path
) -> None:
    folder = write_feed(tmp_path / "lamps", [an_item(), an_item(item_id="lamp-2")])
    run_import(config, database, folder)
    (folder / "items.jsonl").write_text('{"item_id": "lamp-1\n' + (folder / "items.jsonl").read_text().split("\n")[1])
    with pytest.raises(FeedError, match="leave out --withdraw-missing"):
        run_import(config, database, folder, skip_refused=True, withdraw_missing=True)
    assert set(catalogue(database)) == {"lamp-1", "lamp-2"}


def test_a_withdrawn_item_stays_withdrawn_though_its_feed_lists_it(
    config: Config, database: Database, tmp_path: Path
) -> None:
    folder = write_feed(tmp_path / "lamps", [an_item()])
    run_import(config, database, folder)
    with database.session() as session:
        assert withdraw_items(session, ["lamp-1"]) == 1
        assert withdraw_items(session, ["lamp-1"]) == 0
    write_feed(folder, [an_item(title="Lamp, better")])
    assert run_import(config, database, folder).still_withdrawn == ["lamp-1"]
    assert catalogue(database) == {}
    assert run_import(config, database, folder, restore=True).restored == 1
    assert records(database)["lamp-1"]["title"] == "Lamp, better"


def test_withdrawing_and_restoring_take_numbers_and_an_unknown_id_changes_nothing(
    config: Config, database: Database, tmp_path: Path
) -> None:
    run_import(config, database, write_feed(tmp_path / "lamps", [an_item(), an_item(item_id="lamp-2")]))
    with pytest.raises(CatalogueError, match="no item 'lamp-3'"), database.session() as session:
        withdraw_items(session, ["lamp-1", "lamp-3"])
    assert catalogue(database) == {"lamp-1": 1, "lamp-2": 2}
    with database.session() as session:
        withdraw_items(session, ["lamp-2", "lamp-1", "lamp-2"])
    assert catalogue(database, withdrawn=True) == {"lamp-1": 3, "lamp-2": 4}
    with database.session() as session:
        assert restore_items(session, ["lamp-2"]) == 1
    assert catalogue(database) == {"lamp-2": 5}


def test_a_new_space_is_embedded_by_one_command_and_its_items_take_numbers(
    config: Config, database: Database, feed: Path
) -> None:
    run_import(config, database, feed)
    before = catalogue(database)
    other = PictureEmbedder.open(MODELS)
    other.space = "another-space"  # as if its model.json said so
    assert embed_all(config, database, models()) == 0
    assert embed_all(config, database, other) == 3
    assert embed_all(config, database, other) == 0
    assert embeddings(database) == 6
    after = catalogue(database)
    assert {item_id for item_id in after if after[item_id] > max(before.values())} == {
        item["item_id"] for item in ITEMS if item["image"]
    }


def test_another_detector_embeds_the_pictures_again(config: Config, database: Database, feed: Path) -> None:
    run_import(config, database, feed)
    other = PictureEmbedder.open(MODELS)
    other.detector = "another detector"
    assert embed_all(config, database, other) == 3
    assert embeddings(database) == 3


def test_pictures_of_withdrawn_items_are_not_embedded(config: Config, database: Database, feed: Path) -> None:
    run_import(config, database, feed)
    with database.session() as session:
        withdraw_items(session, [ITEMS[0]["item_id"]])
    other = PictureEmbedder.open(MODELS)
    other.space = "another-space"
    assert embed_all(config, database, other) == 2


def test_embeddings_are_of_the_whole_picture_and_of_its_objects(feed: Path) -> None:
    made = models().embed((feed / ITEMS[0]["image"]).read_bytes())
    rules = EmbeddingRules()
    assert made.parts[0].box.to_list() == [0, 0, 1, 1]
    assert all(rules.min_object_area <= part.box.area <= rules.max_object_area for part in made.parts[1:])
    assert len(made.parts) <= 1 + rules.max_objects
    assert {len(part.code) for part in made.parts} == {models().dim}


def test_a_picture_that_was_lost_or_damaged_says_how_to_bring_it_back(
    config: Config, database: Database, feed: Path
) -> None:
    run_import(config, database, feed)
    other = PictureEmbedder.open(MODELS)
    other.space = "another-space"
    lost = kept_files(config)[0]
    lost.write_bytes(b"other bytes")
    with pytest.raises(PictureError, match="damaged"):
        embed_all(config, database, other)
    lost.unlink()
    with pytest.raises(PictureError, match="import its feed again"):
        embed_all(config, database, other)
    assert run_import(config, database, feed).pictures_copied == 1
    assert embed_all(config, database, other) >= 1


def test_two_imports_do_not_run_at_once(config: Config, database: Database, feed: Path) -> None:
    with catalogue_lock(config), pytest.raises(CatalogueBusyError, match="when it is done"):
        run_import(config, database, feed)
    assert run_import(config, database, feed).added == 6


def test_a_disk_that_is_full_for_a_picture_leaves_nothing_half_and_the_next_run_goes_on(
    config: Config, database: Database, tmp_path: Path
) -> None:
    items = [*ITEMS, an_item(image="images/noise.png")]
    feed = write_feed(tmp_path / "feed", items)
    Image.effect_noise((2500, 1500), 90).save(feed / "images" / "noise.png")
    with (
        file_size_limit(2_000_000),
        pytest.raises(PictureError, match=r"cannot be copied to .* \(File too large\): free some space"),
    ):
        run_import(config, database, feed)
    assert catalogue(database) == {}
    assert not [path for path in kept_files(config) if path.suffix]
    report = run_import(config, database, feed)
    assert (report.added, report.pictures_copied) == (7, 1)


def test_a_database_that_is_full_takes_nothing_half_and_the_next_run_goes_on(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path / "server")  # SQLite: PostgreSQL cannot be told how large it may grow
    items = [an_item(item_id=f"lamp-{at}", text="x" * 5000) for at in range(200)]
    feed = write_feed(tmp_path / "lamps", items)
    with opened(config) as database, page_limit(database), opened(config) as small:
        with pytest.raises(DatabaseError, match="full"):
            run_import(config, small, feed)
        assert catalogue(small) == {}
    with opened(config) as database:
        assert run_import(config, database, feed).added == 200


def test_an_exported_feed_is_the_same_feed(config: Config, database: Database, feed: Path, tmp_path: Path) -> None:
    run_import(config, database, feed)
    with database.read() as session:
        assert export_feed(session, PictureStore(config.pictures_path), "feed", tmp_path / "copy") == 6
    report = run_import(config, database, tmp_path / "copy")
    assert (report.unchanged, report.added, report.changed) == (6, 0, 0)


def test_an_export_keeps_both_of_two_pictures_with_one_name(config: Config, database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "lamps"
    for item_id, colour in (("lamp-1", "red"), ("lamp-2", "blue")):
        write_feed(folder, [an_item(item_id=item_id, image="lamp.png")])
        Image.new("RGB", (32, 32), colour).save(folder / "lamp.png")
        run_import(config, database, folder)
    with database.read() as session:
        export_feed(session, PictureStore(config.pictures_path), "feed", tmp_path / "copy")
    report = run_import(config, database, tmp_path / "copy")
    assert (report.unchanged, report.changed, report.pictures_copied) == (1, 1, 0)


def test_an_export_says_why_it_cannot_be(config: Config, database: Database, tmp_path: Path) -> None:
    store = PictureStore(config.pictures_path)
    with database.read() as session, pytest.raises(ExportError, match="has no items"):
        export_feed(session, store, "nobody", tmp_path / "copy")
    assert not list(tmp_path.glob(".copy*"))
    with database.read() as session, pytest.raises(ExportError, match="exists"):
        export_feed(session, store, "nobody", tmp_path)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """The kernel refuses files above `size` bytes, as it refuses any on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def page_limit(database: Database) -> Iterator[None]:
    """SQLite may not grow beyond what `database` has now, in any connection made from here on."""
    with database.read() as session:
        pages = session.connection().exec_driver_sql("PRAGMA page_count").scalar_one()

    def limit(connection: Any, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages + 20}")

    event.listen(Engine, "connect", limit)
    try:
        yield
    finally:
        event.remove(Engine, "connect", limit)
