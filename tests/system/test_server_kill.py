"""The server is killed while it takes what devices send: nothing that a device let go of is lost, nothing is doubled.

A real server process serves; its worker, which commits, is ended by SIGKILL right before or after a commit, and
replaced by the next one. The device asks again, as it does after any broken answer.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select
from support.backend import Backend
from support.kills import share
from support.paths import ROOT

from handlens import DownloadError
from handlens.store import Outbox
from handlens.sync.backend import Backend as Server
from handlens.sync.reports import no_progress
from handlens.sync.transport import HttpTransport
from handlens.wire.event import Event
from handlens_server.tables import DeviceRow, EventRow

EVENTS = 1200  # three batches


@contextmanager
def server(backend: Backend, **environment: str) -> Iterator[str]:
    program = "from handlens_server.cli import main; main()"
    where = ["--data-dir", str(backend.config.data_dir), "--workers", "1", "--threads", "2", "--port", "0"]
    paths = os.pathsep.join(str(ROOT / name) for name in ("sdk", "server"))
    process = subprocess.Popen(
        [sys.executable, "-c", program, "run", *where],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip().removeprefix("listening on ")
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def send(outbox: Outbox, url: str) -> bool:
    """One sync's worth of sending; whether all went."""
    transport = HttpTransport(url, timeout=10, retries=0)
    try:
        Server(transport, outbox, enrolment_key="").send_events(no_progress)
    except DownloadError:
        return False
    finally:
        transport.close()
    return True


# The commits of a worker's life: enrolment, then the batches; each is a point before and after it.
@pytest.mark.parametrize("passes", range(1, 1 + min(8, 2 * share(0.05))))
def test_events_arrive_once_though_the_server_is_killed_at_a_commit(tmp_path: Path, passes: int) -> None:
    backend = Backend(tmp_path / "backend")
    outbox = Outbox.open(tmp_path / "device")
    ids = [str(uuid.uuid4()) for _ in range(EVENTS)]
    for event_id in ids:
        event = Event(event_id, "save", "2026-01-01T00:00:00Z", "request", "one", item_id="axe")
        outbox.add(event_id, event.to_json(), most_bytes=10_000_000, durable=False)
    with server(backend, HANDLENS_FAULT=f"database.commit:{passes}") as url:
        failures = 0
        while outbox.count() and failures < 20:
            failures += not send(outbox, url)
    if outbox.count():  # a worker that is killed at its first commit never gets on: the next server is a whole one
        assert passes <= 2
        with server(backend) as url:
            assert send(outbox, url)
    assert outbox.count() == 0
    outbox.close()
    with backend.database() as database, database.read() as session:
        assert set(session.scalars(select(EventRow.event_id))) == set(ids)
        assert session.scalar(select(func.count()).select_from(EventRow)) == EVENTS
        assert session.scalar(select(func.sum(DeviceRow.day_events))) == EVENTS
