"""Batches of events over HTTP: stored once, refused by line, and forgotten in time."""

from __future__ import annotations

import gzip
import json
import random
import uuid
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select
from support.clock import Clock
from werkzeug.test import TestResponse

from handlens.errors import HandlensError
from handlens.wire.event import MAX_BATCH_BYTES, MAX_BATCH_EVENTS, Event
from handlens_server.app import create_app
from handlens_server.cli import main
from handlens_server.config import Config
from handlens_server.database import Database
from handlens_server.event_batches import BatchTooLargeError, NotGzipError, decode_batch
from handlens_server.retention import prune_events
from handlens_server.tables import EventRow
from handlens_server.times import TimeTextError, parse_time


def event(**more: Any) -> dict[str, Any]:
    made = {"format": 1, "event_id": str(uuid.uuid4()), "kind": "box", "at": "2026-03-01T10:00:00Z"}
    return {**made, "request_id": "r1", "release": "demo-1", "box": [0.1, 0.2, 0.5, 0.6], "label": "avocado", **more}


def batch(events: Iterable[dict[str, Any] | bytes]) -> bytes:
    lines = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in events]
    return gzip.compress(b"\n".join(lines) + b"\n")


def new_token(client: FlaskClient) -> str:
    answer = client.post("/v1/devices", json={"device_id": str(uuid.uuid4())})
    return str(answer.json["token"])  # type: ignore[index]


@pytest.fixture
def token(client: FlaskClient) -> str:
    return new_token(client)


def post(client: FlaskClient, token: str, body: bytes, **headers: str) -> TestResponse:
    sent = {"Authorization": f"Bearer {token}", "Content-Encoding": "gzip"} | headers
    return client.post("/v1/events", data=body, headers=sent)


def answer(stored: int, known: int, *refused: dict[str, Any]) -> dict[str, Any]:
    return {"stored": stored, "known": known, "refused": list(refused)}


def count(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(EventRow)) or 0


def code(response: TestResponse) -> tuple[int, str]:
    return response.status_code, response.json["code"]  # type: ignore[index]


def test_a_batch_that_comes_again_is_known(client: FlaskClient, token: str, database: Database) -> None:
    body = batch([event(), event()])
    assert post(client, token, body).json == answer(2, 0)
    assert post(client, token, body).json == answer(0, 2)
    assert count(database) == 2


def test_an_event_that_stands_in_a_batch_twice_is_stored_once(client: FlaskClient, token: str) -> None:
    one = event()
    assert post(client, token, batch([one, event(), one])).json == answer(2, 1)


def test_batches_at_once_from_many_devices_store_each_event_once(app: Flask, client: FlaskClient) -> None:
    events = [event() for _ in range(60)]
    tokens = [new_token(client) for _ in range(6)]

    def send(number: int) -> TestResponse:
        mixed = random.Random(number).sample(events, 40)
        return post(app.test_client(), tokens[number % len(tokens)], batch(mixed))

    with ThreadPoolExecutor(6) as pool:
        answers = [response.json for response in pool.map(send, range(18))]
    assert sum(one["stored"] for one in answers) == len(events)  # type: ignore[index]
    assert all(one["stored"] + one["known"] == 40 for one in answers)  # type: ignore[index]


def test_every_kind_of_event_is_kept_as_it_came(client: FlaskClient, token: str, config: Config) -> None:
    sent = [
        event(kind="search", shown=["a", "b"]),
        event(kind="click", item_id="ä/1"),
        event(kind="label", label="\u0000 \u2028 grüne Tomate"),
        event(embedding="AAEC", space="s1", newer_field={"kept": [1]}),
    ]
    assert post(client, token, batch(sent)).json == answer(4, 0)
    exported = [json.loads(line) for line in export(config).stdout.splitlines()]
    for one in exported:
        assert one.pop("received_at") == "2026-03-01T12:00:00Z"
        assert len(one.pop("device_id")) == 36
    assert sorted(exported, key=lambda one: one["event_id"]) == sorted(sent, key=lambda one: one["event_id"])


BAD_LINES: dict[str, tuple[Any, str]] = {
    "unknown kind": (event(kind="stare"), "event.kind"),
    "no kind": ({**event(), "kind": None}, "kind"),
    "newer format": (event(format=2), "upgrade handlens"),
    "id of a person": (event(event_id="me@example.com"), "event.event_id"),
    "not an object": (b"[1, 2]", "JSON object"),
    "not JSON": (b"{", "not valid JSON"),
    "invalid UTF-8": (b'{"event_id": "\xff"}', "not valid JSON"),
    "half a surrogate pair": (event(label="\ud800"), "event.label"),
    "box outside the photo": (event(box=[0.5, 0.5, 1.5, 0.9]), "box"),
    "huge crop": (event(crop="A" * 290_000), "event.crop"),
    "larger than an event may be": (event(extra="x" * 310_000), "300000 bytes"),
    "endless time": (event(at=f"2026-03-01T10:00:00.{'0' * 60}Z"), "event.at"),
    "not a time": (event(at="yesterday"), "event.at"),
    "deep nesting": (b"[" * 100_000, "not valid JSON"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_named_and_holds_up_no_other(client: FlaskClient, token: str, name: str) -> None:
    line, reason = BAD_LINES[name]
    found = post(client, token, batch([event(), line, event()])).json
    assert found is not None
    assert (found["stored"], found["known"], len(found["refused"])) == (2, 0, 1)
    assert found["refused"][0]["line"] == 2
    assert reason in found["refused"][0]["reason"]
    if isinstance(line, dict) and "upgrade" in reason:
        assert found["refused"][0]["event_id"] == line["event_id"]


def test_an_empty_batch_stores_nothing(client: FlaskClient, token: str) -> None:
    assert post(client, token, gzip.compress(b"\n\n")).json == answer(0, 0)


@pytest.mark.parametrize(
    ("body", "status", "name"),
    [
        (b"plain text", 400, "not-gzip"),
        (b"", 400, "not-gzip"),
        (zlib.compress(b"{}"), 400, "not-gzip"),
        (gzip.compress(b"{}")[:-4], 400, "not-gzip"),
        (gzip.compress(b"{}") + b"more", 400, "not-gzip"),
        (batch(event() for _ in range(MAX_BATCH_EVENTS + 1)), 413, "batch-too-large"),
        (gzip.compress(b" " * (MAX_BATCH_BYTES + 1)), 413, "batch-too-large"),
    ],
    ids=["plain", "empty", "zlib", "cut", "appended", "too many", "too large"],
)
def test_a_body_that_is_no_batch_is_refused_whole(
    client: FlaskClient, token: str, database: Database, body: bytes, status: int, name: str
) -> None:
    assert code(post(client, token, body)) == (status, name)
    assert count(database) == 0


def test_a_batch_of_the_largest_size_is_taken(client: FlaskClient, token: str) -> None:
    assert post(client, token, batch(event() for _ in range(MAX_BATCH_EVENTS))).json == answer(MAX_BATCH_EVENTS, 0)


def test_the_encoding_must_be_named(client: FlaskClient, token: str) -> None:
    assert code(post(client, token, batch([event()]), **{"Content-Encoding": "br"})) == (400, "not-gzip")


def test_a_gzip_bomb_costs_no_more_than_a_batch() -> None:
    import tracemalloc

    bomb = gzip.compress(b"\0" * 80_000_000, compresslevel=1)
    tracemalloc.start()
    with pytest.raises(BatchTooLargeError):
        decode_batch(bomb, "gzip")
    assert tracemalloc.get_traced_memory()[1] < 5 * MAX_BATCH_BYTES
    tracemalloc.stop()


def test_a_body_beyond_the_limit_is_refused_unread(client: FlaskClient, token: str, config: Config) -> None:
    body = random.Random(0).randbytes(config.max_body_bytes + 1)
    assert post(client, token, body).status_code == 413


@given(st.binary(max_size=300))
def test_no_bytes_bring_the_decoder_down(data: bytes) -> None:
    for body in (data, gzip.compress(data), gzip.compress(json.dumps(event()).encode() + b"\n" + data)):
        try:
            found = decode_batch(body, "gzip")
        except HandlensError as error:
            assert isinstance(error, NotGzipError)  # noqa: PT017
        else:
            assert all(Event.from_json(text) == one for one, text in found.events)


def test_a_device_over_its_limit_is_told_when_to_come_back(config: Config, clock: Clock) -> None:
    app = create_app(replace(config, events_per_day=3), clock=clock)
    client = app.test_client()
    token = new_token(client)
    first = batch([event(), event(), event()])
    assert post(client, token, first).json == answer(3, 0)
    refused = post(client, token, batch([event()]))
    assert code(refused) == (429, "device-over-limit")
    assert refused.json["retryable"] is True  # type: ignore[index]
    assert int(refused.headers["Retry-After"]) == 12 * 3600 + 1
    assert post(client, token, first).json == answer(0, 3), "what is stored may come again"
    assert post(client, new_token(client), batch([event()])).json == answer(1, 0), "the limit is a device's own"
    clock.advance(hours=12)
    assert post(client, token, batch([event()])).json == answer(1, 0)
    app.extensions["handlens"].database.close()


def test_a_refused_batch_of_a_full_day_stores_nothing(config: Config, clock: Clock, database: Database) -> None:
    app = create_app(replace(config, events_per_day=1), clock=clock)
    token = new_token(app.test_client())
    for _ in range(3):
        post(app.test_client(), token, batch([event()]))
    assert count(database) == 1
    app.extensions["handlens"].database.close()


def export(config: Config, *words: str) -> Result:
    environment = {"HANDLENS_DATA_DIR": str(config.data_dir), "HANDLENS_DATABASE_URL": config.database_url}
    return CliRunner().invoke(main, ["events", *(words or ("export",))], env=environment)


def test_exports_that_follow_one_another_hold_every_event_once(
    client: FlaskClient, token: str, config: Config, clock: Clock, tmp_path: Path
) -> None:
    sent = []
    for _ in range(4):
        sent.append(event())
        post(client, token, batch(sent[-1:]))
        clock.advance(hours=1)
    edges = ["2026-03-01", "2026-03-01T13:00:00Z", "2026-03-01T15:00:00+01:00", "2026-03-02"]
    exported = []
    for number, (since, until) in enumerate(pairwise(edges)):
        file = tmp_path / f"{number}.jsonl"
        done = export(config, "export", "--since", since, "--until", until, "--out", str(file))
        assert done.exit_code == 0, done.output
        exported += [json.loads(line)["event_id"] for line in file.read_text("utf-8").splitlines()]
    assert exported == [one["event_id"] for one in sent]


def test_an_exported_line_is_an_event(client: FlaskClient, token: str, config: Config) -> None:
    post(client, token, batch([event()]))
    (line,) = export(config).stdout.splitlines()
    assert Event.from_json(line).label == "avocado"


def test_an_export_that_fails_leaves_no_file(client: FlaskClient, config: Config, tmp_path: Path) -> None:
    done = export(config, "export", "--out", str(tmp_path / "no folder" / "events.jsonl"))
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
    assert "--out" in done.output


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "2026-03-01T25:00:00Z", "Z"])
def test_what_is_no_time_is_refused_with_an_example(config: Config, text: str) -> None:
    done = export(config, "export", "--since", text)
    assert done.exit_code == 1
    assert "give 2026-01-01" in done.output


@given(st.datetimes().map(lambda time: time.replace(microsecond=0)))
def test_times_survive_their_text(time: Any) -> None:
    assert parse_time(f"{time.isoformat()}Z") == parse_time(time.isoformat()) == parse_time(f"{time.isoformat()}+00:00")


@given(st.text(max_size=30))
def test_no_text_brings_the_time_reader_down(text: str) -> None:
    try:
        assert parse_time(text).tzinfo is not None
    except TimeTextError as error:
        assert "give" in str(error)  # noqa: PT017


def test_events_are_forgotten_after_their_time(
    client: FlaskClient, token: str, clock: Clock, config: Config, database: Database
) -> None:
    post(client, token, batch(event() for _ in range(25)))
    clock.advance(days=100)
    kept = event()
    post(client, token, batch([kept]))
    assert prune_events(database, clock.now, 100, step=10) == 0
    clock.advance(seconds=1)
    assert prune_events(database, clock.now, 100, step=10) == 25
    assert [json.loads(line)["event_id"] for line in export(config).stdout.splitlines()] == [kept["event_id"]]


def test_the_command_prunes_by_the_operators_days(
    client: FlaskClient, token: str, config: Config, clock: Clock
) -> None:
    clock.now = datetime(2020, 1, 1, tzinfo=timezone.utc)
    post(client, token, batch([event(), event()]))
    assert "deleted 0 events" in export(config, "prune", "--days", "36500").output
    assert "deleted 2 events" in export(config, "prune").output
