"""The view of ``POST /partner/v1/lens``, apart from the others: its imports are heavy and wait for the first search."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flask import request
from werkzeug.exceptions import UnsupportedMediaType

from handlens_server.following import request_clock
from handlens_server.observing import request_id
from handlens_server.partner.admission import time_to_work
from handlens_server.partner.errors import PartnerError
from handlens_server.partner.feedback import insights_token
from handlens_server.partner.fixtures import fixture_result
from handlens_server.partner.guard import Caller
from handlens_server.partner.incoming import decoded_base64, json_body, lens_form
from handlens_server.partner.lens import SURFACE, lens_answer, lens_request, lens_scope
from handlens_server.partner.room import Room
from handlens_server.partner.showing import Shower
from handlens_server.partner.steady import ticket

if TYPE_CHECKING:
    from handlens.answering import Stopwatch
    from handlens.results import SearchResult

__all__ = ["answer_lens"]


def answer_lens(room: Room, who: Caller, address_of: Callable[[str, int], str]) -> dict[str, Any]:
    """The answer to the request that is being handled.

    Raises:
        PartnerError: it is not as the contract says, or asks for what the profile does not allow.
        HandlensError: it cannot be answered.
    """
    clock = request_clock()
    with clock.step("read"):
        picture, is_crop, values = _incoming()
    surface = values.get("surface", SURFACE)
    result = _search(room, who, picture, is_crop, values, surface, clock)
    now = room.services.clock()
    token, end = insights_token(room.signer, who, result.request_id, now)
    fills = {"surface": surface, "locale": values.get("locale", ""), "request_id": result.request_id}
    shower = Shower(who, address_of, fills)
    found = lens_answer(result, shower, surface, with_why=values.get("why", False))
    return {"request_id": result.request_id, "insights_token": token, "insights_expires_at": end, **found}


def _incoming() -> tuple[bytes | None, bool, dict[str, Any]]:
    """The picture, whether it is a crop, and what else is asked."""
    if request.mimetype == "multipart/form-data":
        name, picture, values = lens_form()
        if name == "crop" and "crop_area" in values:
            raise PartnerError(
                422, "crop-area-without-photo", "crop_area is an area of a photo: send one, or leave it out"
            )
        return picture, name == "crop", values
    if request.mimetype != "application/json":
        raise UnsupportedMediaType(
            f"the body's type is {request.mimetype[:80]!r}: send application/json or multipart/form-data"
        )
    values = json_body("lens")
    for name in ("photo", "crop"):
        if name in values:
            return decoded_base64(values[name], f"/{name}"), name == "crop", values
    return None, False, values


def _search(
    room: Room,
    who: Caller,
    picture: bytes | None,
    is_crop: bool,
    values: dict[str, Any],
    surface: str,
    clock: Stopwatch,
) -> SearchResult:
    asked = lens_request(values, who, request_id(), is_crop=is_crop)
    if who.is_test:
        return fixture_result(asked, picture)
    if asked.deadline_ms is not None:
        asked = replace(asked, deadline_ms=time_to_work(asked.deadline_ms))
    engine, scope, taken = room.services.searching.engine(), lens_scope(who, surface), ticket()
    begun = time.perf_counter()
    with taken.turn(kind="seen" if picture is None else "photo", deadline_ms=asked.deadline_ms):
        clock.add("line", begun, time.perf_counter())
        if picture is None:
            return engine.answer_seen(asked, clock, scope)
        return engine.answer_photo(picture, asked, clock, scope, too_late=taken.too_late)
