"""The commands of the catalogue: what they print, what they write, and how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.catalogue import an_item, some_items, write_feed
from support.paths import CATALOG, MODELS

from handlens_server.cli import main

ITEMS = some_items(photos=2, others=2)


class Console:
    """Runs commands of ``handlens-server catalog`` on a data folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *words: str | Path, code: int = 0) -> Result:
        data_dir = () if words[0] == "validate" else ("--data-dir", str(self.folder / "server"))
        result = CliRunner().invoke(main, ["catalog", *map(str, words), *data_dir])
        assert result.exit_code == code, result.output
        return result

    def json(self, *words: str | Path) -> Any:
        return json.loads(self.run(*words, "--json").stdout)

    def imported(self, items: list[dict[str, Any]], *words: str, code: int = 0) -> Result:
        feed = write_feed(self.folder / "shop", items)
        return self.run("import", feed, "--models", MODELS, *words, code=code)


@pytest.fixture
def console(tmp_path: Path) -> Console:
    return Console(tmp_path)


def test_import_makes_the_database_and_says_what_it_did(console: Console) -> None:
    printed = console.imported(ITEMS).stdout
    assert "feed shop: 4 added, 0 changed, 0 unchanged, 0 withdrawn, 0 restored, 0 refused" in printed
    assert "2 pictures copied, 2 embedded" in printed


def test_import_reports_as_json(console: Console) -> None:
    report = json.loads(console.imported(ITEMS, "--json").stdout)
    assert (report["feed"], report["added"], report["refused"]) == ("shop", 4, [])


def test_a_refused_feed_shows_its_rows_writes_the_report_and_ends_with_1(console: Console, tmp_path: Path) -> None:
    bad = [*ITEMS, an_item(kind="advert"), an_item(item_id="é\ud800")]
    result = console.imported(bad, "--report", str(tmp_path / "refused.json"), code=1)
    assert "unknown-kind" in result.stdout
    assert "Error: feed shop: 2 rows are refused, so nothing was imported" in result.stderr
    refused = json.loads((tmp_path / "refused.json").read_text())["refused"]
    assert [(one["line"], one["item_id"], one["code"]) for one in refused] == [
        (5, "lamp-1", "unknown-kind"),
        (6, "", "bad-id"),
    ]
    assert console.json("list") == []
    console.imported(bad, "--skip-refused")
    assert len(console.json("list")) == 4


def test_a_refused_feed_is_reported_as_json_too(console: Console) -> None:
    result = console.imported([an_item(kind="advert"), an_item(item_id="\ud800")], "--json", code=1)
    assert [one["code"] for one in json.loads(result.stdout)["refused"]] == ["unknown-kind", "bad-id"]


def test_many_refused_rows_are_shown_in_part(console: Console, tmp_path: Path) -> None:
    feed = write_feed(tmp_path / "bad", [an_item(item_id=f"x{at}", kind="advert") for at in range(50)])
    printed = console.run("validate", feed, code=1).stdout
    assert "... and 30 more" in printed


def test_validate_finds_the_demo_good_and_writes_nothing(console: Console) -> None:
    assert "757 rows are good" in console.run("validate", CATALOG).stdout
    assert list(console.folder.iterdir()) == []


def test_validate_takes_a_csv_with_its_mapping(console: Console, tmp_path: Path) -> None:
    (tmp_path / "acme.csv").write_text("sku,name\n1,Lamp\n2,\n")
    (tmp_path / "acme.toml").write_text(
        '[fields]\nitem_id.column = "sku"\nkind.constant = "product"\nobject_type.constant = "home"\n'
        'title.column = "name"\n'
    )
    result = console.run("validate", tmp_path / "acme.csv", "--mapping", tmp_path / "acme.toml", code=1)
    assert "1 rows are good (1 product)" in result.stdout
    assert "bad-field" in result.stdout


def test_list_show_withdraw_and_restore(console: Console) -> None:
    console.imported(ITEMS)
    item_id = ITEMS[0]["item_id"]
    assert {one["item"]["item_id"] for one in console.json("list", "--kind", "photo")} == {
        item["item_id"] for item in ITEMS if item["kind"] == "photo"
    }
    assert len(console.json("list", "--limit", "1")) == 1
    assert console.json("list", "--feed", "nobody") == []
    assert console.json("withdraw", item_id) == {"withdrawn": 1}
    assert [one["item"]["item_id"] for one in console.json("list", "--withdrawn")] == [item_id]
    assert console.json("show", item_id)["is_withdrawn"] is True
    assert item_id in console.run("list", "--withdrawn").stdout
    assert "still" not in console.imported(ITEMS).stderr
    assert "1 items of the feed were withdrawn before and stay so" in console.imported(ITEMS).stdout
    assert console.run("restore", item_id).stdout == "1 items restored\n"
    assert f"item_id       {item_id}\n" in console.run("show", item_id).stdout


def test_embed_has_nothing_to_do_after_an_import(console: Console) -> None:
    console.imported(ITEMS)
    assert console.json("embed", "--models", MODELS)["embedded"] == 0


def test_export_writes_a_feed(console: Console, tmp_path: Path) -> None:
    console.imported(ITEMS)
    assert console.json("export", "shop", tmp_path / "copy")["items"] == 4
    assert "4 rows are good" in console.run("validate", tmp_path / "copy").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("withdraw", "nobody"), "the catalogue has no item 'nobody'"),
        (("show", "nobody"), "the catalogue has no item 'nobody'"),
        (("import", "nowhere"), "there is no feed nowhere"),
        (("import", CATALOG, "--models", "nowhere"), "nowhere"),
        (("import", CATALOG, "--mapping", "nowhere.toml"), "mapping nowhere.toml cannot be read"),
        (("export", "nobody", "copy"), "has no items"),
    ],
)
def test_a_mistake_gets_one_line_that_says_what_to_do(
    console: Console, words: tuple[str | Path, ...], said: str
) -> None:
    console.imported([an_item()])
    result = console.run(*words, code=1)
    assert result.stderr.startswith("Error: ")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_database_that_is_not_there_says_what_to_run(console: Console) -> None:
    assert "handlens-server db upgrade" in console.run("list", code=1).stderr
