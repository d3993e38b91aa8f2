"""Device identity over HTTP: enrol, rotate, lose an answer, be revoked, erase."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from support.clock import Clock
from werkzeug.test import TestResponse

from handlens_server.app import create_app
from handlens_server.cli import main
from handlens_server.config import Config
from handlens_server.database import Database
from handlens_server.tables import DeviceRow, EventRow

ONE_EVENT = gzip.compress(
    json.dumps(
        {"format": 1, "event_id": str(uuid.uuid4()), "kind": "search", "at": "2026-03-01T10:00:00Z", "request_id": "r"}
    ).encode()
)


def enrol(client: FlaskClient, device_id: str | None = None, **more: Any) -> TestResponse:
    return client.post("/v1/devices", json={"device_id": device_id or str(uuid.uuid4()), **more})


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def send(client: FlaskClient, token: str) -> TestResponse:
    return client.post("/v1/events", data=ONE_EVENT, headers=bearer(token) | {"Content-Encoding": "gzip"})


def rotate(client: FlaskClient, token: str) -> str:
    answer = client.post("/v1/devices/token", headers=bearer(token))
    assert answer.status_code == 200
    return str(answer.json["token"])  # type: ignore[index]


def code(answer: TestResponse) -> tuple[int, str]:
    assert answer.mimetype == "application/problem+json"
    return answer.status_code, answer.json["code"]  # type: ignore[index]


@pytest.fixture
def token(client: FlaskClient) -> str:
    return str(enrol(client).json["token"])  # type: ignore[index]


def test_an_enrolled_device_has_a_token_that_works(client: FlaskClient) -> None:
    answer = enrol(client)
    assert answer.status_code == 201
    assert answer.json is not None
    assert answer.json["rotate_after"] == "2026-03-31T12:00:00Z"
    assert send(client, answer.json["token"]).status_code == 200


def test_an_id_enrols_once(client: FlaskClient) -> None:
    device_id = str(uuid.uuid4())
    enrol(client, device_id)
    assert code(enrol(client, device_id)) == (409, "device-exists")


def test_an_id_that_shows_its_token_gets_a_new_one(client: FlaskClient) -> None:
    device_id = str(uuid.uuid4())
    old = enrol(client, device_id).json["token"]  # type: ignore[index]
    answer = client.post("/v1/devices", json={"device_id": device_id}, headers=bearer(old))
    assert answer.status_code == 201
    assert send(client, answer.json["token"]).status_code == 200  # type: ignore[index]
    assert code(send(client, old)) == (401, "token-unknown")


def test_enrolments_of_one_id_at_once_make_one_device(app: Flask) -> None:
    device_id = str(uuid.uuid4())
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: enrol(app.test_client(), device_id).status_code, range(6)))
    assert sorted(answers) == [201, 409, 409, 409, 409, 409]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b"\xff", b'{"device_id": 7}', b'{"device_id": "me"}', b'{"device_id": "\\ud800"}',
     json.dumps({"device_id": str(uuid.uuid1())}).encode(),
     json.dumps({"device_id": str(uuid.uuid4()).upper()}).encode(),
     json.dumps({"device_id": str(uuid.uuid4()), "enrolment_key": 1}).encode(), b"[" * 9000],
)  # fmt: skip
def test_a_malformed_enrolment_is_refused_by_name(client: FlaskClient, body: bytes) -> None:
    assert code(client.post("/v1/devices", data=body)) == (400, "malformed-request")


def test_a_huge_enrolment_is_refused_unread(client: FlaskClient) -> None:
    assert code(client.post("/v1/devices", data=b" " * 20_000))[0] == 413


@pytest.fixture
def keyed(config: Config, clock: Clock) -> Any:
    app = create_app(replace(config, enrolment_key="Lupe-ß"), clock=clock)
    yield app.test_client()
    app.extensions["handlens"].database.close()


@pytest.mark.parametrize("key", ["", "lupe", "Lupe-ß ", "\ud800"])
def test_a_wrong_enrolment_key_is_refused(keyed: FlaskClient, key: str) -> None:
    assert code(enrol(keyed, enrolment_key=key)) == (403, "enrolment-refused")


def test_the_right_enrolment_key_opens(keyed: FlaskClient) -> None:
    assert enrol(keyed, enrolment_key="Lupe-ß").status_code == 201


def test_enrolments_of_an_address_are_limited(config: Config, clock: Clock) -> None:
    app = create_app(replace(config, enrolments_per_hour=2, trusted_proxies=1), clock=clock)
    client = app.test_client()

    def from_address(address: str) -> TestResponse:
        body = {"device_id": str(uuid.uuid4())}
        return client.post("/v1/devices", json=body, headers={"X-Forwarded-For": address})

    assert [from_address("198.51.100.1").status_code for _ in range(2)] == [201, 201]
    refused = from_address("198.51.100.1")
    assert code(refused) == (429, "too-many-requests")
    assert 0 < int(refused.headers["Retry-After"]) <= 3600
    assert from_address("198.51.100.2").status_code == 201
    app.extensions["handlens"].database.close()


def test_a_rotated_token_works_until_the_new_one_was_used(client: FlaskClient, token: str) -> None:
    new = rotate(client, token)
    assert send(client, token).status_code == 200
    assert send(client, new).status_code == 200
    assert code(send(client, token)) == (401, "token-unknown")
    assert send(client, new).status_code == 200


def test_a_device_that_lost_the_answer_rotates_again(client: FlaskClient, token: str) -> None:
    lost = rotate(client, token)
    new = rotate(client, token)
    assert send(client, new).status_code == 200
    for gone in (token, lost):
        assert code(send(client, gone)) == (401, "token-unknown")


def test_a_device_never_locks_itself_out_however_many_answers_are_lost(client: FlaskClient, token: str) -> None:
    for _ in range(5):
        rotate(client, token)
    assert send(client, token).status_code == 200


def test_rotations_at_once_leave_a_token_that_works(app: Flask, token: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda _: rotate(app.test_client(), token), range(6)))
    works = [send(app.test_client(), one).status_code == 200 for one in [*made, token]]
    assert works.count(True) == 1


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer x", "Basic eDp5", "Bearer é", "bearer " + "x" * 9000]
)
def test_a_wrong_token_is_unknown(client: FlaskClient, header: str) -> None:
    answer = client.post("/v1/devices/token", headers={"Authorization": header} if header else {})
    assert code(answer) == (401, "token-unknown")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_database_holds_no_token(client: FlaskClient, token: str, database: Database) -> None:
    rotated = rotate(client, token)
    with database.read() as session:
        row = session.scalars(select(DeviceRow)).one()
        assert token not in vars(row).values()
        assert rotated not in vars(row).values()
        assert len(row.token) == len(row.old_token or "") == 64


def test_a_revoked_device_is_told_so_until_it_is_restored(
    client: FlaskClient, token: str, console: Callable[..., str]
) -> None:
    device_id = json.loads(console("device", "list", "--json"))[0]["device_id"]
    console("device", "revoke", device_id)
    for answer in (send(client, token), client.post("/v1/devices/token", headers=bearer(token))):
        assert code(answer) == (403, "device-revoked")
    again = client.post("/v1/devices", json={"device_id": device_id}, headers=bearer(token))
    assert code(again) == (403, "device-revoked")
    console("device", "restore", device_id)
    assert send(client, token).status_code == 200


def test_a_revoked_device_may_erase_what_it_sent_and_stays_refused(
    client: FlaskClient, token: str, console: Callable[..., str]
) -> None:
    assert send(client, token).status_code == 200
    console("device", "revoke", json.loads(console("device", "list", "--json"))[0]["device_id"])
    assert client.delete("/v1/devices/self", headers=bearer(token)).status_code == 204
    assert console("events", "export") == ""
    assert code(send(client, token)) == (403, "device-revoked")


def test_the_list_of_devices_shows_days_only(client: FlaskClient, token: str, console: Callable[..., str]) -> None:
    send(client, token)
    shown = json.loads(console("device", "list", "--json"))
    assert [set(device) for device in shown] == [{"device_id", "enrolled_at", "seen_on", "is_revoked", "events_today"}]
    assert shown[0]["seen_on"] == "2026-03-01"
    assert shown[0]["device_id"] in console("device", "list")


def test_a_device_that_is_not_there_is_named(config: Config) -> None:
    done = CliRunner().invoke(main, ["device", "revoke", "nobody"], env=environment(config))
    assert done.exit_code == 1
    assert done.output.startswith("Error: there is no device 'nobody'")


def test_an_erased_device_leaves_nothing_and_is_unknown(client: FlaskClient, token: str, database: Database) -> None:
    send(client, token)
    answer = client.delete("/v1/devices/self", headers=bearer(token))
    assert (answer.status_code, answer.data) == (204, b"")
    with database.read() as session:
        for table in (DeviceRow, EventRow):
            assert session.scalar(select(func.count()).select_from(table)) == 0
    assert code(client.delete("/v1/devices/self", headers=bearer(token))) == (401, "token-unknown")


def test_erasing_one_device_leaves_the_others(client: FlaskClient, token: str) -> None:
    other = enrol(client).json["token"]  # type: ignore[index]
    send(client, other)
    client.delete("/v1/devices/self", headers=bearer(token))
    assert send(client, other).json == {"stored": 0, "known": 1, "refused": []}


def environment(config: Config) -> dict[str, str]:
    return {"HANDLENS_DATA_DIR": str(config.data_dir), "HANDLENS_DATABASE_URL": config.database_url}


@pytest.fixture
def console(config: Config, tmp_path: Path) -> Callable[..., str]:
    def run(*words: str) -> str:
        done = CliRunner().invoke(main, words, env=environment(config))
        assert done.exit_code == 0, done.output
        return done.output

    return run
