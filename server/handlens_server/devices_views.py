"""``/v1/devices``: enrol, rotate the token, erase."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request
from flask_limiter import Limiter
from sqlalchemy.exc import IntegrityError

from handlens.wire.fields import load_object
from handlens_server.access import bearer_token, open_to_revoked, public
from handlens_server.devices import Credentials, DeviceExistsError, Enrolment, enrol, rotate
from handlens_server.events import erase_device
from handlens_server.services import Services

__all__ = ["blueprint"]

_MAX_BODY = 10_000  # bytes of an enrolment


def blueprint(services: Services, limiter: Limiter) -> Blueprint:
    """The views at ``/v1/devices``; enrolments of one address are limited."""
    views = Blueprint("devices", __name__, url_prefix="/v1/devices")

    @views.post("")
    @limiter.limit(f"{services.config.enrolments_per_hour} per hour")
    @public
    def enrol_device() -> tuple[dict[str, Any], int]:
        request.max_content_length = _MAX_BODY
        wanted = Enrolment.from_dict(load_object(request.get_data(cache=False), what="enrolment"))
        return _enrol(services, wanted).to_dict(), 201

    @views.post("/token")
    def rotate_token() -> dict[str, Any]:
        with services.database.session() as session:
            return rotate(session, bearer_token(), services.clock(), services.config).to_dict()

    @views.delete("/self")
    @open_to_revoked
    def erase() -> tuple[str, int]:
        with services.database.session() as session:
            erase_device(session, bearer_token(), services.clock())
        return "", 204

    return views


def _enrol(services: Services, wanted: Enrolment) -> Credentials:
    try:
        with services.database.session() as session:
            return enrol(session, wanted, bearer_token(), services.clock(), services.config)
    except IntegrityError as error:  # another request enrolled the same id in this moment
        raise DeviceExistsError("this device_id is enrolled: enrol with a new random id") from error
