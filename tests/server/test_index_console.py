"""``handlens-server index`` on a catalogue of a few real pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import update
from support.catalogue import some_items, store_items
from support.paths import MODELS

from handlens_server.cli import main
from handlens_server.config import Config
from handlens_server.database import open_database
from handlens_server.tables import ItemRow

pytestmark = pytest.mark.parametrize("config", ["sqlite"], indirect=True)


def run(config: Config, *words: str, code: int = 0) -> Result:
    command = ["index", *words, "--models", str(MODELS), "--data-dir", str(config.data_dir)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == code, result.output
    return result


def test_an_index_is_built_shown_and_checked(config: Config, tmp_path: Path) -> None:
    store_items(config, some_items(photos=2, others=1), tmp_path / "feed")
    before = json.loads(run(config, "status", "--json").stdout)
    assert (before["parts"], before["sequence"], before["catalogue_sequence"], before["catalogue_items"]) == (
        0,
        0,
        3,
        2,
    )
    built = json.loads(run(config, "build", "--json").stdout)
    assert (built["kind"], built["sequence"]) == ("exact", 3)
    assert built["parts"] >= 2
    assert f"{built['parts']} parts" in run(config, "status").stdout
    assert "good: the index has the 2 items" in run(config, "check").stdout
    assert json.loads(run(config, "check", "--json").stdout)["is_good"]


def test_an_index_that_differs_ends_the_check_with_an_error_that_names_items(config: Config, tmp_path: Path) -> None:
    items = some_items(photos=2, others=0)
    store_items(config, items, tmp_path / "feed")
    run(config, "build")
    with open_database(config) as database, database.session() as session:  # a change that took no number
        session.execute(update(ItemRow).where(ItemRow.item_id == items[0]["item_id"]).values(sequence=1))
        session.execute(update(ItemRow).where(ItemRow.item_id == items[1]["item_id"]).values(sequence=1))
    told = run(config, "check", code=1).output
    assert "differs from the catalogue (former state:" in told
    assert "handlens-server index build" in told
    run(config, "build")
    run(config, "check")


def test_without_a_database_or_models_the_remedy_is_told(config: Config, tmp_path: Path) -> None:
    config.database_path.unlink()
    assert "handlens-server db upgrade" in run(config, "status", code=1).output
    result = CliRunner().invoke(
        main, ["index", "status", "--models", str(tmp_path), "--data-dir", str(config.data_dir)]
    )
    assert result.exit_code == 1
    assert "model.json" in result.output


def test_an_address_that_cannot_be_is_named(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDLENS_INDEX", "redis://host")
    assert "HANDLENS_INDEX cannot be used" in run(config, "status", code=1).output
    monkeypatch.setenv("HANDLENS_INDEX", "milvus://127.0.0.1:1")
    assert "Milvus at http://127.0.0.1:1 does not answer" in run(config, "status", code=1).output
