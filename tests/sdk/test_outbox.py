"""The outbox: nothing that was kept is lost, nothing that was erased stays."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.paths import ROOT

from handlens import FeedbackError, StoreCorruptError, StoreError
from handlens.store import Outbox

ROOMY = 10_000_000


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    opened = Outbox.open(tmp_path)
    yield opened
    opened.close()


def add(outbox: Outbox, line: str = '{"a":1}', *, most_bytes: int = ROOMY, durable: bool = True) -> str:
    event_id = str(uuid.uuid4())
    outbox.add(event_id, line, most_bytes=most_bytes, durable=durable)
    return event_id


def test_events_come_back_oldest_first_after_a_restart(tmp_path: Path) -> None:
    first = Outbox.open(tmp_path)
    ids = [add(first, f"line {at}", durable=bool(at % 2)) for at in range(10)]
    first.close()
    again = Outbox.open(tmp_path)
    assert [waiting.event_id for waiting in again.first(events=99, most_bytes=ROOMY)] == ids
    assert again.lines() == [f"line {at}" for at in range(10)]
    again.close()


def test_a_batch_is_bounded_by_count_and_bytes_but_never_empty(outbox: Outbox) -> None:
    for _ in range(5):
        add(outbox, "x" * 99)
    assert len(outbox.first(events=3, most_bytes=ROOMY)) == 3
    assert len(outbox.first(events=9, most_bytes=250)) == 2
    assert len(outbox.first(events=9, most_bytes=10)) == 1


def test_an_event_is_kept_once_and_leaves_when_it_is_removed(outbox: Outbox) -> None:
    event_id = add(outbox)
    outbox.add(event_id, "again", most_bytes=ROOMY)
    assert outbox.lines() == ['{"a":1}']
    outbox.remove([event_id, "unknown"])
    assert outbox.count() == 0
    assert outbox.first(events=9, most_bytes=ROOMY) == []


def test_a_refused_event_is_put_aside_with_its_reason(outbox: Outbox) -> None:
    kept, refused = add(outbox, "good"), add(outbox, "bad")
    outbox.refuse({refused: "of a newer format"})
    assert outbox.lines() == ["good"]
    assert outbox.refused() == {refused: "of a newer format"}
    assert outbox.first(events=9, most_bytes=ROOMY)[0].event_id == kept


def test_a_full_outbox_takes_nothing_more_and_says_what_to_do(outbox: Outbox) -> None:
    add(outbox, "x" * 600, most_bytes=1000)
    with pytest.raises(FeedbackError, match="600 bytes of events wait already, 1,000 may .*sync to send them"):
        add(outbox, "x" * 600, most_bytes=1000)
    assert outbox.count() == 1


def test_the_device_id_is_random_and_stays(tmp_path: Path, outbox: Outbox) -> None:
    found = outbox.device_id()
    assert uuid.UUID(found).version == 4
    again = Outbox.open(tmp_path)
    assert again.device_id() == found
    again.close()


def test_erase_leaves_no_trace_in_the_files(tmp_path: Path, outbox: Outbox) -> None:
    for _ in range(50):
        add(outbox, "a secret wish " * 20)
    refused = add(outbox, "a secret fear")
    outbox.refuse({refused: "a secret reason"})
    device = outbox.device_id()
    outbox.set_notes(token="secret token", rotate_after="2026")
    outbox.erase()
    assert (outbox.count(), outbox.refused(), outbox.note("token")) == (0, {}, None)
    assert outbox.note("erase_token") == "secret token"  # the server has still to be told
    outbox.set_notes(erase_token=None)
    outbox.erase()
    outbox.close()
    left = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"secret" not in left
    assert device.encode() not in left


def test_two_processes_share_it(tmp_path: Path, outbox: Outbox) -> None:
    script = (
        "import sys, uuid; from pathlib import Path; from handlens.store import Outbox\n"
        "box = Outbox.open(Path(sys.argv[1]))\n"
        "for at in range(50): box.add(str(uuid.uuid4()), 'theirs', most_bytes=10**7)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, env={"PYTHONPATH": str(ROOT / "sdk")}) as other:
        for _ in range(50):
            add(outbox, "mine")
        assert other.wait() == 0
    assert sorted(outbox.lines()) == ["mine"] * 50 + ["theirs"] * 50


def test_many_threads_share_it(outbox: Outbox) -> None:
    threads = [threading.Thread(target=lambda: [add(outbox) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outbox.count() == 80


def test_a_file_that_is_no_outbox_is_named(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").write_bytes(b"not a database " * 1000)
    with pytest.raises(StoreCorruptError, match=r"outbox\.db is damaged"):
        Outbox.open(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be used"):
        Outbox.open(tmp_path / "file" / "deeper")
