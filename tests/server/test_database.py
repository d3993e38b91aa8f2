"""Transactions: whole or nothing, one after another, and errors that say what to do."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from support.postgres import Postgres

from handlens_server.config import Config, ConfigError
from handlens_server.database import (
    Database,
    DatabaseBusyError,
    DatabaseError,
    DatabaseFullError,
    next_sequence,
    open_database,
)
from handlens_server.tables import PackRule, SequenceRow


def packs(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(PackRule.name).order_by(PackRule.name)))


def test_a_session_that_ends_is_committed(database: Database) -> None:
    with database.session() as session:
        session.add(PackRule(name="food", rule="{}"))
    assert packs(database) == ["food"]


def test_a_session_that_fails_leaves_nothing(database: Database) -> None:
    def fail() -> None:
        with database.session() as session:
            session.add(PackRule(name="food", rule="{}"))
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert packs(database) == []


def test_a_broken_constraint_comes_out_as_it_is(database: Database) -> None:
    with database.session() as session:
        session.add(PackRule(name="food", rule="{}"))
    with pytest.raises(IntegrityError), database.session() as session:
        session.add(PackRule(name="food", rule="{}"))


def test_a_read_cannot_write(database: Database) -> None:
    with pytest.raises(DBAPIError), database.read() as session:
        session.execute(insert(PackRule).values(name="food", rule="{}"))
    with database.session() as session:  # the same connection writes again
        session.add(PackRule(name="home", rule="{}"))
    assert packs(database) == ["home"]


def test_a_read_sees_one_state_to_its_end(database: Database) -> None:
    with database.read() as reading:
        assert reading.scalars(select(PackRule.name)).all() == []
        with database.session() as session:
            session.add(PackRule(name="food", rule="{}"))
        assert reading.scalars(select(PackRule.name)).all() == []
    assert packs(database) == ["food"]


def test_sequence_numbers_have_no_gap_and_no_double_under_concurrency(database: Database) -> None:
    def take(_: int) -> int:
        with database.session() as session:
            return next_sequence(session, "catalogue")

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(take, range(80)))
    assert sorted(taken) == list(range(1, 81))


def test_a_sequence_number_becomes_visible_before_the_next_is_given(database: Database) -> None:
    order: list[str] = []
    has_taken, may_end = threading.Event(), threading.Event()

    def first() -> None:
        with database.session() as session:
            next_sequence(session, "catalogue")
            has_taken.set()
            may_end.wait(10)
            order.append("first")

    def second() -> None:
        has_taken.wait(10)
        with database.session() as session:
            order.append(f"second got {next_sequence(session, 'catalogue')}")

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(first), pool.submit(second)]
        has_taken.wait(10)
        threading.Timer(0.3, may_end.set).start()
        for one in running:
            one.result(20)
    assert order == ["first", "second got 2"]


def test_a_number_of_a_failed_transaction_is_given_again(database: Database) -> None:
    def fail() -> None:
        with database.session() as session:
            assert next_sequence(session, "catalogue") == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with database.session() as session:
        assert next_sequence(session, "catalogue") == 1


def test_an_unknown_counter_is_a_programmer_mistake(database: Database) -> None:
    with pytest.raises(ValueError, match="no counter"), database.session() as session:
        next_sequence(session, "other")


def test_a_lock_that_is_held_too_long_says_so(config: Config) -> None:
    database = open_database(replace(config, lock_seconds=1))
    with database.session() as session:
        next_sequence(session, "catalogue")
        with pytest.raises(DatabaseBusyError, match="try again"), database.session() as other:
            next_sequence(other, "catalogue")
    database.close()


def test_the_password_of_the_database_is_never_shown() -> None:
    config = Config(database_url="postgresql://lens:secret@127.0.0.1:1/lens", enrolment_key="secret")
    with pytest.raises(DatabaseError, match="127.0.0.1") as caught:
        open_database(config)
    assert "secret" not in f"{caught.value} {config} {Database(config)}"


@pytest.mark.heavy
def test_a_server_that_was_away_is_used_again_when_it_is_back(
    postgres: Postgres, postgres_template: str, tmp_path: Path
) -> None:
    name = postgres.create(template=postgres_template)
    database = open_database(Config(data_dir=tmp_path, database_url=postgres.url(name)))
    postgres.stop()
    try:
        with pytest.raises(DatabaseError, match="start it"):
            packs(database)
    finally:
        postgres.start()
    assert packs(database) == []
    database.close()
    postgres.drop(name)


def test_a_disk_that_fills_up_leaves_nothing_and_says_so(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path)
    database = open_database(config, create=True)
    with database.read() as session:
        session.execute(text(f"PRAGMA max_page_count = {session.scalar(text('PRAGMA page_count'))}"))
    with pytest.raises(DatabaseFullError, match="free some space"), database.session() as session:
        session.add_all(PackRule(name=f"pack{number}", rule="x" * 4000) for number in range(20))
    assert packs(database) == []
    database.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path)
    config.database_path.write_bytes(b"not a database" * 100)
    with pytest.raises(DatabaseError, match="handlens.db cannot be used"):
        open_database(config)


def test_a_missing_database_is_not_made_by_looking(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path)
    with pytest.raises(DatabaseError, match="db upgrade"):
        open_database(config)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseError, match="--data-dir"):
        open_database(Config(data_dir=tmp_path / "file" / "data"), create=True)


@pytest.mark.parametrize("url", ["mysql://host/name", "nonsense", "oracle+other://x", "postgresql+nothing://h/n"])
def test_a_database_that_is_not_supported_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="HANDLENS_DATABASE_URL"):
        Database(Config(database_url=url))


def test_sqlite_survives_a_reader_and_a_writer_at_once(tmp_path: Path) -> None:
    database = open_database(Config(data_dir=tmp_path), create=True)
    outside = sqlite3.connect(tmp_path / "handlens.db")
    assert outside.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    outside.execute("BEGIN")
    assert outside.execute("SELECT count(*) FROM packs").fetchone() == (0,)
    with database.session() as session:
        session.add(PackRule(name="food", rule="{}"))
    assert outside.execute("SELECT count(*) FROM packs").fetchone() == (0,)
    outside.close()
    database.close()


def test_the_counters_begin_at_nothing(database: Database) -> None:
    with database.read() as session:
        found = {row.name: row.value for row in session.scalars(select(SequenceRow))}
    assert found == {"catalogue": 0}


@pytest.mark.parametrize(
    ("variable", "value", "remedy"),
    [
        ("HANDLENS_RETENTION_DAYS", "a year", "whole number"),
        ("HANDLENS_TOKEN_DAYS", "1000000", "give 1 to"),
        ("HANDLENS_EVENTS_PER_DAY", "0", "give 1 to"),
        ("HANDLENS_TRUSTED_PROXIES", "-1", "give 0 to"),
    ],
)
def test_a_setting_that_cannot_work_names_its_variable(variable: str, value: str, remedy: str) -> None:
    with pytest.raises(ConfigError, match=rf"{variable}.*{remedy}"):
        Config.from_environment({variable: value})


def test_the_command_line_goes_before_the_environment(tmp_path: Path) -> None:
    found = {"HANDLENS_DATA_DIR": "elsewhere", "HANDLENS_CHANNEL": "beta", "HANDLENS_DATABASE_URL": ""}
    config = Config.from_environment(found, data_dir=tmp_path, retention_days=None)
    assert config == Config(data_dir=tmp_path, channel="beta")
