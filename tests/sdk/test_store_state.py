"""The store's state: transactions, other threads and processes, crashes, and files that are no store."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.packs import state_header, upserts

from handlens.errors import NotReadyError, StoreCorruptError, StoreError, StoreVersionError
from handlens.geometry import WHOLE
from handlens.store import Store
from handlens.wire.item import Item
from handlens.wire.pack import ItemEmbedding, PackRow

SDK = Path(__file__).parents[2] / "sdk"


def rows(count):
    for at in range(count):
        yield PackRow(Item(f"i{at}", "photo", "tool", f"Hammer {at}"), (ItemEmbedding(WHOLE, b"\x01\x02"),), b"w" * 500)


def install(store, count, *, stream=None):
    every = list(rows(count))
    with store.write() as writer:
        writer.apply(state_header(every), upserts(every) if stream is None else stream)


def state(store):
    return (
        store.generation(),
        store.stats().items,
        len(store.vectors()[0]),
        len(store.search_text("hammer", limit=999)),
    )


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "data", create=True) as opened:
        install(opened, 20)
        yield opened


def test_what_was_written_is_there_when_the_store_is_opened_again(store, tmp_path):
    before = state(store)
    store.close()
    with Store.open(tmp_path / "data") as again:
        assert state(again) == before == (1, 20, 20, 20)


def drop_both(store):
    with store.write() as writer:
        writer.set_document("policy", "new")
        writer.drop_pack("demo")
        writer.drop_pack("other")


def test_a_writer_that_raises_in_the_middle_leaves_everything_as_before(store):
    def breaks():
        yield from upserts(rows(10))
        raise OSError("the download broke off")

    before = state(store)
    with pytest.raises(OSError, match="broke off"):
        install(store, 30, stream=breaks())
    with pytest.raises(StoreError, match="'other' is not installed"):
        drop_both(store)
    assert state(store) == before
    with pytest.raises(NotReadyError):
        store.document("policy")
    install(store, 5)
    assert state(store) == (2, 5, 5, 5)


def test_a_process_killed_in_mid_transaction_leaves_the_old_state(store, tmp_path):
    before = state(store)
    script = """
import itertools, sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[2], sys.argv[2] + "/.."]
from test_store_state import install, rows
from support.packs import upserts
from handlens.store import Store

def stream():
    yield from upserts(rows(5000))
    print("written", flush=True)
    time.sleep(60)

install(Store.open(Path(sys.argv[3])), 6000, stream=stream())
"""
    command = [sys.executable, "-c", script, str(SDK), str(Path(__file__).parent), str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "written\n"
        os.kill(child.pid, signal.SIGKILL)
    store.close()
    with Store.open(tmp_path / "data") as again:
        assert state(again) == before
        again.check()
        install(again, 3)
        assert state(again)[1] == 3


def test_a_thread_keeps_reading_whole_states_while_another_writes(store):
    done, seen, problems = threading.Event(), set(), []

    def read():
        while not done.is_set():
            try:
                ids, _ = store.vectors()
                found = store.items_of(ids.tolist()[:5])
                hits = store.search_text("hammer", limit=5)
            except StoreError as error:
                problems.append(error)
                return
            seen.add(len(ids))
            if len(found) not in (0, 5) or len(hits) != 5:
                problems.append((len(found), len(hits)))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(10):
        install(store, 300)
        install(store, 40)
    done.set()
    for reader in readers:
        reader.join()
    assert not problems
    assert seen <= {20, 300, 40}


def test_another_process_reads_the_old_state_while_a_transaction_is_open_and_the_new_one_after(store, tmp_path):
    script = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[2], sys.argv[2] + "/.."]
from test_store_state import state
from handlens.store import Store
print(state(Store.open(Path(sys.argv[3]))))
"""

    def elsewhere():
        command = [sys.executable, "-c", script, str(SDK), str(Path(__file__).parent), str(tmp_path / "data")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    seen = []

    def stream():
        yield from upserts(rows(50))
        seen.append(elsewhere())

    install(store, 50, stream=stream())
    assert seen == ["(1, 20, 20, 20)"]
    assert elsewhere() == "(2, 50, 50, 50)"


def test_writers_in_two_threads_wait_for_each_other(store):
    writers = [threading.Thread(target=lambda: [install(store, 30) for _ in range(5)]) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert state(store) == (11, 30, 30, 30)


def test_a_store_that_another_process_keeps_locked_says_so(store, tmp_path, monkeypatch):
    monkeypatch.setattr("handlens.store.database._BUSY_TIMEOUT", 0.05)
    other = sqlite3.connect(tmp_path / "data" / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreError, match="another process is writing"):
            install(store, 2)
    finally:
        other.close()
    assert state(store)[1] == 20


def test_a_folder_without_a_store_is_not_ready(tmp_path):
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(NotReadyError, match="sync or install a release first"):
            Store.open(folder)
    (tmp_path / "store.db").touch()
    with pytest.raises(NotReadyError, match="is empty"):
        Store.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["store.db"]
    with Store.open(tmp_path, create=True) as store:
        assert store.packs() == ()


def test_opening_with_create_keeps_what_is_there(store, tmp_path):
    with Store.open(tmp_path / "data", create=True) as again:
        assert state(again) == (1, 20, 20, 20)


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    for create in (True, False):
        with pytest.raises(StoreError, match="file"):
            Store.open(tmp_path / "file" / "data", create=create)
    (tmp_path / "data" / "store.db").mkdir(parents=True)
    with pytest.raises(StoreError, match="is not a file"):
        Store.open(tmp_path / "data")


def test_a_store_of_a_newer_version_is_refused_and_left_alone(store, tmp_path):
    store.close()
    path = tmp_path / "data" / "store.db"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 4")
    db.close()
    before = path.read_bytes()
    for create in (True, False):
        with pytest.raises(StoreVersionError, match="upgrade handlens"):
            Store.open(tmp_path / "data", create=create)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"x", b"This is no database, " * 200, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path, content):
    (tmp_path / "store.db").write_bytes(content)
    for create in (True, False):
        with pytest.raises(StoreCorruptError, match="damaged"):
            Store.open(tmp_path, create=create)
    assert (tmp_path / "store.db").read_bytes() == content


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path):
    db = sqlite3.connect(tmp_path / "store.db")
    db.execute("CREATE TABLE theirs (x)")
    db.close()
    before = (tmp_path / "store.db").read_bytes()
    for create in (True, False):
        with pytest.raises(StoreCorruptError, match="not a store of handlens"):
            Store.open(tmp_path, create=create)
    assert (tmp_path / "store.db").read_bytes() == before


def test_damage_inside_the_file_is_reported_by_whatever_meets_it_and_by_check(store, tmp_path):
    install(store, 3000)
    store.close()
    path = tmp_path / "data" / "store.db"
    content = bytearray(path.read_bytes())
    for start in range(3 * 4096, len(content), 4096):
        content[start : start + 200] = b"\xa5" * len(content[start : start + 200])
    path.write_bytes(content)
    with Store.open(tmp_path / "data") as damaged:
        with pytest.raises(StoreCorruptError, match="remove it and sync again"):
            damaged.check()
        with pytest.raises(StoreCorruptError, match="remove it and sync again"):
            damaged.vectors()


def test_a_record_that_was_changed_from_outside_is_reported(store, tmp_path):
    db = sqlite3.connect(tmp_path / "data" / "store.db")
    db.execute("UPDATE items SET record = '{'")
    db.commit()
    db.close()
    with pytest.raises(StoreCorruptError, match="remove it and sync again"):
        store.items_of(store.vectors()[0].tolist())


def test_a_truncated_store_is_never_taken_for_a_whole_one(store, tmp_path):
    store.close()
    path = tmp_path / "data" / "store.db"
    whole = path.read_bytes()
    for length in range(1, len(whole), 997):
        path.write_bytes(whole[:length])
        with pytest.raises(StoreError), Store.open(tmp_path / "data") as cut:
            cut.check()


def test_a_closed_store_says_so(store):
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.packs()
    store.close()
