"""Errors as HTTP answers (RFC 9457, ``application/problem+json``): the only place that knows both.

Rules:

1. `code` is what a program reads and never changes; `detail` is for people. `retryable` says whether the same request
   may succeed later; then there is ``Retry-After``.
2. A partner's refusal names the places that are wrong (`errors`); at the token operation it is JSON with the members of
   OAuth 2 beside these.
3. What is wrong inside the server is logged and never told: no path, no address of a database, no traceback.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog
from flask import Flask, Response, json
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as WerkzeugResponse

from handlens.errors import DecodeError, HandlensError, ImageError
from handlens_server.config import Config
from handlens_server.database_errors import DatabaseBusyError, DatabaseError, DatabaseFullError
from handlens_server.devices import (
    DeviceExistsError,
    DeviceOverLimitError,
    DeviceRevokedError,
    EnrolmentRefusedError,
    TokenUnknownError,
)
from handlens_server.event_batches import BatchTooLargeError, NotGzipError
from handlens_server.full_index import IndexUnavailableError
from handlens_server.observing import request_id
from handlens_server.partner.errors import PartnerError
from handlens_server.published import RepositoryError
from handlens_server.search_errors import SearchRefusedError, SearchUnavailableError

__all__ = ["handle_problems"]


@dataclass(frozen=True, slots=True)
class _Problem:
    """How an error is answered; `detail` is told in place of the error's own text, where that is not for outsiders."""

    status: int
    code: str
    detail: str = ""
    is_retryable: bool = False


_TOO_LARGE = frozenset({"photo-too-large"})
# Where the phrase differs between Python's versions, the code must not.
_PHRASES = {413: "request-entity-too-large", 414: "request-uri-too-long", 422: "unprocessable-entity"}
_INTERNAL = _Problem(500, "internal-error", "the server made a mistake: tell its operator the request id")
_PROBLEMS: dict[type[Exception], _Problem] = {
    DecodeError: _Problem(400, "malformed-request"),
    NotGzipError: _Problem(400, "not-gzip"),
    BatchTooLargeError: _Problem(413, "batch-too-large"),
    TokenUnknownError: _Problem(401, "token-unknown"),
    EnrolmentRefusedError: _Problem(403, "enrolment-refused"),
    DeviceRevokedError: _Problem(403, "device-revoked"),
    DeviceExistsError: _Problem(409, "device-exists"),
    DeviceOverLimitError: _Problem(429, "device-over-limit", is_retryable=True),
    ImageError: _Problem(422, "photo-unusable"),
    SearchUnavailableError: _Problem(
        503, "search-unavailable", "searches cannot be answered now: try again later", True
    ),
    DatabaseFullError: _Problem(507, "storage-full", "the server has no room left: try again later", True),
    DatabaseBusyError: _Problem(503, "database-busy", "the database is busy: try again later", True),
    DatabaseError: _Problem(503, "database-unavailable", "the database cannot be used: try again later", True),
    IndexUnavailableError: _Problem(
        503, "index-unavailable", "the index cannot be searched now: try again later", True
    ),
    RepositoryError: _Problem(503, "repository-unavailable", "the releases cannot be read: try again later", True),
}


def handle_problems(app: Flask, config: Config) -> None:
    """Answer every error of `app` as a problem."""
    log = structlog.get_logger("handlens_server.problems")

    def domain(error: HandlensError) -> Response:
        if isinstance(error, PartnerError):
            return _partner_answer(error)
        problem = _problem_of(error)
        if problem.status >= 500:
            log.error(problem.code, reason=str(error))
        return _domain_answer(problem, error, config.retry_after_seconds)

    def unexpected(error: Exception) -> Response:
        log.error(_INTERNAL.code, exc_info=error)
        return _answer(_INTERNAL, _INTERNAL.detail)

    app.register_error_handler(HandlensError, domain)
    app.register_error_handler(HTTPException, _protocol_answer)
    app.register_error_handler(Exception, unexpected)


def _problem_of(error: HandlensError) -> _Problem:
    if isinstance(error, SearchRefusedError):
        return _Problem(413 if error.code in _TOO_LARGE else 422, error.code)
    return next((_PROBLEMS[kind] for kind in type(error).__mro__ if kind in _PROBLEMS), _INTERNAL)


def _domain_answer(problem: _Problem, error: HandlensError, retry_after: int) -> Response:
    response = _answer(problem, problem.detail or str(error))
    if problem.is_retryable:
        response.headers["Retry-After"] = str(getattr(error, "retry_after", retry_after))
    if problem.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _partner_answer(error: PartnerError) -> Response:
    problem = _Problem(error.status, error.code, is_retryable=error.is_retryable)
    more: dict[str, Any] = {"errors": [place.to_dict() for place in error.places]} if error.places else {}
    if error.oauth:
        more |= {"error": error.oauth, "error_description": str(error)}
    response = _answer(problem, str(error), more)
    if error.oauth:
        response.content_type = "application/json"
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if error.challenge:
        response.headers["WWW-Authenticate"] = error.challenge
    return response


def _protocol_answer(error: HTTPException) -> WerkzeugResponse:
    status = error.code or 500
    if status < 400 or error.response is not None:
        return WerkzeugResponse.force_type(error.get_response())
    code = _PHRASES.get(status) or HTTPStatus(status).phrase.lower().replace(" ", "-")
    response = _answer(_Problem(status, code, is_retryable=status == 429), _text(error))
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def _answer(problem: _Problem, detail: str, more: Mapping[str, Any] | None = None) -> Response:
    body: dict[str, Any] = {
        "type": f"urn:handlens:problem:{problem.code}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": detail,
        "code": problem.code,
        "request_id": request_id(),
        "retryable": problem.is_retryable,
        **(more or {}),
    }
    return Response(json.dumps(body), status=problem.status, content_type="application/problem+json")


def _text(error: HTTPException) -> str:
    text = "too many requests from this address: try again later" if error.code == 429 else error.description
    return text or HTTPStatus(error.code or 500).phrase
