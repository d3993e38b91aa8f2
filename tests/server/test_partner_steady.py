"""The parts that keep the endpoint steady, around a small application: what each call is counted, refused and told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask, Response, request
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from support.clock import Clock
from werkzeug.test import TestResponse

from handlens_server.config import Config
from handlens_server.database import Database, next_sequence
from handlens_server.following import follow
from handlens_server.metrics import Metrics
from handlens_server.observing import observe
from handlens_server.partner.lifecycles import Lifecycle
from handlens_server.partner.steady import Answered, Steady, ticket
from handlens_server.problems import handle_problems
from handlens_server.searching import Searching
from handlens_server.services import Services
from handlens_server.tables import SequenceRow
from handlens_server.tracing import NoTracer


@dataclass
class Caller:
    """A partner as far as limits go."""

    partner_id: str = "acme"
    is_test: bool = False
    limits: Mapping[str, int] = field(default_factory=lambda: {"requests_per_minute": 100, "concurrent": 4})
    quotas: Mapping[str, int] = field(default_factory=lambda: {"requests_per_day": 1000})


@dataclass
class Endpoint:
    client: FlaskClient
    app: Flask
    who: Caller
    steady: Steady
    working: threading.Event
    go_on: threading.Event

    def post(self, path: str, *, key: str = "", **more: Any) -> TestResponse:
        headers = {**({"Idempotency-Key": key} if key else {}), **more.pop("headers", {})}
        return self.client.post(path, headers=headers, **{"json": {"n": 1}, **more})


@pytest.fixture
def endpoint(config: Config, database: Database, clock: Clock) -> Iterator[Endpoint]:
    app, who = Flask("small"), Caller()
    services = Services(config, database, Metrics(), clock, Searching(config, database, clock), NoTracer())
    steady = Steady(services)
    working, go_on = threading.Event(), threading.Event()
    observe(app, services.metrics)
    follow(app, services.tracer)

    def check() -> None:
        operation = request.path.removeprefix("/partner/")
        steady.before_access(operation)
        steady.after_access(who)

    app.before_request(check)
    steady.attend(app, "/partner")
    handle_problems(app, config)

    def count_up(session: Session) -> Answered:
        if request.get_json().get("fail"):
            raise ValueError("in the middle")
        return {"written": next_sequence(session, "catalogue")}, 201

    @app.post("/partner/write")
    def write() -> Response:
        return steady.once(who, count_up)

    @app.post("/partner/batch")
    def batch() -> Response:
        def work(keep: Any) -> Answered:
            with database.session() as session:
                answered = count_up(session)
                keep(session, answered)
            return answered

        return steady.around(who, work)

    @app.post("/partner/lens")
    def lens() -> dict[str, Any]:
        with ticket().turn(deadline_ms=request.get_json().get("deadline_ms")):
            working.set()
            assert go_on.wait(20)
        return {"waited": ticket().waited_ms >= 0}

    yield Endpoint(app.test_client(), app, who, steady, working, go_on)
    steady.close()


def code(answer: TestResponse) -> tuple[int, str]:
    body = answer.json or {}
    assert answer.content_type == "application/problem+json"
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert body["retryable"] == ("Retry-After" in answer.headers)
    return answer.status_code, str(body["code"])


def written(database: Database) -> int:
    with database.read() as session:
        return session.get_one(SequenceRow, "catalogue").value


@pytest.mark.parametrize("path", ["/partner/write", "/partner/batch"])
class TestWrites:
    def test_are_made_once_and_answered_again(self, endpoint: Endpoint, database: Database, path: str) -> None:
        first, again = endpoint.post(path, key="12345678"), endpoint.post(path, key='"12345678"')
        assert (first.status_code, first.json) == (again.status_code, again.json) == (201, {"written": 1})
        assert "Idempotency-Replayed" not in first.headers
        assert again.headers["Idempotency-Replayed"] == "true"
        assert written(database) == 1

    def test_without_a_key_or_with_a_wrong_one_are_refused(
        self, endpoint: Endpoint, database: Database, path: str
    ) -> None:
        assert code(endpoint.post(path)) == (400, "idempotency-key-missing")
        assert code(endpoint.post(path, key="short")) == (400, "idempotency-key-malformed")
        assert written(database) == 0

    def test_with_another_body_or_at_another_place_are_refused(
        self, endpoint: Endpoint, database: Database, path: str
    ) -> None:
        endpoint.post(path, key="12345678")
        assert code(endpoint.post(path, key="12345678", json={"n": 2})) == (422, "idempotency-key-reused")
        assert code(endpoint.post(f"{path}?more", key="12345678")) == (422, "idempotency-key-reused")
        assert written(database) == 1

    def test_that_fail_write_nothing_and_may_be_sent_again(
        self, endpoint: Endpoint, database: Database, path: str
    ) -> None:
        assert code(endpoint.post(path, key="12345678", json={"fail": 1})) == (500, "internal-error")
        assert endpoint.post(path, key="12345678").json == {"written": 1}
        assert written(database) == 1


class TestLimits:
    def test_every_answer_says_them(self, endpoint: Endpoint) -> None:
        answer = endpoint.post("/partner/write")
        assert answer.headers["RateLimit-Policy"] == '"requests";q=100;w=60, "day";q=1000;w=86400'
        assert answer.headers["RateLimit"].startswith('"requests";r=99;t=')
        assert '"day";r=999;t=43201' in answer.headers["RateLimit"]
        assert answer.headers["Server-Timing"].startswith("total;dur=")

    def test_beyond_the_window_calls_are_refused_and_not_counted_in_the_day(self, endpoint: Endpoint) -> None:
        endpoint.who.limits = {"requests_per_minute": 2, "concurrent": 4}
        for number in range(2):
            assert endpoint.post("/partner/write", key=f"1234567{number}").status_code == 201
        refused = endpoint.post("/partner/write", key="12345679")
        assert code(refused) == (429, "rate-limited")
        assert refused.headers["RateLimit"].startswith('"requests";r=0;t=')
        assert endpoint.post("/partner/write").headers["Retry-After"] == refused.headers["RateLimit"].split("t=")[1]
        endpoint.steady.forget(endpoint.who)
        assert '"day";r=997' in endpoint.post("/partner/write", key="12345679").headers["RateLimit"]

    def test_beyond_the_quota_calls_are_refused_until_tomorrow(self, endpoint: Endpoint, clock: Clock) -> None:
        endpoint.who.quotas = {"requests_per_day": 1}
        assert endpoint.post("/partner/write", key="12345678").status_code == 201
        refused = endpoint.post("/partner/write", key="12345679")
        assert code(refused) == (429, "quota-exceeded")
        assert refused.headers["Retry-After"] == "43201"
        clock.advance(hours=12, seconds=1)
        assert endpoint.post("/partner/write", key="12345679").status_code == 201

    def test_test_keys_are_counted_apart(self, endpoint: Endpoint) -> None:
        endpoint.who.quotas = {"requests_per_day": 1}
        assert endpoint.post("/partner/write", key="12345678").json == {"written": 1}
        endpoint.who.is_test = True
        assert endpoint.post("/partner/write", key="12345678").json == {"written": 2}

    def test_so_many_calls_at_once_and_no_more(self, endpoint: Endpoint) -> None:
        endpoint.who.limits = {"requests_per_minute": 100, "concurrent": 1}
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(endpoint.app.test_client().post, "/partner/lens", json={})
            assert endpoint.working.wait(20)
            assert code(endpoint.post("/partner/write", key="12345678")) == (429, "rate-limited")
            endpoint.go_on.set()
            assert first.result(20).status_code == 200
        assert endpoint.post("/partner/write", key="12345678").status_code == 201


class TestSearches:
    def test_beyond_what_a_worker_can_do_are_refused_with_when_to_come_back(self, endpoint: Endpoint) -> None:
        endpoint.who.limits = {"requests_per_minute": 100, "concurrent": 100}
        with ThreadPoolExecutor(6) as pool:
            taken = [pool.submit(endpoint.app.test_client().post, "/partner/lens", json={}) for _ in range(6)]
            until = time.monotonic() + 20
            while len(endpoint.steady.admission._inside) < 6:
                assert time.monotonic() < until
                time.sleep(0.002)
            refused = endpoint.post("/partner/lens", json={})
            assert code(refused) == (503, "overloaded")
            assert int(refused.headers["Retry-After"]) >= 1
            assert "RateLimit" not in refused.headers  # nothing of it was looked at
            assert code(endpoint.post("/partner/write")) == (400, "idempotency-key-missing")  # others go on
            endpoint.go_on.set()
            assert {one.result(20).status_code for one in taken} == {200}
        assert endpoint.post("/partner/lens", json={}).status_code == 200

    def test_that_waited_too_long_for_a_thread_are_refused(self, endpoint: Endpoint) -> None:
        endpoint.go_on.set()
        late = {"handlens.arrived": time.perf_counter() - 10}
        assert code(endpoint.post("/partner/lens", environ_overrides=late)) == (503, "overloaded")
        assert endpoint.post("/partner/write", key="12345678", environ_overrides=late).status_code == 201


class TestVersions:
    ENDING = Lifecycle(
        "1", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "2026-03-02T00:00:00Z", "https://a.example/"
    )

    def test_that_end_say_so_in_every_answer(self, endpoint: Endpoint) -> None:
        assert "Deprecation" not in endpoint.post("/partner/write").headers
        endpoint.steady.version = self.ENDING
        for key in ("", "12345678"):
            answer = endpoint.post("/partner/write", key=key)
            assert answer.headers["Deprecation"] == "@1769904000"
            assert answer.headers["Sunset"] == "Mon, 02 Mar 2026 00:00:00 GMT"
            assert 'rel="sunset"' in answer.headers["Link"]

    def test_that_are_gone_are_refused(self, endpoint: Endpoint, clock: Clock, database: Database) -> None:
        endpoint.steady.version = self.ENDING
        clock.advance(hours=12)
        assert code(endpoint.post("/partner/write", key="12345678")) == (410, "version-gone")
        assert written(database) == 0


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "expected"), [("rate-limited", (429, "rate-limited")), ("unavailable", (503, "overloaded"))]
    )
    def test_a_test_key_gets_what_it_asks_for_and_nothing_is_done(
        self, endpoint: Endpoint, database: Database, fault: str, expected: tuple[int, str]
    ) -> None:
        endpoint.who.is_test = True
        answer = endpoint.post("/partner/write", key="12345678", headers={"Handlens-Fault": fault})
        assert code(answer) == expected
        assert written(database) == 0
        assert endpoint.post("/partner/write", key="12345678").status_code == 201

    def test_a_malformed_answer_breaks_off(self, endpoint: Endpoint, database: Database) -> None:
        endpoint.who.is_test = True
        answer = endpoint.post("/partner/write", key="12345678", headers={"Handlens-Fault": "malformed"})
        assert (answer.status_code, answer.content_type) == (200, "application/json")
        with pytest.raises(ValueError, match="Unterminated"):
            json.loads(answer.data)
        assert written(database) == 0

    def test_a_slow_answer_is_the_answer(self, endpoint: Endpoint) -> None:
        endpoint.who.is_test = True
        answer = endpoint.post("/partner/write", key="12345678", headers={"Handlens-Fault": "slow;ms=60"})
        assert answer.json == {"written": 1}
        assert float(answer.headers["Server-Timing"].split("total;dur=")[1]) >= 60

    def test_a_live_key_is_refused_and_so_is_a_fault_that_there_is_not(
        self, endpoint: Endpoint, database: Database
    ) -> None:
        asked = {"Handlens-Fault": "slow"}
        assert code(endpoint.post("/partner/write", key="12345678", headers=asked)) == (403, "test-key-needed")
        endpoint.who.is_test = True
        asked = {"Handlens-Fault": "explode"}
        assert code(endpoint.post("/partner/write", key="12345678", headers=asked)) == (400, "fault-malformed")
        assert written(database) == 0
