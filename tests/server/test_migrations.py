"""The migrations lead to exactly the tables of the code, once, however many processes run them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from click.testing import CliRunner
from sqlalchemy import text
from support.paths import ROOT
from support.postgres import Postgres

from handlens_server.cli import main
from handlens_server.config import Config
from handlens_server.database import Database, DatabaseError, SchemaError, open_database, upgrade
from handlens_server.schema import head_revision
from handlens_server.tables import Base


def test_the_migrations_make_the_tables_of_the_code(database: Database) -> None:
    with database.read() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_an_upgrade_of_the_newest_changes_nothing(config: Config) -> None:
    assert upgrade(config) == upgrade(config) == head_revision()


def test_a_newer_schema_is_refused_and_left_alone(config: Config, database: Database) -> None:
    with database.session() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for attempt in (upgrade, open_database):
        with pytest.raises(SchemaError, match="9999.*upgrade handlens-server"):
            attempt(config)
    assert database.revision() == "9999"


def test_a_missing_schema_is_named_with_its_remedy(config: Config, database: Database) -> None:
    with database.session() as session:
        session.execute(text("DELETE FROM alembic_version"))
    with pytest.raises(SchemaError, match="handlens-server db upgrade"):
        open_database(config)


def test_a_missing_table_is_named_with_its_remedy(database: Database) -> None:
    with database.session() as session:
        session.execute(text("DROP TABLE packs"))
    with pytest.raises(SchemaError, match="handlens-server db upgrade"), database.read() as session:
        session.execute(text("SELECT * FROM packs"))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.heavy)])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The environment of a backend with no database yet."""
    found = {"PYTHONPATH": f"{ROOT}/sdk:{ROOT}/server", "HANDLENS_DATA_DIR": str(tmp_path / "data")}
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        found["HANDLENS_DATABASE_URL"] = postgres.url(postgres.create())
    return found


def test_processes_that_upgrade_at_once_all_succeed(environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", "from handlens_server.cli import main; main(['db', 'upgrade'])"]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [process.communicate(timeout=60)[0] for process in running]
    assert answers == [f"the database has schema {head_revision()}\n"] * 4
    database = open_database(Config.from_environment(environment))
    database.close()


def test_the_command_line_upgrades_and_tells(environment: dict[str, str]) -> None:
    runner = CliRunner()
    before = runner.invoke(main, ["db", "current"], env=environment)
    assert "has no schema" in before.output
    assert runner.invoke(main, ["db", "upgrade"], env=environment).exit_code == 0
    after = runner.invoke(main, ["db", "current", "--json"], env=environment)
    assert f'"schema": "{head_revision()}"' in after.output


def test_a_database_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "handlens.db").mkdir()
    done = CliRunner().invoke(main, ["db", "upgrade", "--data-dir", str(tmp_path)])
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
    assert done.output.count("\n") == 1
    with pytest.raises(DatabaseError):
        upgrade(Config(data_dir=tmp_path))
