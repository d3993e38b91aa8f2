"""``POST /partner/v1/lens``: what a camera is told, and that it is told no more than its partner may show."""

from __future__ import annotations

import base64
import io
import json
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image
from sqlalchemy import select
from support.paths import CATALOG, QUERIES
from support.searching import SPACE

from handlens_server.database import Database
from handlens_server.partner.feedback import export_feedback
from handlens_server.partner.tables import PartnerRow
from handlens_server.retention import prune_events
from handlens_server.tables import EmbeddingRow, ItemRow
from handlens_server.times import utc_now

Call = Callable[..., Any]
TAJ = QUERIES / "images" / "taj-mahal.jpg"
DIM = 128


def coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def code(database: Database) -> str:
    """The embedding of an item's photograph."""
    lines = (CATALOG / "items.jsonl").read_text("utf-8").splitlines()
    shown = next(item["item_id"] for item in map(json.loads, lines) if item.get("image"))
    query = select(EmbeddingRow.codes).join(ItemRow, ItemRow.picture == EmbeddingRow.picture)
    with database.read() as session:
        return coded(session.scalars(query.where(ItemRow.item_id == shown)).one()[:DIM])


def lens(call: Call, **more: Any) -> dict[str, Any]:
    who = more.pop("who", "acme live")
    answer = call("POST", "/lens", who=who, json=more)
    assert answer.status_code == 200, answer.text
    return dict(answer.json)


def seen(code: str, **more: Any) -> dict[str, Any]:
    return {"space": SPACE, "objects": [{"embedding": code}], **more}


def results(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for tag in answer["tags"]:
        for action in tag["actions"]:
            yield from action["results"]


def form(**parts: Any) -> dict[str, Any]:
    """A form: bytes are files, anything else is the part `request`."""
    files = {name: (io.BytesIO(data), f"{name}.bin") for name, data in parts.items() if isinstance(data, bytes)}
    return {"data": files | {name: json.dumps(data) for name, data in parts.items() if not isinstance(data, bytes)}}


class TestAnswers:
    def test_a_photo_gets_tags_with_actions_thumbnails_links_and_attribution(self, call: Call) -> None:
        answer = lens(call, photo=coded(TAJ.read_bytes()), surface="camera", locale="en", max_results=12, why=True)
        main = answer["tags"][0]
        assert (main["type"], main["main"], answer["degraded"], answer["left_out"]) == ("place", True, False, [])
        found = list(results({"tags": [main]}))
        assert 1 <= len(found) <= 12
        assert all(one["why"]["reason"] for one in found)
        linked = next(one for one in found if one["link"])
        assert linked["link"].startswith("https://go.acme.example/o?u=https%3A%2F%2Fexample.com%2F")
        pictured = next(one for one in found if one["thumbnails"] and one["attribution"])
        assert [one["side"] for one in pictured["thumbnails"]] == [320]
        assert pictured["attribution"]["licence"] in pictured["attribution"]["text"]

    def test_a_form_and_json_are_answered_alike(self, call: Call) -> None:
        photo, rest = TAJ.read_bytes(), {"locale": "en", "max_results": 3, "surface": "gallery"}
        by_json = lens(call, photo=coded(photo), **rest)
        by_form = call("POST", "/lens", **form(photo=photo, request=rest)).json
        assert by_form["tags"]
        assert titles(by_form) == titles(by_json)

    def test_a_crop_is_searched_as_what_it_shows(self, call: Call) -> None:
        (tag,) = lens(call, crop=coded(TAJ.read_bytes()))["tags"]
        assert tag["box"] == [0.0, 0.0, 1.0, 1.0]

    def test_an_area_of_the_photo_is_searched_alone(self, call: Call) -> None:
        (tag,) = lens(call, photo=coded(TAJ.read_bytes()), crop_area=[0.2, 0.1, 0.8, 0.9])["tags"]
        assert tag["box"] == [0.2, 0.1, 0.8, 0.9]

    def test_what_the_camera_saw_itself_is_enough(self, call: Call, code: str) -> None:
        answer = lens(call, **seen(code))
        assert list(results(answer))
        numbers = [float(one) for one in memoryview(base64.b64decode(code)).cast("b")]
        again = lens(call, space=SPACE, objects=[{"embedding": numbers}])
        assert [one["item_id"] for one in results(again)] == [one["item_id"] for one in results(answer)]

    def test_only_kinds_that_were_asked_for_are_offered(self, call: Call) -> None:
        photo = coded((QUERIES / "images" / "taj-mahal.jpg").read_bytes())
        answer = lens(call, photo=photo, kinds=["article", "place"])
        assert {one["kind"] for one in results(answer)} <= {"article", "place"}
        assert list(results(answer))

    def test_sources_after_the_deadline_are_left_out_and_named(self, call: Call, code: str) -> None:
        answer = lens(call, **seen(code, deadline_ms=1))
        assert answer["degraded"] == bool(answer["left_out"])
        assert all(one["late"] for one in answer["left_out"])

    def test_a_thumbnail_opens_without_credentials_in_the_size_that_was_promised(
        self, call: Call, client: FlaskClient
    ) -> None:
        answer = lens(call, photo=coded(TAJ.read_bytes()))
        url = next(one["thumbnails"][0]["url"] for one in results(answer) if one["thumbnails"])
        got = client.get(url.removeprefix("http://localhost"))
        assert (got.status_code, got.content_type) == (200, "image/webp")
        assert max(Image.open(io.BytesIO(got.data)).size) <= 320
        forged = client.get(url.removeprefix("http://localhost")[:-1] + ("A" if url[-1] != "A" else "B"))
        assert forged.status_code == 404


def titles(answer: dict[str, Any]) -> list[tuple[str, str, float]]:
    return [(one["item_id"], one["title"], one["score"]) for one in results(answer)]


class TestProfiles:
    def test_a_partner_sees_no_kind_that_its_profile_does_not_allow(self, call: Call) -> None:
        photo = coded(TAJ.read_bytes())
        assert {one["kind"] for one in results(lens(call, who="other live", photo=photo))} <= {"recipe", "product"}

    @pytest.mark.parametrize(
        ("more", "told"), [({"kinds": ["article"]}, "kind-not-allowed"), ({"locale": "de"}, "locale-not-allowed")]
    )
    def test_what_the_profile_does_not_allow_is_refused(self, call: Call, code: str, more: Any, told: str) -> None:
        answer = call("POST", "/lens", who="other live", json=seen(code, **more))
        assert (answer.status_code, answer.json["code"]) == (422, told)

    def test_a_surface_may_put_an_intent_first(self, call: Call, database: Database) -> None:
        photo = coded(TAJ.read_bytes())
        usual = [action["intent"] for action in lens(call, photo=photo)["tags"][0]["actions"]]
        assert len(set(usual)) >= 2
        last = usual[-1]
        with changed_profile(database, "acme", first_intents={"screenshot": [last]}):
            turned = [
                action["intent"] for action in lens(call, photo=photo, surface="screenshot")["tags"][0]["actions"]
            ]
            assert turned[0] == last
            assert sorted(turned) == sorted(usual)
            still = [action["intent"] for action in lens(call, photo=photo, surface="camera")["tags"][0]["actions"]]
            assert still == usual

    def test_a_policy_of_the_profile_takes_the_place_of_the_releases(self, call: Call, database: Database) -> None:
        from support.paths import MODELS

        policy = json.loads((MODELS / "policy.json").read_text("utf-8")) | {"version": "acme-7"}
        photo = coded(TAJ.read_bytes())
        with changed_profile(database, "acme", surface_policies={"browser": policy}):
            assert lens(call, photo=photo, surface="browser")["served"]["policy"] == "acme-7"
            assert lens(call, photo=photo)["served"]["policy"] != "acme-7"


class changed_profile:  # noqa: N801
    """A partner with more in its profile, for a while."""

    def __init__(self, database: Database, partner_id: str, **more: Any) -> None:
        self._database, self._partner_id, self._more = database, partner_id, more

    def __enter__(self) -> None:
        with self._database.session() as session:
            row = session.get_one(PartnerRow, self._partner_id)
            self._former = row.profile
            row.profile = json.dumps(json.loads(row.profile) | self._more)

    def __exit__(self, *_error: object) -> None:
        with self._database.session() as session:
            session.get_one(PartnerRow, self._partner_id).profile = self._former


class TestFeedback:
    def test_an_event_is_stored_once_however_often_it_is_sent(self, call: Call, code: str) -> None:
        token = lens(call, **seen(code))["insights_token"]
        events = [event(), event(kind="saved")]
        sent = {"insights_token": token, "events": events}
        assert call("POST", "/feedback", json=sent).json == {"stored": 2, "known": 0}
        assert call("POST", "/feedback", json={**sent, "events": [*events, event()]}).json == {"stored": 1, "known": 2}

    @pytest.mark.parametrize("who", ["other live", "acme test"])
    def test_a_token_of_somebody_else_is_refused_and_nothing_is_stored(self, call: Call, code: str, who: str) -> None:
        token = lens(call, **seen(code))["insights_token"]
        sent = {"insights_token": token, "events": [event()]}
        answer = call("POST", "/feedback", who=who, json=sent)
        assert (answer.status_code, answer.json["code"]) == (422, "insights-token-invalid")
        assert call("POST", "/feedback", json=sent).json == {"stored": 1, "known": 0}

    def test_the_operator_reads_it_and_it_is_forgotten_in_time(self, call: Call, code: str, database: Database) -> None:
        answer, sent = lens(call, **seen(code)), event(kind="dismissed")
        call("POST", "/feedback", json={"insights_token": answer["insights_token"], "events": [sent]})
        with database.read() as session:
            lines = [json.loads(line) for line in export_feedback(session, "acme")]
        (found,) = (line for line in lines if line["event_id"] == sent["event_id"])
        assert (found["kind"], found["request_id"]) == ("dismissed", answer["request_id"])
        assert prune_events(database, utc_now() + timedelta(days=401), 400) >= 1
        with database.read() as session:
            assert list(export_feedback(session, "acme")) == []

    def test_a_token_that_was_changed_is_refused(self, call: Call, code: str) -> None:
        token = lens(call, **seen(code))["insights_token"]
        answer = call("POST", "/feedback", json={"insights_token": f"A{token}", "events": [event()]})
        assert (answer.status_code, answer.json["code"]) == (422, "insights-token-invalid")


def event(**more: Any) -> dict[str, Any]:
    return {"event_id": str(uuid.uuid4()), "kind": "opened", "at": "2026-03-01T12:00:00Z", **more}


def eventually(holds: Callable[[], bool]) -> None:
    """Wait for what the server takes over behind the searches."""
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)
