"""What only an index on a server can meet: it is stopped, killed, wrongly named, shared, or dropped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text
from support.backend import served
from support.index_items import DIM, SPACE, clustered, named, put_items
from support.milvus import Milvus
from support.paths import ROOT

from handlens_server.access import public
from handlens_server.app import create_app
from handlens_server.checking import untracked
from handlens_server.config import Config, ConfigError
from handlens_server.database import Database
from handlens_server.full_index import IndexBusyError, IndexMismatchError, IndexUnavailableError
from handlens_server.index_choice import open_full_index
from handlens_server.index_locks import try_lock
from handlens_server.local_index import LocalIndex
from handlens_server.milvus_calls import MilvusAddress, MilvusTimes
from handlens_server.milvus_index import MilvusIndex

heavy = pytest.mark.heavy
on_sqlite = pytest.mark.parametrize("config", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("config", ["postgresql"], indirect=True)
Opened = Callable[..., MilvusIndex]
QUERY = clustered(1, seed=3)[0]


@pytest.fixture
def opened(milvus: Milvus, config: Config) -> Iterator[Opened]:
    milvus.clear(kept="test_space_1")
    made: list[MilvusIndex] = []

    def open_index(*, dim: int = DIM, space: str = SPACE) -> MilvusIndex:
        times = MilvusTimes(connect=2.0, search=2.0)
        address = MilvusAddress.parse(milvus.url)
        made.append(MilvusIndex(address, space=space, dim=dim, locks=config.index_path, times=times))
        return made[-1]

    yield open_index
    for index in made:
        index.close()


def refreshed(index: MilvusIndex, database: Database) -> int:
    with database.read() as session:
        return index.refresh(session)


def eventually(call: Callable[[], object], seconds: float = 60) -> object:
    """What `call` gives as soon as the index is there again."""
    until = time.monotonic() + seconds
    while True:
        try:
            return call()
        except IndexUnavailableError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


class Rebuilt:
    """A Milvus whose alias moved away from the collection that the first `gone` searches were under way to."""

    def __init__(self, gone: int) -> None:
        self.gone = gone
        self.searches = 0

    def search(self, *_: object, **__: object) -> list[list[dict[str, object]]]:
        from pymilvus.exceptions import MilvusException

        self.searches += 1
        if self.searches <= self.gone:
            raise MilvusException(65535, "can't find collection name default:handlens_space_1_4d6939ac")
        return [[{"id": "cup#0", "distance": 0.9, "entity": {"item_id": "cup", "box": "[0,0,1,1]"}}]]

    def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize(("gone", "searches"), [(0, 1), (1, 2)])
def test_a_search_under_way_to_a_collection_that_a_rebuild_replaced_is_made_once_more(
    gone: int, searches: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Rebuilt(gone)
    monkeypatch.setattr("pymilvus.MilvusClient", lambda **_: other)
    index = MilvusIndex(MilvusAddress.parse("milvus://localhost"), space=SPACE, dim=DIM, locks=tmp_path)
    assert [item_id for item_id, *_ in index.search(QUERY, 1)] == ["cup"]
    assert other.searches == searches


def test_where_the_collection_stays_away_the_search_fails_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pymilvus.MilvusClient", lambda **_: Rebuilt(10))
    index = MilvusIndex(MilvusAddress.parse("milvus://localhost"), space=SPACE, dim=DIM, locks=tmp_path)
    with pytest.raises(IndexUnavailableError, match="can't find collection"):
        index.search(QUERY, 1)


@heavy
@on_sqlite
def test_while_milvus_is_killed_searches_fail_by_name_and_go_on_by_themselves_when_it_is_back(
    milvus: Milvus, opened: Opened, database: Database
) -> None:
    put_items(database, named(clustered(500), parts=(1, 2)))
    index = opened()
    refreshed(index, database)
    answer = index.search(QUERY, 20)
    milvus.kill()
    try:
        for call in (lambda: index.search(QUERY, 20), lambda: len(index), index.status):
            with pytest.raises(IndexUnavailableError, match="does not answer|could not be reached"):
                call()
        put_items(database, {"new": QUERY[None]})
        with pytest.raises(IndexUnavailableError):
            refreshed(index, database)
        with pytest.raises(IndexUnavailableError):
            refreshed(opened(), database)
    finally:
        milvus.start()
    assert eventually(lambda: index.search(QUERY, 20)) == answer
    assert eventually(lambda: refreshed(index, database)) == 1
    assert index.search(QUERY, 1)[0][0] == "new"
    with database.read() as session:
        assert index.check(session).is_good


PROGRAM = """
import sys
from pathlib import Path
from handlens_server.config import Config
from handlens_server.database import open_database
from handlens_server.milvus_calls import MilvusAddress
from handlens_server.milvus_index import MilvusIndex
config = Config(data_dir=Path(sys.argv[1]))
address = MilvusAddress.parse(sys.argv[2])
index = MilvusIndex(address, space=sys.argv[3], dim=int(sys.argv[4]), locks=config.index_path)
with open_database(config) as database, database.read() as session:
    index.refresh(session)
"""


@heavy
@on_sqlite
def test_a_process_that_is_killed_in_a_refresh_leaves_what_the_next_one_makes_whole(
    milvus: Milvus, opened: Opened, database: Database, config: Config
) -> None:
    put_items(database, named(clustered(40), parts=(2,)))
    index = opened()
    refreshed(index, database)
    paths = os.pathsep.join(str(ROOT / name) for name in ("sdk", "server"))
    command = [sys.executable, "-c", PROGRAM, str(config.data_dir), milvus.url, SPACE, str(DIM)]
    for number, point in enumerate(("milvus.upserted", "milvus.deleted", "milvus.state", "milvus.state:2")):
        put_items(database, {f"item-{at:05d}": clustered(1 + number % 2, seed=number) for at in range(5)})
        environment = {**os.environ, "PYTHONPATH": paths, "HANDLENS_FAULT": point}
        assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
        assert refreshed(opened(), database) == (0 if point == "milvus.state:2" else 5)
        with database.read() as session:
            assert index.check(session).is_good
        assert len(index) == 30 + 5 * (1 + number % 2)


@heavy
@on_sqlite
def test_when_it_was_down_for_a_moment_callers_are_refused_at_once(
    milvus: Milvus, opened: Opened, database: Database
) -> None:
    index = MilvusIndex(
        MilvusAddress.parse("milvus://127.0.0.1:1"), space=SPACE, dim=DIM, locks=Path(), times=MilvusTimes(rest=3600)
    )
    with pytest.raises(IndexUnavailableError, match="does not answer"):
        index.search(QUERY, 5)
    with pytest.raises(IndexUnavailableError, match="a moment ago"):
        index.search(QUERY, 5)


@heavy
@on_postgresql
def test_on_postgresql_one_process_at_a_time_takes_changes_over(opened: Opened, database: Database) -> None:
    items = named(clustered(400))
    indexes = [opened() for _ in range(2)]
    put_items(database, {"first": QUERY[None]})
    refreshed(indexes[0], database)

    def work(part: int) -> None:
        for start in range(part * 50, 400, 100):
            put_items(database, {name: items[name] for name in list(items)[start : start + 50]})
            refreshed(indexes[part], database)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in indexes:
        refreshed(index, database)
        with database.read() as session:
            assert index.check(session).is_good
    assert len(indexes[0]) == 401
    indexes[1].rebuild(database, track=untracked)
    assert len(indexes[0]) == 401


@pytest.mark.parametrize("config", ["sqlite", pytest.param("postgresql", marks=heavy)], indirect=True)
def test_a_lock_is_held_by_one_session_and_let_go_at_its_end(database: Database, tmp_path: Path) -> None:
    with database.read() as one, database.read() as other:
        one.execute(text("SELECT 1"))
        with try_lock(one, "build", tmp_path) as first:
            assert first
            with try_lock(other, "build", tmp_path) as second, try_lock(other, "refresh", tmp_path) as third:
                assert (second, third) == (False, True)
    with database.read() as session, try_lock(session, "build", tmp_path) as again:
        assert again


@heavy
@on_sqlite
def test_while_another_process_builds_a_build_is_refused_and_refreshes_go_on(
    opened: Opened, database: Database, config: Config
) -> None:
    put_items(database, {"lamp": QUERY[None]})
    index = opened()
    refreshed(index, database)
    name = f"{index.status().place.split()[-1].rpartition('_')[0]}.build"
    with database.read() as session, try_lock(session, name, config.index_path) as is_ours:
        assert is_ours
        with pytest.raises(IndexBusyError, match="another process builds"):
            index.rebuild(database, track=untracked)
        put_items(database, {"chair": QUERY[None]})
        assert refreshed(index, database) == 1


@heavy
@on_sqlite
def test_a_collection_of_other_vectors_is_refused_and_built_anew(opened: Opened, database: Database) -> None:
    refreshed(opened(space="once of another length", dim=8), database)
    put_items(database, named(clustered(20)), space="once of another length")
    index = opened(space="once of another length")
    with pytest.raises(IndexMismatchError, match="vectors of 8 components"):
        refreshed(index, database)
    index.rebuild(database, track=untracked)
    assert len(index.search(QUERY, 50)) == 20


@heavy
@on_sqlite
def test_a_collection_that_somebody_dropped_is_made_again(milvus: Milvus, opened: Opened, database: Database) -> None:
    from pymilvus import MilvusClient

    put_items(database, named(clustered(20)), space="dropped")
    index = opened(space="dropped")
    refreshed(index, database)
    client = MilvusClient(uri=milvus.url.replace("milvus:", "http:"))
    name = index.status().place.split()[-1]
    client.drop_alias(name.rpartition("_")[0])
    client.drop_collection(name)
    client.close()
    with pytest.raises(IndexUnavailableError):
        index.search(QUERY, 5)
    assert refreshed(index, database) == 20
    assert len(index.search(QUERY, 50)) == 20


def test_an_address_is_read_with_its_parts() -> None:
    plain = MilvusAddress.parse("milvus://lens.example.com")
    assert (plain.uri, plain.prefix, plain.token) == ("http://lens.example.com:19530", "handlens", "")
    full = MilvusAddress.parse("milvus+tls://me:p%40ss@[::1]:443/shop_eu")
    assert (full.uri, full.prefix, full.token) == ("https://[::1]:443", "shop_eu", "me:p@ss")
    assert "p@ss" not in repr(full)


@pytest.mark.parametrize(
    "address",
    ["milvus", "http://host:19530", "milvus://", "milvus://host:port", "milvus://host/a-b", "milvus://h/?db=x"],
)
def test_an_address_that_cannot_be_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="HANDLENS_INDEX cannot be used: give milvus://"):
        open_full_index(Config(data_dir=tmp_path, index=address), space=SPACE, dim=DIM)


def test_the_address_of_a_backend_chooses_its_index_and_connects_to_nothing(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path)
    assert isinstance(open_full_index(config, space=SPACE, dim=DIM), LocalIndex)
    named_one = open_full_index(replace(config, index="milvus://127.0.0.1:1"), space=SPACE, dim=DIM)
    assert isinstance(named_one, MilvusIndex)
    named_one.close()


@on_sqlite
def test_a_request_that_needs_an_index_that_is_down_is_told_to_come_back(config: Config) -> None:
    app = create_app(config)
    index = open_full_index(replace(config, index="milvus://127.0.0.1:1"), space=SPACE, dim=DIM)

    @app.get("/near")
    @public
    def near() -> str:
        return str(index.search(QUERY, 5))

    with served(app) as url, pytest.raises(urllib.error.HTTPError) as told:
        urllib.request.urlopen(f"{url}/near")
    body = json.loads(told.value.read())
    app.extensions["handlens"].database.close()
    assert (told.value.code, told.value.headers["Retry-After"]) == (503, str(config.retry_after_seconds))
    assert (body["code"], body["retryable"]) == ("index-unavailable", True)
    assert "127.0.0.1" not in body["detail"]
