"""A partner's own items: taken whole or not at all, shown to nobody else, and found by the partner's own searches."""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from support.partner import token_of
from support.paths import QUERIES
from support.searching import multipart

from handlens.wire.item import Item
from handlens_server.catalogue import catalogue_lock, withdraw_items
from handlens_server.database import Database
from handlens_server.packs import Rule
from handlens_server.partner.partners import NewKey
from handlens_server.partner.tables import BatchRow
from handlens_server.tables import ItemRow

Call = Callable[..., Any]
TAJ = QUERIES / "images" / "taj-mahal.jpg"


def new_id() -> str:
    return f"b-{uuid.uuid4().hex[:12]}"


def item(own: str, **more: Any) -> dict[str, Any]:
    return {"id": own, "kind": "product", "object_type": "food", "title": f"Thing {own}", **more}


def put(call: Call, *items: dict[str, Any], batch: str = "", who: str = "acme live", **more: Any) -> Any:
    body = {**({"items": list(items)} if items else {}), **more}
    return call("PUT", f"/catalog/batches/{batch or new_id()}", who=who, json=body)


def outcomes(answer: Any) -> list[str]:
    assert answer.status_code in (200, 201), answer.text
    return [row["outcome"] for row in answer.json["rows"]]


def test_a_batch_adds_changes_and_leaves_alone(call: Call) -> None:
    first = put(call, item("sku-1"), item("sku-2"))
    assert (first.status_code, outcomes(first)) == (201, ["added", "added"])
    assert [row["item_id"] for row in first.json["rows"]] == ["acme.sku-1", "acme.sku-2"]
    second = put(call, item("sku-1", title="Another title"), item("sku-2"), item("sku-3"))
    assert outcomes(second) == ["changed", "unchanged", "added"]
    assert second.json["counts"]["added"] == 1
    assert call("GET", "/items/acme.sku-1").json["title"] == "Another title"


def test_the_same_body_again_is_answered_the_same_and_another_is_a_conflict(call: Call) -> None:
    batch = new_id()
    first = put(call, item("again"), batch=batch)
    again = put(call, item("again"), batch=batch)
    assert (first.status_code, again.status_code, again.json) == (201, 200, first.json)
    assert call("GET", f"/catalog/batches/{batch}").json == first.json
    other = put(call, item("again", title="changed"), batch=batch)
    assert (other.status_code, other.json["code"]) == (409, "batch-conflict")
    assert call("GET", "/items/acme.again").json["title"] == "Thing again"


@pytest.mark.parametrize("who", ["acme live", "acme test"])
def test_one_refused_row_refuses_the_batch_and_every_one_is_named(call: Call, database: Database, who: str) -> None:
    batch = new_id()
    answer = put(
        call,
        item("good-one"),
        item("good-one"),
        item("tagged", annotations={"NotLower": 1.0}),
        item("pictured", image=base64.b64encode(b"https://example.com/photo.jpg").decode()),
        batch=batch,
        who=who,
    )
    assert (answer.status_code, answer.json["code"]) == (422, "batch-refused")
    assert [(one["row"], one["id"], one["code"]) for one in answer.json["errors"]] == [
        (1, "good-one", "duplicate-id"),
        (2, "tagged", "bad-tag"),
        (3, "pictured", "picture-unreadable"),
    ]
    assert call("GET", f"/catalog/batches/{batch}", who=who).status_code == 404
    assert call("GET", "/items/acme.good-one", who=who).status_code == 404
    with database.read() as session:
        assert session.get(ItemRow, "acme.good-one") is None


def test_a_form_that_is_wrong_names_the_row_and_the_field(call: Call) -> None:
    answer = put(call, item("fine"), item("wrong", kind="gadget", surprise=1))
    assert (answer.status_code, answer.json["code"]) == (400, "request-invalid")
    assert {(one["row"], one["id"], one["pointer"]) for one in answer.json["errors"]} == {
        (1, "wrong", "/items/1"),
        (1, "wrong", "/items/1/kind"),
    }


def test_own_items_are_found_by_the_partner_and_by_nobody_else(call: Call) -> None:
    photo = TAJ.read_bytes()
    own = item(
        "taj",
        kind="place",
        object_type="place",
        image=base64.b64encode(photo).decode(),
        link="https://acme.example/taj",
    )
    assert outcomes(put(call, own)) == ["added"]
    sent = {"photo": base64.b64encode(photo).decode(), "max_results": 50}

    def found(who: str) -> set[str]:
        answer = call("POST", "/lens", who=who, json=sent).json
        return {one["item_id"] for tag in answer["tags"] for action in tag["actions"] for one in action["results"]}

    until = time.monotonic() + 30
    while "acme.taj" not in found("acme live"):
        assert time.monotonic() < until
    assert "acme.taj" not in found("other live")
    assert call("GET", "/items/acme.taj").json["own"]
    assert call("GET", "/items/acme.taj", who="other live").json["code"] == "item-unknown"


def test_a_batch_of_somebody_else_is_as_unknown_as_one_that_does_not_exist(call: Call) -> None:
    batch = new_id()
    put(call, item("mine"), batch=batch)
    foreign = call("GET", f"/catalog/batches/{batch}", who="other live")
    missing = call("GET", f"/catalog/batches/{new_id()}", who="other live")
    assert (
        (foreign.status_code, foreign.json["code"])
        == (missing.status_code, missing.json["code"])
        == (404, "batch-unknown")
    )
    assert outcomes(put(call, item("mine"), batch=batch, who="other live")) == ["added"]
    assert call("GET", "/items/other.mine", who="acme live").status_code == 404


def test_what_the_partner_withdrew_comes_back_and_what_the_operator_withdrew_does_not(
    call: Call, database: Database
) -> None:
    put(call, item("season"), item("banned"))
    gone = put(call, withdraw=["season"])
    assert (gone.status_code, outcomes(gone)) == (201, ["withdrawn"])
    assert call("GET", "/items/acme.season").status_code == 404
    with database.session() as session:
        withdraw_items(session, ["acme.banned"])
    assert outcomes(put(call, item("season"), item("banned"))) == ["restored", "blocked"]
    assert call("GET", "/items/acme.season").status_code == 200
    assert call("GET", "/items/acme.banned").status_code == 404


def test_withdrawing_what_is_not_there_changes_nothing(call: Call) -> None:
    put(call, item("stays"))
    answer = put(call, item("new-one"), withdraw=["stays", "never-was", "new-one"])
    assert [(one["pointer"], one["code"]) for one in answer.json["errors"]] == [
        ("/withdraw/1", "item-unknown"),
        ("/withdraw/2", "duplicate-id"),
    ]
    assert call("GET", "/items/acme.stays").status_code == 200
    assert call("GET", "/items/acme.new-one").status_code == 404


def test_a_kind_that_the_profile_does_not_allow_is_refused_by_row(call: Call) -> None:
    answer = put(call, item("a"), item("b", kind="place"), who="other live")
    assert [(one["row"], one["code"]) for one in answer.json["errors"]] == [(1, "kind-not-allowed")]


def test_a_partner_cannot_hold_more_items_than_its_quota(call: Call, database: Database) -> None:
    from test_lens import changed_profile

    with changed_profile(database, "other", quotas={"items": 0}):
        answer = put(call, item("too-many"), who="other live")
    assert (answer.status_code, answer.json["code"]) == (422, "items-over-quota")


def test_a_batch_while_another_import_runs_is_told_to_try_again(call: Call, backend: Any) -> None:
    with catalogue_lock(backend.config):
        answer = put(call, item("later"))
    assert (answer.status_code, answer.json["code"], answer.json["retryable"]) == (503, "catalogue-busy", True)
    assert int(answer.headers["Retry-After"]) > 0


def test_pages_hold_every_batch_once_and_new_ones_do_not_move_them(call: Call, database: Database) -> None:
    who = "other test"
    made = [new_id() for _ in range(7)]
    for batch in made:
        put(call, item(batch), batch=batch, who=who)
    seen: list[str] = []
    page = call("GET", "/catalog/batches?limit=3", who=who).json
    while True:
        seen += [one["batch_id"] for one in page["batches"]]
        if page["next_cursor"] is None:
            break
        put(call, item("between"), batch=f"0{new_id()}", who=who)
        page = call("GET", f"/catalog/batches?limit=3&cursor={page['next_cursor']}", who=who).json
    assert set(made) <= set(seen)
    assert len(seen) == len(set(seen))


def test_a_cursor_of_somebody_else_is_refused(call: Call) -> None:
    for _ in range(2):
        put(call, item("paged"), batch=new_id())
    cursor = call("GET", "/catalog/batches?limit=1").json["next_cursor"]
    for who in ("other live", "acme test"):
        answer = call("GET", f"/catalog/batches?cursor={cursor}", who=who)
        assert (answer.status_code, answer.json["code"]) == (422, "cursor-invalid")


class TestSandbox:
    def test_what_a_test_key_writes_is_not_live(self, call: Call, database: Database) -> None:
        batch = new_id()
        assert outcomes(put(call, item("tried"), batch=batch, who="acme test")) == ["added"]
        assert call("GET", "/items/acme.tried", who="acme test").json["own"]
        assert call("GET", "/items/acme.tried").status_code == 404
        assert call("GET", f"/catalog/batches/{batch}").status_code == 404
        with database.read() as session:
            assert session.get(ItemRow, "acme.tried") is None

    def test_a_reset_forgets_what_test_keys_wrote_and_nothing_else(self, call: Call, database: Database) -> None:
        put(call, item("kept"), batch="kept-batch")
        put(call, item("gone"), batch="gone-batch", who="acme test")
        assert call("POST", "/sandbox/reset", who="acme test").json["batches"] >= 1
        assert call("GET", "/catalog/batches/gone-batch", who="acme test").status_code == 404
        assert call("GET", "/items/acme.gone", who="acme test").status_code == 404
        assert call("GET", "/catalog/batches/kept-batch").status_code == 200
        with database.read() as session:
            assert not session.scalars(
                select(BatchRow).where(BatchRow.partner_id == "acme", BatchRow.mode == "test")
            ).all()

    def test_a_live_key_cannot_reset(self, call: Call) -> None:
        answer = call("POST", "/sandbox/reset")
        assert (answer.status_code, answer.json["code"]) == (403, "test-key-needed")


def test_a_device_is_never_shown_a_partners_own_item(call: Call, client: FlaskClient) -> None:
    photo = (QUERIES / "images" / "taj-mahal.jpg").read_bytes()
    put(call, item("for-acme-alone", kind="place", object_type="place", image=base64.b64encode(photo).decode()))
    token = client.post("/v1/devices", json={"device_id": str(uuid.uuid4())}).json["token"]  # type: ignore[index]
    body, kind = multipart(photo, {"limit": 100, "locale": ""})
    headers = {"Authorization": f"Bearer {token}"}

    def found() -> list[str]:
        answer = client.post("/v1/search", data=body, content_type=kind, headers=headers)
        objects = answer.json["objects"]  # type: ignore[index]
        return [match["item_id"] for one in objects for section in one["sections"] for match in section["matches"]]

    sent = {"photo": base64.b64encode(photo).decode(), "max_results": 100}
    until = time.monotonic() + 30
    while "acme.for-acme-alone" not in call("POST", "/lens", json=sent).get_data(as_text=True):
        assert time.monotonic() < until
    assert found()
    assert not [one for one in found() if one.startswith("acme.")]


def test_a_pack_holds_a_partners_own_item_only_where_its_rule_names_the_audience() -> None:
    own = Item("acme.x", "product", "food", "X", audience="partner:acme")
    assert not Rule().matches(own)
    assert not Rule(audience="teens").matches(own)
    assert not Rule(audience="partner:other").matches(own)
    assert Rule(audience="partner:acme").matches(own)


def test_one_batch_that_comes_several_times_at_once_is_done_once(
    call: Call, app: Flask, keys: dict[str, NewKey], database: Database
) -> None:
    token, batch = token_of(app.test_client(), keys["acme live"]), new_id()
    body = {"items": [item(f"once-{batch}")]}

    def send(_at: int) -> int:
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": str(uuid.uuid4())}
        return app.test_client().put(f"/partner/v1/catalog/batches/{batch}", json=body, headers=headers).status_code

    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(send, range(4)))
    assert statuses.count(201) == 1
    assert set(statuses) <= {200, 201, 503}
    assert put(call, *body["items"], batch=batch).status_code == 200
    with database.read() as session:
        assert session.get_one(ItemRow, f"acme.once-{batch}").feed == "partner:acme"
