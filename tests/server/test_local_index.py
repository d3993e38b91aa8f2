"""What the index in the process does with its files: saved, opened, shared between processes, mended when damaged."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import delete
from support.index_items import DIM, SPACE, Vectors, clustered, named, put_items
from support.paths import ROOT

from handlens.index import available
from handlens_server.catalogue import withdraw_items
from handlens_server.config import Config
from handlens_server.database import Database, open_database
from handlens_server.full_index import IndexBusyError
from handlens_server.index_files import IndexFolder
from handlens_server.index_keeper import IndexKeeper
from handlens_server.local_index import LocalIndex, LocalIndexOptions
from handlens_server.tables import ItemRow

pytestmark = [
    pytest.mark.skipif(available() is None, reason="hnswlib is not installed"),
    pytest.mark.parametrize("config", ["sqlite"], indirect=True),
]
ITEMS = named(clustered(200), parts=(1, 2))
QUERY = clustered(1, seed=3)[0]
GRAPH = LocalIndexOptions(exact_below=0, save_changes=1)
Damage = Callable[[Path], None]


@pytest.fixture
def folder(config: Config) -> Path:
    return config.index_path / "test"


def opened(folder: Path, options: LocalIndexOptions = GRAPH) -> LocalIndex:
    return LocalIndex(space=SPACE, dim=DIM, folder=folder, options=options)


def started(folder: Path, database: Database, options: LocalIndexOptions = GRAPH) -> LocalIndex:
    index = opened(folder, options)
    refresh(index, database)
    index.maintain(database)
    return index


def refresh(index: LocalIndex, database: Database) -> int:
    with database.read() as session:
        return index.refresh(session)


def ids(index: LocalIndex, vector: Vectors = QUERY, k: int = 20) -> list[str]:
    return [item_id for item_id, _, _ in index.search(vector, k)]


def test_a_start_opens_what_was_saved_and_reads_no_item_again(folder: Path, database: Database) -> None:
    put_items(database, ITEMS)
    before = started(folder, database)
    after = opened(folder)
    assert (after.status().kind, after.sequence, len(after)) == ("hnsw", before.sequence, 200)
    assert after.search(QUERY, 20) == before.search(QUERY, 20)  # before any refresh


def flip_in(pattern: str, at: float) -> Damage:
    def damage(folder: Path) -> None:
        path = next(folder.glob(pattern))
        data = bytearray(path.read_bytes())
        data[int(at * (len(data) - 1))] ^= 0xFF
        path.write_bytes(data)

    return damage


def cut(pattern: str) -> Damage:
    def damage(folder: Path) -> None:
        path = next(folder.glob(pattern))
        path.write_bytes(path.read_bytes()[:-10])

    return damage


def lose(pattern: str) -> Damage:
    return lambda folder: next(folder.glob(pattern)).unlink()


def say(**values: object) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return damage


DAMAGES = {
    "a byte of the graph": flip_in("*.graph", 0.5),
    "a byte of the vectors": flip_in("*.index", 0.9),
    "a byte of the table": flip_in("*.parts", 0.5),
    "the graph is cut": cut("*.graph"),
    "the table is cut": cut("*.parts"),
    "the manifest is cut": cut("manifest.json"),
    "the graph is lost": lose("*.graph"),
    "the vectors are lost": lose("*.index"),
    "the table is lost": lose("*.parts"),
    "of another space": say(space="another"),
    "of another length": say(dim=DIM + 1),
    "of a newer format": say(format=2),
    "of a kind that is unknown": say(kind="quantum"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_index_is_not_used_and_is_made_again_while_an_exact_one_answers(
    folder: Path, database: Database, damage: Damage
) -> None:
    put_items(database, ITEMS)
    answer = ids(started(folder, database))
    damage(folder)
    index = opened(folder)
    assert index.status().kind == "exact"
    assert "cannot be used" in index.status().reason
    refresh(index, database)
    assert ids(index) == answer
    index.maintain(database)
    assert index.status().kind == "hnsw"
    assert ids(index) == answer
    assert opened(folder).status().kind == "hnsw"


def test_an_index_that_lacks_items_of_the_database_is_given_up_at_the_start(folder: Path, database: Database) -> None:
    put_items(database, ITEMS)
    started(folder, database)
    with database.session() as session:  # as a database that was put back from a backup
        session.execute(delete(ItemRow).where(ItemRow.item_id == "item-00003"))
    index = opened(folder)
    refresh(index, database)
    assert "was given up: it has 134 items, the database has 133" in index.status().reason
    assert "item-00003" not in ids(index, k=500)


def test_few_parts_are_scanned_and_many_are_built_into_a_graph(folder: Path, database: Database) -> None:
    options = LocalIndexOptions(exact_below=100, save_changes=1)
    put_items(database, named(clustered(60)))
    index = started(folder, database, options)
    assert index.status().kind == "exact"
    put_items(database, named(clustered(60, seed=1), prefix="more"))
    refresh(index, database)
    before = ids(index)
    index.maintain(database)
    assert index.status().kind == "hnsw"
    assert ids(index) == before


def test_a_graph_whose_parts_were_replaced_is_built_again(folder: Path, database: Database) -> None:
    put_items(database, ITEMS)
    index = started(folder, database)
    first = IndexFolder(folder, space=SPACE, dim=DIM).manifest()
    for seed in range(2):
        put_items(database, {item_id: clustered(2, seed=seed) for item_id in list(ITEMS)[:12]})
        refresh(index, database)
    index.maintain(database)
    second = IndexFolder(folder, space=SPACE, dim=DIM).manifest()
    assert first is not None
    assert second is not None
    assert first.build != second.build
    assert second.replaced == 0
    assert opened(folder).search(QUERY, 20) == index.search(QUERY, 20)


def test_few_changes_are_saved_by_none_and_many_by_the_next_maintenance(folder: Path, database: Database) -> None:
    options = LocalIndexOptions(exact_below=0, save_changes=5)
    put_items(database, ITEMS)
    index = started(folder, database, options)
    saved = opened(folder).sequence
    put_items(database, {"one": clustered(1)})
    refresh(index, database)
    index.maintain(database)
    assert opened(folder).sequence == saved
    put_items(database, named(clustered(4), prefix="four"))
    refresh(index, database)
    index.maintain(database)
    assert opened(folder).sequence == index.sequence == saved + 5


def test_another_process_takes_a_newer_build_over(folder: Path, database: Database) -> None:
    put_items(database, ITEMS)
    one, other = started(folder, database), started(folder, database)
    put_items(database, {"new": QUERY[None]})
    refresh(one, database)
    one.rebuild(database)
    other.maintain(database)
    assert ids(other)[0] == "new"
    assert other.sequence == one.sequence
    assert len(list(folder.glob("*.parts"))) == len(list(folder.glob("*.graph"))) == 1


def test_while_another_process_saves_nothing_is_saved_or_built(folder: Path, database: Database) -> None:
    put_items(database, ITEMS)
    index = opened(folder)
    refresh(index, database)
    with IndexFolder(folder, space=SPACE, dim=DIM).lock():
        index.maintain(database)
        assert not (folder / "manifest.json").exists()
        with pytest.raises(IndexBusyError, match="another process builds or saves"):
            index.rebuild(database)
        assert ids(index)
    index.maintain(database)
    assert (folder / "manifest.json").exists()


def test_what_is_damaged_in_memory_is_found_by_the_check_of_a_start_and_built_again(
    folder: Path, database: Database
) -> None:
    put_items(database, ITEMS)
    started(folder, database)
    with database.session() as session:  # a change that took no number
        session.get_one(ItemRow, "item-00003").sequence = 1
    index = started(folder, database)
    with database.read() as session:
        assert index.check(session).is_good


def test_a_keeper_maintains_behind_the_searches_and_survives_a_database_that_is_gone(
    folder: Path, database: Database, config: Config, tmp_path: Path
) -> None:
    put_items(database, ITEMS)
    index = opened(folder)
    refresh(index, database)
    shutil.move(config.database_path, tmp_path / "away")
    keeper = IndexKeeper(index, database, seconds=0.01)
    keeper.start()
    try:
        time.sleep(0.05)  # some failures
        database.close()
        shutil.move(tmp_path / "away", config.database_path)
        until = time.monotonic() + 30
        while index.status().kind == "exact" and time.monotonic() < until:
            time.sleep(0.01)
        assert index.status().kind == "hnsw"
        assert ids(index)
    finally:
        keeper.close()


POINTS = {  # passed by a start that builds and saves a graph; each rename is a point before and after itself
    "full_index.save",
    "index.rename",
    "index.renamed",
    "full_index.saved",
    "durable.rename",
    "durable.done",
    "full_index.swept",
}
PROGRAM = """
import sys
from pathlib import Path
from handlens_server.config import Config
from handlens_server.database import open_database
from handlens_server.local_index import LocalIndex, LocalIndexOptions
options = LocalIndexOptions(exact_below=0, save_changes=1)
index = LocalIndex(space=sys.argv[2], dim=int(sys.argv[3]), folder=Path(sys.argv[4]), options=options)
with open_database(Config(data_dir=Path(sys.argv[1]))) as database:
    with database.read() as session:
        index.refresh(session)
    index.maintain(database)
"""


def start_in_a_process(config: Config, folder: Path, **faults: str) -> int:
    paths = os.pathsep.join(str(ROOT / name) for name in ("sdk", "server"))
    command = [sys.executable, "-c", PROGRAM, str(config.data_dir), SPACE, str(DIM), str(folder)]
    environment = {**os.environ, "PYTHONPATH": paths, **faults}
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


def test_the_points_are_those_that_a_save_passes(
    folder: Path, database: Database, config: Config, tmp_path: Path
) -> None:
    put_items(database, ITEMS)
    assert start_in_a_process(config, folder, HANDLENS_FAULT_LOG=str(tmp_path / "points")) == 0
    assert set(Counter((tmp_path / "points").read_text().split())) == POINTS


@pytest.mark.parametrize("point", sorted([*POINTS, "durable.rename:2", "durable.done:2"]))
def test_killed_at_a_point_the_saved_index_is_the_old_or_the_new_one(
    folder: Path, database: Database, config: Config, point: str
) -> None:
    put_items(database, ITEMS)
    before = started(folder, database)
    with database.session() as session:
        withdraw_items(session, list(ITEMS)[:3])
    put_items(database, {"new": QUERY[None]})
    assert start_in_a_process(config, folder, HANDLENS_FAULT=point) == -signal.SIGKILL
    found = opened(folder)
    assert found.status().kind == "hnsw"
    assert found.sequence in (before.sequence, before.sequence + 4)
    with open_database(config) as again:
        refresh(found, again)
        assert ids(found)[0] == "new"
        found.maintain(again)
        with again.read() as session:
            assert found.check(session).is_good
        found.rebuild(again)  # what the killed process left goes with the next save
    names = [path.name for path in folder.iterdir()]
    assert sum(name.endswith(".parts") for name in names) == sum(name.endswith(".graph") for name in names) == 1
    assert not [name for name in names if name.startswith(".") or name.endswith(".tmp")]
    assert np.isfinite([distance for _, _, distance in opened(folder).search(QUERY, 20)]).all()
