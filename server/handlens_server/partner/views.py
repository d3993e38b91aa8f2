"""The views under ``/partner/v1``: each takes what was checked, calls one function, and answers with its record."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

from flask import Blueprint, Flask, Response, g, json, make_response, request, url_for
from sqlalchemy.orm import Session

from handlens_server.partner.batches import BatchRoom, batch_of, put_batch
from handlens_server.partner.catalogue_reads import batch_page, item_of, picture_of, thumbnail, thumbnail_ticket
from handlens_server.partner.contract_file import contract
from handlens_server.partner.errors import PartnerError
from handlens_server.partner.feedback import read_insights_token, store_feedback
from handlens_server.partner.guard import Caller, caller
from handlens_server.partner.incoming import check_parameters, form_fields, json_body
from handlens_server.partner.lens_views import answer_lens
from handlens_server.partner.oauth import as_oauth
from handlens_server.partner.page import PAGE_POLICY, asset, page
from handlens_server.partner.room import Room
from handlens_server.partner.sandbox import require_test_key, reset_sandbox
from handlens_server.partner.showing import Shower
from handlens_server.partner.steady import Answered
from handlens_server.partner.usage import usage_of
from handlens_server.services import Services
from handlens_server.times import day_of, text_of

__all__ = ["blueprint"]

_PICTURE_SECONDS = 86_400  # a thumbnail may be kept for a day
_CONTRACT_SECONDS = 300


def blueprint(services: Services) -> Blueprint:
    """All views of the partner endpoint."""
    views = Blueprint("partner", __name__, url_prefix="/partner/v1")
    room = Room(services)
    services.others.extend((room.usage, room.steady))
    views.record_once(lambda state: room.steady.attend(cast("Flask", state.app), views.url_prefix or ""))
    _access(views, room)
    _lens(views, room)
    _catalogue(views, room)
    _batches(views, room)
    _account(views, room)
    _documents(views, room)
    views.after_request(functools.partial(_count, room))
    return views


def _access(views: Blueprint, room: Room) -> None:
    @views.post("/oauth/token")
    @room.guard.open_to_all("createToken")
    def create_token() -> Response:
        check_parameters("createToken")
        try:
            form = form_fields("createToken")
        except PartnerError as error:
            raise as_oauth(error) from error
        response = make_response(room.tokens.answer(form, request.headers.get("Authorization", "")))
        response.headers["Cache-Control"] = "no-store"
        return response

    @views.get("/ping")
    @room.guard.needs("ping")
    def ping() -> dict[str, Any]:
        check_parameters("ping")
        who = caller()
        return {
            "partner": who.partner_id,
            "mode": who.mode,
            "key_id": who.key_id,
            "scopes": sorted(who.scopes),
            "contract": contract().version,
            "time": text_of(room.services.clock()),
        }


def _lens(views: Blueprint, room: Room) -> None:
    @views.post("/lens")
    @room.guard.needs("lens", "lens")
    def lens() -> dict[str, Any]:
        check_parameters("lens")
        return answer_lens(room, caller(), functools.partial(_address, room))

    @views.post("/feedback")
    @room.guard.needs("sendFeedback", "feedback")
    def send_feedback() -> Response:
        check_parameters("sendFeedback")
        values, who, now = json_body("sendFeedback"), caller(), room.services.clock()

        def write(session: Session) -> Answered:
            answered = read_insights_token(room.signer, who, values["insights_token"], now)
            return store_feedback(session, who, answered, values["events"], now), 200

        return room.steady.once(who, write)


def _catalogue(views: Blueprint, room: Room) -> None:
    @views.get("/items/<path:item_id>")
    @room.guard.needs("getItem", "items:read")
    def get_item(item_id: str) -> dict[str, Any]:
        check_parameters("getItem")
        who = caller()
        with room.services.database.read() as session:
            found = item_of(session, who, item_id)
        return Shower(who, functools.partial(_address, room), {}).item(found)

    @views.get("/thumbnails/<ticket>")
    @room.guard.open_to_all("getThumbnail")
    def get_thumbnail(ticket: str) -> Response:
        check_parameters("getThumbnail")
        with room.services.database.read() as session:
            sha256, side = picture_of(session, room.signer, ticket, room.services.clock())
        response = make_response(thumbnail(room.services.config, sha256, side))
        response.content_type = "image/webp"
        response.set_etag(f"{sha256[:40]}-{side}")
        response.headers["Cache-Control"] = f"public, max-age={_PICTURE_SECONDS}"
        return cast(Response, response.make_conditional(request))


def _batches(views: Blueprint, room: Room) -> None:
    services = room.services
    batches = BatchRoom(services.config, services.database, lambda: services.searching.engine().picture_embedder())

    @views.get("/catalog/batches")
    @room.guard.needs("listBatches", "catalog:read")
    def list_batches() -> Response:
        query, who = check_parameters("listBatches"), caller()
        limit, cursor = int(query["limit"]), query.get("cursor")
        with services.database.read() as session:
            found = batch_page(session, room.signer, who, limit=limit, cursor=cursor, now=services.clock())
        response = make_response(found)
        if found["next_cursor"] is not None:
            following = url_for("partner.list_batches", limit=limit, cursor=found["next_cursor"])
            response.headers["Link"] = f'<{following}>; rel="next"'
        return response

    @views.put("/catalog/batches/<batch_id>")
    @room.guard.needs("putBatch", "catalog:write")
    def do_batch(batch_id: str) -> Response:
        check_parameters("putBatch")
        values, who, body = json_body("putBatch"), caller(), request.get_data()

        def work(keep: Callable[[Session, Answered], None]) -> Answered:
            def kept(session: Session, answer: dict[str, Any]) -> None:
                keep(session, (answer, 201))

            answer, is_new = put_batch(batches, who, batch_id, body, values, services.clock(), kept)
            return answer, 201 if is_new else 200

        return room.steady.around(who, work)

    @views.get("/catalog/batches/<batch_id>")
    @room.guard.needs("getBatch", "catalog:read")
    def get_batch(batch_id: str) -> dict[str, Any]:
        check_parameters("getBatch")
        with services.database.read() as session:
            row = batch_of(session, caller(), batch_id)
        if row is None:
            raise PartnerError(404, "batch-unknown", "there is no such batch of yours")
        answer: dict[str, Any] = json.loads(row.answer)
        return answer


def _account(views: Blueprint, room: Room) -> None:
    @views.get("/usage")
    @room.guard.needs("getUsage", "usage:read")
    def get_usage() -> dict[str, Any]:
        query, who = check_parameters("getUsage"), caller()
        room.usage.flush()
        today = day_of(room.services.clock())
        with room.services.database.read() as session:
            return usage_of(session, who.partner_id, who.mode, query.get("from"), query.get("to"), today)

    @views.post("/sandbox/reset")
    @room.guard.needs("resetSandbox", "sandbox")
    def reset() -> Response:
        check_parameters("resetSandbox")
        who = caller()
        require_test_key(who)
        room.steady.forget(who)
        return room.steady.once(who, lambda session: (reset_sandbox(session, who), 200))


def _documents(views: Blueprint, room: Room) -> None:
    @views.get("/openapi.json")
    @room.guard.open_to_all("getContract")
    def get_contract() -> Response:
        check_parameters("getContract")
        response = Response(contract().text, content_type="application/json")
        response.set_etag(contract().etag)
        response.headers["Cache-Control"] = f"public, max-age={_CONTRACT_SECONDS}"
        return cast(Response, response.make_conditional(request))

    @views.get("/docs")
    @room.guard.open_to_all("getDocs")
    def get_docs() -> Response:
        check_parameters("getDocs")
        return _for_browsers(Response(page(url_for("partner.get_contract")), content_type="text/html; charset=utf-8"))

    @views.get("/docs/<name>")
    @room.guard.open_to_all("")
    def get_asset(name: str) -> Response:
        data, kind = asset(name)
        response = _for_browsers(Response(data, content_type=kind))
        response.headers["Cache-Control"] = f"public, max-age={_PICTURE_SECONDS}"
        return response


def _for_browsers(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = PAGE_POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _address(room: Room, item_id: str, side: int) -> str:
    ticket = thumbnail_ticket(room.signer, item_id, side)
    return url_for("partner.get_thumbnail", ticket=ticket, _external=True)


def _count(room: Room, response: Response) -> Response:
    who: Caller | None = g.get("partner_caller")
    operation = g.get("partner_operation", "")
    if who is not None and operation:
        room.usage.count(who.partner_id, who.mode, operation, response.status_code)
    return response
