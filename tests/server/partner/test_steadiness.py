"""The endpoint stays steady: writes are made once, limits and deadlines are kept, and test keys see fixtures."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from flask.testing import FlaskClient
from openapi_core.exceptions import OpenAPIError
from sqlalchemy import func, select
from support.backend import Backend
from support.partner import join, key_of, token_of
from support.paths import QUERIES
from support.searching import SPACE

from handlens_server.app import create_app
from handlens_server.database import Database
from handlens_server.partner.partners import set_disabled
from handlens_server.partner.tables import FeedbackRow

Call = Callable[..., Any]
SEEN = base64.b64encode(bytes([90]) * 128).decode()
PHOTO = base64.b64encode((QUERIES / "images" / "taj-mahal.jpg").read_bytes()).decode()
NOW = datetime.now(timezone.utc)


def feedback(call: Call, who: str = "acme test") -> dict[str, Any]:
    token = call("POST", "/lens", who=who, json={"photo": PHOTO}).json["insights_token"]
    event = {"event_id": str(uuid.uuid4()), "kind": "opened", "at": "2026-03-01T12:00:01Z"}
    return {"insights_token": token, "events": [event]}


def code_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json["code"]


def events(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(FeedbackRow)) or 0


class TestWrites:
    def test_feedback_is_stored_once_and_answered_again(self, call: Call, database: Database) -> None:
        body, key, before = feedback(call), {"Idempotency-Key": str(uuid.uuid4())}, events(database)
        first = call("POST", "/feedback", who="acme test", json=body, headers=key)
        again = call("POST", "/feedback", who="acme test", json=body, headers=key)
        assert first.json == again.json == {"stored": 1, "known": 0}
        assert (first.headers.get("Idempotency-Replayed"), again.headers["Idempotency-Replayed"]) == (None, "true")
        assert events(database) == before + 1
        body["events"][0]["kind"] = "saved"
        other = call("POST", "/feedback", who="acme test", json=body, headers=key)
        assert code_of(other) == (422, "idempotency-key-reused")

    @pytest.mark.parametrize("who", ["acme live", "acme test"])
    def test_a_batch_is_done_once_and_answered_again(self, call: Call, who: str) -> None:
        path, key = f"/catalog/batches/{uuid.uuid4()}", {"Idempotency-Key": str(uuid.uuid4())}
        body = {"items": [{"id": "once", "kind": "product", "object_type": "food", "title": str(uuid.uuid4())}]}
        first = call("PUT", path, who=who, json=body, headers=key)
        again = call("PUT", path, who=who, json=body, headers=key)
        assert (first.status_code, again.status_code, first.json) == (201, 201, again.json)
        assert again.headers["Idempotency-Replayed"] == "true"
        with_another_key = call("PUT", path, who=who, json=body)
        assert (with_another_key.status_code, with_another_key.json) == (200, first.json)

    def test_a_batch_that_is_refused_lets_its_key_go(self, call: Call) -> None:
        path, key = f"/catalog/batches/{uuid.uuid4()}", {"Idempotency-Key": str(uuid.uuid4())}
        refused = call("PUT", path, json={"withdraw": ["never-there"]}, headers=key)
        assert code_of(refused) == (422, "batch-refused")
        body = {"items": [{"id": "ok", "kind": "product", "object_type": "food", "title": "Corrected"}]}
        assert call("PUT", path, json=body, headers=key).status_code == 201

    def test_a_reset_forgets_what_test_keys_wrote_their_keys_too(self, call: Call) -> None:
        body, key = feedback(call), {"Idempotency-Key": str(uuid.uuid4())}
        assert call("POST", "/feedback", who="acme test", json=body, headers=key).json["stored"] == 1
        reset = call("POST", "/sandbox/reset", who="acme test")
        assert reset.status_code == 200
        again = call("POST", "/feedback", who="acme test", json=body, headers=key)
        assert "Idempotency-Replayed" not in again.headers
        assert again.json == {"stored": 1, "known": 0}


class TestFixtures:
    def test_a_test_key_finds_the_same_whatever_it_shows_and_whenever(self, call: Call) -> None:
        answers = [
            call("POST", "/lens", who="acme test", json={**one, "locale": "en"}).json
            for one in ({"photo": PHOTO}, {"photo": PHOTO}, {"space": SPACE, "objects": [{"embedding": SEEN}]})
        ]
        assert answers[0]["tags"] == answers[1]["tags"] == answers[2]["tags"]
        assert [tag["object"] for tag in answers[0]["tags"]] == ["orange", "plate"]
        assert [action["intent"] for action in answers[0]["tags"][0]["actions"]] == [
            "recipes", "how_to", "shop", "place",
        ]  # fmt: skip
        assert answers[0]["served"]["release"] == "fixtures"

    def test_kinds_limits_and_the_profile_act_as_for_live_keys(self, call: Call) -> None:
        def found(who: str, **more: Any) -> list[str]:
            answer = call("POST", "/lens", who=who, json={"photo": PHOTO, **more}).json
            return [one["kind"] for tag in answer["tags"] for action in tag["actions"] for one in action["results"]]

        assert found("acme test", max_results=3) == ["recipe", "recipe", "how_to"]
        assert found("acme test", kinds=["place"]) == ["place"]
        assert set(found("other test")) == {"recipe", "product"}
        assert found("acme test", refine="nothing") == []

    def test_a_picture_must_be_one(self, call: Call) -> None:
        broken = base64.b64encode(b"no picture at all").decode()
        assert code_of(call("POST", "/lens", who="acme test", json={"photo": broken})) == (422, "photo-unusable")

    def test_with_a_short_deadline_the_answer_is_degraded_and_says_so(self, call: Call) -> None:
        answer = call("POST", "/lens", who="acme test", json={"photo": PHOTO, "deadline_ms": 20}).json
        assert (answer["degraded"], answer["left_out"][0]["source"], answer["left_out"][0]["late"]) == (
            True, "curated", True,
        )  # fmt: skip

    def test_an_item_that_was_found_opens_with_a_test_key_only(self, call: Call) -> None:
        answer = call("POST", "/lens", who="acme test", json={"photo": PHOTO}).json
        found = answer["tags"][0]["actions"][-1]["results"][0]
        opened = call("GET", f"/items/{found['item_id']}", who="acme test")
        assert (opened.json["title"], opened.json["attribution"]["licence"]) == (found["title"], "CC BY 4.0")
        assert code_of(call("GET", f"/items/{found['item_id']}")) == (404, "item-unknown")


class TestFaults:
    @pytest.mark.parametrize(
        ("fault", "expected"), [("rate-limited", (429, "rate-limited")), ("unavailable", (503, "overloaded"))]
    )
    def test_come_to_who_asks_with_a_test_key(self, call: Call, fault: str, expected: tuple[int, str]) -> None:
        answer = call("GET", "/ping", who="acme test", headers={"Handlens-Fault": fault})
        assert code_of(answer) == expected
        assert answer.headers["Retry-After"] == "1"

    def test_a_malformed_answer_breaks_the_contract(self, call: Call) -> None:
        with pytest.raises(OpenAPIError):
            call("GET", "/ping", who="acme test", headers={"Handlens-Fault": "malformed"})

    def test_a_live_key_is_refused(self, call: Call) -> None:
        assert code_of(call("GET", "/ping", headers={"Handlens-Fault": "slow"})) == (403, "test-key-needed")


class TestEveryAnswer:
    def test_says_limits_trace_and_milliseconds(self, call: Call) -> None:
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        answer = call("POST", "/lens", json={"photo": PHOTO}, headers={"traceparent": f"00-{trace}-{'1' * 16}-01"})
        assert answer.headers["RateLimit-Policy"] == '"requests";q=600;w=60, "day";q=1000000;w=86400'
        assert answer.headers["traceparent"].startswith(f"00-{trace}-")
        steps = [one.split(";")[0] for one in answer.headers["Server-Timing"].split(", ")]
        assert steps[:3] == ["queue", "read", "line"]
        assert {"decode", "detect", "embed", "index", "understand", "sources", "blend"} <= set(steps)
        assert steps[-1] == "total"

    def test_a_deadline_that_is_over_at_once_is_refused_as_too_short(self, call: Call) -> None:
        for _ in range(3):  # until the server knows what a search takes
            assert call("POST", "/lens", json={"photo": PHOTO}).status_code == 200
        assert code_of(call("POST", "/lens", json={"photo": PHOTO, "deadline_ms": 1})) == (422, "deadline-too-short")


class TestTheSwitch:
    def test_turns_a_partner_off_in_every_process_with_its_next_call_and_on_again(
        self, backend: Backend, database: Database, client: FlaskClient
    ) -> None:
        join(database, "switched", NOW)
        key = key_of(database, "switched", NOW)
        other = create_app(backend.config)
        clients = [client, other.test_client()]
        sent = {"Authorization": f"Bearer {token_of(client, key)}"}
        for is_off, expected in ((False, 200), (True, 403), (False, 200)):
            with database.session() as session:
                set_disabled(session, "switched", is_off, NOW)
            answers = [one.get("/partner/v1/ping", headers=sent) for one in clients]
            assert [one.status_code for one in answers] == [expected] * 2
            if is_off:
                assert {code_of(one) for one in answers} == {(403, "partner-disabled")}
        other.extensions["handlens"].close()


class TestLimits:
    def test_are_those_of_the_profile(self, database: Database, client: FlaskClient) -> None:
        join(database, "small", NOW, limits={"requests_per_minute": 2}, quotas={"requests_per_day": 5})
        sent = {"Authorization": f"Bearer {token_of(client, key_of(database, 'small', NOW))}"}
        answers = [client.get("/partner/v1/ping", headers=sent) for _ in range(3)]
        assert [one.status_code for one in answers] == [200, 200, 429]
        assert answers[0].headers["RateLimit-Policy"] == '"requests";q=2;w=60, "day";q=5;w=86400'
        assert code_of(answers[2]) == (429, "rate-limited")
        assert 1 <= int(answers[2].headers["Retry-After"]) <= 60
