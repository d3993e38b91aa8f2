"""What every answer of the server has in common, and how it serves files and answers while a part of it is down."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text
from structlog.testing import capture_logs
from support.clock import Clock
from support.postgres import Postgres
from werkzeug.test import TestResponse

from handlens_server.app import create_app
from handlens_server.config import Config
from handlens_server.database import Database

DEVICE = {"device_id": "4f4fbd5c-8b9f-4b2e-9d0f-4d4f6a1c2b3e"}
PUBLIC = {
    "/healthz",
    "/metrics",
    "/partner/v1/docs",
    "/partner/v1/docs/<name>",
    "/partner/v1/oauth/token",
    "/partner/v1/openapi.json",
    "/partner/v1/thumbnails/<ticket>",
    "/readyz",
    "/v1/devices",
    "/v1/repository/metadata/<path:name>",
    "/v1/repository/targets/<path:name>",
}


def problem(answer: TestResponse) -> dict[str, Any]:
    assert answer.content_type == "application/problem+json"
    body: dict[str, Any] = answer.json  # type: ignore[assignment]
    assert set(body) == {"type", "title", "status", "detail", "code", "request_id", "retryable"}
    assert body["status"] == answer.status_code
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert body["retryable"] == ("Retry-After" in answer.headers)
    return body


def test_every_url_but_the_public_ones_needs_a_token(app: Flask, client: FlaskClient) -> None:
    closed = 0
    for rule in app.url_map.iter_rules():
        for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}:
            url = re.sub(r"<[^>]+>", "x", rule.rule)
            answers = [
                client.open(url, method=method, headers=headers) for headers in ({}, {"Authorization": "Bearer x"})
            ]
            is_refused = {answer.status_code for answer in answers} == {401}
            assert is_refused == (rule.rule not in PUBLIC), f"{method} {rule.rule}"
            closed += is_refused
    assert closed >= 3


def test_a_view_that_says_nothing_is_closed(app: Flask) -> None:
    app.add_url_rule("/forgotten", view_func=lambda: "secret", endpoint="forgotten")
    assert app.test_client().get("/forgotten").status_code == 401


@pytest.mark.parametrize(
    ("method", "url", "status", "code"),
    [
        ("GET", "/nothing", 404, "not-found"),
        ("GET", "/v1/events", 405, "method-not-allowed"),
        ("POST", "/v1/repository/metadata/timestamp.json", 405, "method-not-allowed"),
        ("NONSENSE", "/healthz", 405, "method-not-allowed"),
    ],
)
def test_what_is_not_served_is_a_problem(client: FlaskClient, method: str, url: str, status: int, code: str) -> None:
    answer = client.open(url, method=method)
    assert (answer.status_code, problem(answer)["code"]) == (status, code)
    assert (status == 405) == ("Allow" in answer.headers)


def test_a_mistake_of_the_server_tells_nothing_of_its_inside(app: Flask) -> None:
    def fail() -> str:
        raise RuntimeError("a secret path")

    fail.is_public = True  # type: ignore[attr-defined]
    app.add_url_rule("/fails", view_func=fail)
    with capture_logs() as logs:
        answer = app.test_client().get("/fails")
    assert problem(answer)["code"] == "internal-error"
    assert b"secret" not in answer.data
    assert [str(line["exc_info"]) for line in logs if line["log_level"] == "error"] == ["a secret path"]


@pytest.mark.parametrize(("sent", "is_kept"), [("abc-1.2_3", True), ("", False), ("a b", False), ("x" * 65, False)])
def test_every_answer_has_a_request_id(client: FlaskClient, sent: str, is_kept: bool) -> None:
    answer = client.get("/healthz", headers={"X-Request-Id": sent})
    found = answer.headers["X-Request-Id"]
    assert (found == sent) is is_kept
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", found)


def test_the_log_names_the_request_and_nobody(client: FlaskClient) -> None:
    with capture_logs() as logs:
        token = client.post("/v1/devices", json=DEVICE).json["token"]  # type: ignore[index]
        client.post("/v1/devices/token", headers={"Authorization": f"Bearer {token}"})
    assert [(line["route"], line["status"]) for line in logs] == [("/v1/devices", 201), ("/v1/devices/token", 200)]
    assert set(logs[0]) == {"event", "log_level", "method", "path", "route", "seconds", "status"}
    assert token not in str(logs)


def test_metrics_count_by_route_and_never_by_path(client: FlaskClient) -> None:
    for url in ("/healthz", "/healthz", "/nothing/1", "/nothing/2"):
        client.get(url)
    client.open("/healthz", method="STRANGE")
    found = client.get("/metrics").get_data(as_text=True)
    assert 'handlens_http_requests_total{method="GET",route="/healthz",status="200"} 2.0' in found
    assert 'handlens_http_requests_total{method="GET",route="unmatched",status="404"} 2.0' in found
    assert 'handlens_http_requests_total{method="other",route="unmatched",status="405"} 1.0' in found
    assert 'handlens_http_request_seconds_bucket{le="+Inf",method="GET",route="/healthz"} 2.0' in found


def test_a_server_with_nothing_published_is_ready_and_says_so(client: FlaskClient) -> None:
    assert client.get("/healthz").json == {"status": "alive"}
    assert client.get("/readyz").json == {"status": "ready", "repository": "nothing published"}


def test_readiness_needs_this_versions_schema(client: FlaskClient, database: Database) -> None:
    with database.session() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    answer = client.get("/readyz")
    assert (answer.status_code, problem(answer)["code"]) == (503, "database-unavailable")


def test_readiness_needs_a_repository_that_can_be_read(client: FlaskClient, config: Config) -> None:
    (config.repository_path / "metadata" / "timestamp.json").mkdir(parents=True)
    answer = client.get("/readyz")
    assert (answer.status_code, problem(answer)["code"]) == (503, "repository-unavailable")
    assert str(config.data_dir) not in answer.get_data(as_text=True)


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[FlaskClient]:
    """A server whose database is a damaged file."""
    config = Config(data_dir=tmp_path)
    config.database_path.write_bytes(b"not a database" * 100)
    app = create_app(config)
    yield app.test_client()
    app.extensions["handlens"].database.close()


CALLS = [
    ("POST", "/v1/devices", {"json": DEVICE}),
    ("POST", "/v1/devices/token", {"headers": {"Authorization": "Bearer x"}}),
    ("POST", "/v1/events", {"headers": {"Authorization": "Bearer x"}}),
    ("DELETE", "/v1/devices/self", {"headers": {"Authorization": "Bearer x"}}),
    ("GET", "/readyz", {}),
]


def check_unavailable(client: FlaskClient, inside: str) -> None:
    for method, url, more in CALLS:
        answer = client.open(url, method=method, **more)  # type: ignore[arg-type]
        assert (answer.status_code, problem(answer)["code"]) == (503, "database-unavailable"), url
        assert int(answer.headers["Retry-After"]) > 0
        assert inside not in answer.get_data(as_text=True)
    assert client.get("/healthz").status_code == 200


def test_a_damaged_database_is_unavailable_and_the_process_lives(broken: FlaskClient, tmp_path: Path) -> None:
    check_unavailable(broken, str(tmp_path))


@pytest.mark.heavy
def test_a_stopped_postgres_is_unavailable_until_it_is_back(
    postgres: Postgres, postgres_template: str, tmp_path: Path
) -> None:
    name = postgres.create(template=postgres_template)
    app = create_app(Config(data_dir=tmp_path, database_url=postgres.url(name)))
    client = app.test_client()
    assert client.get("/readyz").status_code == 200
    postgres.stop()
    try:
        check_unavailable(client, postgres.url(name)[-20:])
    finally:
        postgres.start()
    assert client.get("/readyz").status_code == 200
    assert client.post("/v1/devices", json=DEVICE).status_code == 201
    app.extensions["handlens"].database.close()
    postgres.drop(name)


def test_a_full_disk_is_told_and_stores_nothing(tmp_path: Path, sqlite_template: Path) -> None:
    config = Config(data_dir=tmp_path)
    config.database_path.write_bytes(sqlite_template.read_bytes())
    app = create_app(config)
    database: Database = app.extensions["handlens"].database
    client = app.test_client()
    with database.read() as session:
        pages = session.scalar(text("PRAGMA page_count")) or 0
        session.execute(text(f"PRAGMA max_page_count = {pages}"))
    answers = [
        client.post("/v1/devices", json={"device_id": f"4f4fbd5c-8b9f-4b2e-9d0f-{number:012}"}) for number in range(40)
    ]
    full = [answer for answer in answers if answer.status_code != 201]
    assert {(answer.status_code, problem(answer)["code"]) for answer in full} == {(507, "storage-full")}
    with database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM devices")) == len(answers) - len(full)
    database.close()


def test_a_busy_database_asks_for_patience(config: Config, database: Database, clock: Clock) -> None:
    app = create_app(replace(config, lock_seconds=1), clock=clock)
    client = app.test_client()
    token = client.post("/v1/devices", json=DEVICE).json["token"]  # type: ignore[index]
    with database.session() as session:
        session.execute(text("UPDATE devices SET seen_on = seen_on"))
        answer = client.post("/v1/devices/token", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, problem(answer)["code"]) == (503, "database-busy")
    app.extensions["handlens"].database.close()


TARGET = bytes(range(256)) * 40
NAME = f"packs/demo/{hashlib.sha256(TARGET).hexdigest()}.base-7.pack"


@pytest.fixture
def repository(config: Config) -> Path:
    """A repository with one target and some metadata."""
    folder = config.repository_path
    for path, data in {
        f"targets/{NAME}": TARGET,
        "targets/packs/demo/.work": b"half",
        "metadata/timestamp.json": b'{"version": 1}',
        "metadata/1.root.json": b"{}",
        "secret.json": b"{}",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    (config.data_dir / "keys.json").write_text("{}")
    return folder


def test_files_named_by_their_content_may_be_kept_for_ever(client: FlaskClient, repository: Path) -> None:
    for path, kind in ((f"targets/{NAME}", "application/octet-stream"), ("metadata/1.root.json", "application/json")):
        answer = client.get(f"/v1/repository/{path}")
        assert answer.status_code == 200
        assert answer.data == (repository / path).read_bytes()
        assert answer.content_type == kind
        assert answer.cache_control.immutable
        assert answer.cache_control.max_age == 31536000
        assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [("bytes=0-9", 0, 10), ("bytes=10000-", 10000, 10240), ("bytes=-5", 10235, 10240), ("bytes=10-99999", 10, 10240)],
)
def test_a_part_of_a_file_can_be_fetched(
    client: FlaskClient, repository: Path, wanted: str, start: int, end: int
) -> None:
    answer = client.get(f"/v1/repository/targets/{NAME}", headers={"Range": wanted})
    assert answer.status_code == 206
    assert answer.data == TARGET[start:end]
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(TARGET)}"
    assert answer.headers["Content-Length"] == str(end - start)


def test_a_part_that_is_not_there_is_a_problem(client: FlaskClient, repository: Path) -> None:
    answer = client.get(f"/v1/repository/targets/{NAME}", headers={"Range": "bytes=99999-"})
    assert (answer.status_code, problem(answer)["code"]) == (416, "requested-range-not-satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{len(TARGET)}"


def test_a_part_of_another_file_is_never_mixed_in(client: FlaskClient, repository: Path) -> None:
    url = f"/v1/repository/targets/{NAME}"
    etag = client.head(url).headers["ETag"]
    for condition, status in ((etag, 206), ('"another"', 200)):
        answer = client.get(url, headers={"Range": "bytes=5-", "If-Range": condition})
        assert answer.status_code == status


@pytest.mark.parametrize("path", ["metadata/timestamp.json", f"targets/{NAME}"])
def test_what_a_client_has_is_not_sent_again(client: FlaskClient, repository: Path, path: str) -> None:
    first = client.get(f"/v1/repository/{path}")
    again = client.get(f"/v1/repository/{path}", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_the_timestamp_is_asked_for_each_time(client: FlaskClient, repository: Path) -> None:
    url = "/v1/repository/metadata/timestamp.json"
    first = client.get(url)
    assert (first.data, first.content_type) == (b'{"version": 1}', "application/json")
    assert first.headers["Cache-Control"] == "no-cache"
    path = repository / "metadata" / "timestamp.json"
    times = path.stat()
    path.write_bytes(b'{"version": 2}')
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    second = client.get(url, headers={"If-None-Match": first.headers["ETag"]})
    assert (second.status_code, second.data) == (200, b'{"version": 2}')


@pytest.mark.parametrize(
    "path",
    ["metadata/../secret.json", "metadata/%2e%2e/secret.json", "metadata/..%2fsecret.json", "targets/../../keys.json",
     "metadata//etc/passwd", "metadata/%2fetc%2fpasswd", "metadata/..\\secret.json", "targets/packs/demo/.work",
     "targets/packs", "targets/", "metadata/2.root.json", "metadata/%00", f"metadata/{'x' * 300}", "secret.json", "",
     "metadata/1.root.json/", "metadata/timestamp.json/x"],
)  # fmt: skip
def test_nothing_outside_the_repository_is_served(client: FlaskClient, repository: Path, path: str) -> None:
    answer = client.get(f"/v1/repository/{path}")
    assert (answer.status_code, problem(answer)["code"]) == (404, "not-found")


def test_before_the_first_release_there_is_none(client: FlaskClient) -> None:
    answer = client.get("/v1/repository/metadata/timestamp.json")
    assert answer.status_code == 404
    assert problem(answer)["detail"] == "nothing is published yet"


def test_a_published_release_changes_what_readiness_tells(client: FlaskClient, repository: Path) -> None:
    first = client.get("/readyz").json
    (repository / "metadata" / "timestamp.json").write_text(json.dumps({"version": 2}))
    assert client.get("/readyz").json != first
