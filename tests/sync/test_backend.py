"""What a device and the real server say to each other besides releases: enrolment, events, erasure."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, update
from support.backend import Backend, served

from handlens import Box, DeviceError, DownloadError, HTTPStatusError, OfflineError
from handlens.store import Outbox
from handlens.sync.backend import Backend as Server
from handlens.sync.reports import no_progress
from handlens.sync.transport import HttpTransport
from handlens.wire.event import Event
from handlens_server.app import create_app
from handlens_server.tables import DeviceRow, EventRow


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    made = Backend(tmp_path / "backend")
    with made.database():
        pass
    return made


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    opened = Outbox.open(tmp_path / "device")
    yield opened
    opened.close()


def an_event(**fields: Any) -> Event:
    values = {"kind": "save", "item_id": "axe", "at": "2026-01-01T00:00:00Z", "request_id": "r", "release": "one"}
    return Event(event_id=str(uuid.uuid4()), **{**values, **fields})


def keep(outbox: Outbox, count: int = 1, **fields: Any) -> list[str]:
    events = [an_event(**fields) for _ in range(count)]
    for event in events:
        outbox.add(event.event_id, event.to_json(), most_bytes=10**9)
    return [event.event_id for event in events]


def send(outbox: Outbox, url: str, *, key: str = "") -> int:
    transport = HttpTransport(url, timeout=5, retries=0)
    try:
        server = Server(transport, outbox, enrolment_key=key)
        server.erase()
        return server.send_events(no_progress)
    finally:
        transport.close()


def stored(backend: Backend) -> list[str]:
    with backend.database() as database, database.read() as session:
        return sorted(session.scalars(select(EventRow.event_id)))


def change(backend: Backend, statement: Any) -> None:
    with backend.database() as database, database.session() as session:
        session.execute(statement)


@contextmanager
def losing_answers(backend: Backend, is_lost: Callable[[str, str], bool]) -> Iterator[str]:
    """The server does what it is asked, but some of its answers never arrive."""
    app = create_app(backend.config)

    def wrapped(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if not is_lost(environ["REQUEST_METHOD"], environ["PATH_INFO"]):
            answer: Iterable[bytes] = app(environ, start)
            return answer
        for _ in app(environ, lambda *_: None):
            pass
        start("502 Bad Gateway", [("Content-Type", "text/plain")])
        return [b"a proxy lost the answer"]

    with served(wrapped) as url:
        yield url
    app.extensions["handlens"].database.close()


def once(path: str) -> Callable[[str, str], bool]:
    """Lose the first answers of this path: more than the device asks again within one sync."""
    left = [3]

    def is_lost(method: str, asked: str) -> bool:
        if asked != path or not left[0]:
            return False
        left[0] -= 1
        return True

    return is_lost


def test_events_arrive_whole_and_once(backend: Backend, outbox: Outbox) -> None:
    ids = keep(outbox, 3) + keep(
        outbox, kind="box", box=Box(0.1, 0.2, 0.3, 0.4), label="avocado", embedding=b"\x01" * 128
    )
    lines = sorted(json.loads(line)["event_id"] for line in outbox.lines())
    with backend.serve() as url:
        assert send(outbox, url) == 4
        assert send(outbox, url) == 0
    assert stored(backend) == sorted(ids) == lines
    assert outbox.count() == 0


def test_many_events_go_in_batches(backend: Backend, outbox: Outbox) -> None:
    ids = keep(outbox, 1200)
    with backend.serve() as url:
        assert send(outbox, url) == 1200
    assert stored(backend) == sorted(ids)


@pytest.mark.parametrize("path", ["/v1/events", "/v1/devices", "/v1/devices/token"])
def test_a_lost_answer_costs_nothing(backend: Backend, outbox: Outbox, path: str) -> None:
    if path == "/v1/devices/token":
        with backend.serve() as url:
            keep(outbox)
            send(outbox, url)
        outbox.set_notes(rotate_after="2020-01-01T00:00:00Z")
    before = stored(backend)
    ids = keep(outbox, 2)
    with losing_answers(backend, once(path)) as url:
        try:
            send(outbox, url)
        except DownloadError:
            assert outbox.count() == 2
        send(outbox, url)
    assert stored(backend) == sorted(before + ids)
    assert outbox.count() == 0


def test_a_token_is_rotated_when_it_is_due(backend: Backend, outbox: Outbox) -> None:
    with backend.serve() as url:
        keep(outbox)
        send(outbox, url)
        first = outbox.note("token")
        keep(outbox)
        send(outbox, url)
        assert outbox.note("token") == first
        outbox.set_notes(rotate_after="2020-01-01T00:00:00Z")
        keep(outbox)
        send(outbox, url)
        assert outbox.note("token") != first
        keep(outbox)
        assert send(outbox, url) == 1
    assert len(stored(backend)) == 4


def test_a_revoked_device_is_told_so_and_its_events_wait(backend: Backend, outbox: Outbox) -> None:
    with backend.serve() as url:
        keep(outbox)
        send(outbox, url)
        change(backend, update(DeviceRow).values(is_revoked=True))
        keep(outbox, 2)
        with pytest.raises(DeviceError, match="refuses this device"):
            send(outbox, url)
        assert outbox.count() == 2
        change(backend, update(DeviceRow).values(is_revoked=False))
        assert send(outbox, url) == 2


def test_a_device_over_its_limit_is_told_so_at_once(tmp_path: Path, outbox: Outbox) -> None:
    backend = Backend(tmp_path / "strict", events_per_day=2)
    with backend.serve() as url:
        keep(outbox, 2)
        assert send(outbox, url) == 2
        keep(outbox)
        with pytest.raises(DeviceError, match="refuses this device"):
            send(outbox, url)
    assert outbox.count() == 1


def test_a_device_that_the_server_forgot_enrols_anew(backend: Backend, outbox: Outbox) -> None:
    with backend.serve() as url:
        keep(outbox)
        send(outbox, url)
        former = outbox.device_id()
        change(backend, delete(DeviceRow))
        ids = keep(outbox, 2)
        assert send(outbox, url) == 2
    assert outbox.device_id() != former
    assert stored(backend) == sorted(ids)


def test_an_enrolment_key_is_asked_for(tmp_path: Path, outbox: Outbox) -> None:
    backend = Backend(tmp_path / "closed", enrolment_key="sesame")
    keep(outbox)
    with backend.serve() as url:
        with pytest.raises(DeviceError, match="refuses this device"):
            send(outbox, url, key="wrong")
        assert send(outbox, url, key="sesame") == 1


def test_an_event_that_the_server_refuses_is_put_aside(backend: Backend, outbox: Outbox) -> None:
    good = keep(outbox)
    bad = str(uuid.uuid4())
    outbox.add(bad, json.dumps({"format": 9, "event_id": bad}), most_bytes=10**6)
    with backend.serve() as url:
        assert send(outbox, url) == 1
    assert stored(backend) == good
    assert list(outbox.refused()) == [bad]
    assert "upgrade handlens" in outbox.refused()[bad]


def test_erasing_reaches_the_server_when_it_can(backend: Backend, outbox: Outbox) -> None:
    with backend.serve() as url:
        keep(outbox, 3)
        send(outbox, url)
    outbox.erase()
    with pytest.raises(OfflineError):
        send(outbox, url)
    assert len(stored(backend)) == 3
    with losing_answers(backend, once("/v1/devices/self")) as url:
        with pytest.raises(DownloadError):
            send(outbox, url)
        send(outbox, url)
    assert stored(backend) == []
    assert outbox.note("erase_token") is None
    with backend.database() as database, database.read() as session:
        assert session.scalars(select(DeviceRow)).all() == []


def test_a_server_in_trouble_is_tried_later(outbox: Outbox) -> None:
    keep(outbox)

    def down(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        start("503 Service Unavailable", [("Content-Type", "application/problem+json"), ("Retry-After", "0")])
        return [b'{"code":"database-unavailable","detail":"the database cannot be reached"}']

    with served(down) as url, pytest.raises(HTTPStatusError, match="503 .the database cannot be reached"):
        send(outbox, url)
    assert outbox.count() == 1


def test_a_login_page_is_no_answer(outbox: Outbox) -> None:
    keep(outbox)

    def page(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        start("200 OK", [("Content-Type", "text/html")])
        return [b"<html>"]

    with served(page) as url, pytest.raises(DownloadError, match="may want a login"):
        send(outbox, url)
    assert outbox.count() == 1
    assert outbox.note("token") is None
