"""A partner endpoint that breaks its promises on demand: a shell around the real application that puts faults in.

Each fault is what a real server gets wrong: a check left out, a member of another form, a header forgotten. What is let
in against the rules is asked of the real application again, with credentials that it takes.
"""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from werkzeug.test import run_wsgi_app
from werkzeug.wrappers import Response

__all__ = ["FAULTS", "Broken", "Talkative"]

_MOST_READ = 5_000_000  # a body that is announced as larger is passed on unread


@dataclass(frozen=True)
class Asked:
    """A request to the real application."""

    environ: dict[str, Any]
    body: bytes
    token: str  # one that opens everything

    @property
    def is_lens(self) -> bool:
        return bool(self.environ["PATH_INFO"].endswith("/lens"))

    @property
    def value(self) -> dict[str, Any]:
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def trusted(self) -> Asked:
        """The same, with credentials that are always good."""
        kept = {name: value for name, value in self.environ.items() if not name.startswith("HTTP_SIGNATURE")}
        return replace(self, environ={**kept, "HTTP_AUTHORIZATION": f"Bearer {self.token}"})

    def with_body(self, body: bytes) -> Asked:
        return replace(self, environ={**self.environ, "CONTENT_LENGTH": str(len(body))}, body=body)


Ask = Callable[[Asked], Response]
Fault = Callable[[Asked, Ask], Response]


def _run(app: Any, environ: dict[str, Any], body: bytes) -> Response:
    """The application's whole answer to a request, of which nothing but the body's place is changed."""
    told, status, headers = run_wsgi_app(app, {**environ, "wsgi.input": io.BytesIO(body)}, buffered=True)
    return Response(b"".join(told), status, headers)


def _code(answer: Response) -> str:
    values = answer.get_json(silent=True, force=True) if answer.status_code >= 400 else None
    return str(values.get("code")) if isinstance(values, dict) else ""


def _changed(answer: Response, values: Any) -> Response:
    answer.set_data(json.dumps(values))
    return answer


def boxes_outside(asked: Asked, ask: Ask) -> Response:
    answer = ask(asked)
    if not (asked.is_lens and "crop" in asked.value and answer.status_code == 200):
        return answer
    values = answer.get_json()
    for tag in values["tags"]:
        tag["box"] = [0.0, 0.0, 2.0, 2.0]
    return _changed(answer, values)


def scopes_ignored(asked: Asked, ask: Ask) -> Response:
    answer = ask(asked)
    return ask(asked.trusted()) if _code(answer) == "scope-missing" else answer


def clock_ignored(asked: Asked, ask: Ask) -> Response:
    is_signed = len(asked.environ.get("HTTP_SIGNATURE", "")) > 80
    answer = ask(asked)
    return ask(asked.trusted()) if is_signed and _code(answer) == "signature-expired" else answer


def nonces_forgotten(asked: Asked, ask: Ask) -> Response:
    answer = ask(asked)
    return ask(asked.trusted()) if _code(answer) == "signature-replayed" else answer


def fingerprints_forgotten(asked: Asked, ask: Ask) -> Response:
    answer = ask(asked)
    if _code(answer) != "idempotency-key-reused":
        return answer
    return ask(replace(asked, environ={**asked.environ, "HTTP_IDEMPOTENCY_KEY": str(uuid.uuid4())}))


def no_retry_after(asked: Asked, ask: Ask) -> Response:
    answer = ask(asked)
    if answer.status_code == 429:
        answer.headers.pop("Retry-After", None)
    return answer


def cursors_unchecked(asked: Asked, ask: Ask) -> Response:
    answer = ask(asked)
    return (
        ask(replace(asked, environ={**asked.environ, "QUERY_STRING": ""}))
        if _code(answer) == "cursor-invalid"
        else answer
    )


def degradation_hidden(asked: Asked, ask: Ask) -> Response:
    answer = ask(asked)
    if not (asked.is_lens and answer.status_code == 200 and answer.is_json):
        return answer
    return _changed(answer, {**answer.get_json(), "degraded": False, "left_out": []})


def problems_as_json(asked: Asked, ask: Ask) -> Response:
    answer = ask(asked)
    if answer.mimetype == "application/problem+json":
        answer.content_type = "application/json"
    return answer


def last_name_wins(asked: Asked, ask: Ask) -> Response:
    answer = ask(asked)
    is_twice = _code(answer) == "malformed-json" and b"twice" in answer.get_data()
    return ask(asked.with_body(json.dumps(asked.value).encode())) if is_twice else answer


# By name: the check that must fail, and what does it.
FAULTS: dict[str, tuple[str, Fault]] = {
    "boxes outside the picture": ("contract.lens-crop", boxes_outside),
    "scopes are not looked at": ("auth.scopes", scopes_ignored),
    "any clock will do": ("signature.skew", clock_ignored),
    "nonces are not remembered": ("signature.replay", nonces_forgotten),
    "a key is good for any request": ("idempotency.reused", fingerprints_forgotten),
    "a 429 without Retry-After": ("limits.refusal", no_retry_after),
    "any cursor leads somewhere": ("pagination.cursor", cursors_unchecked),
    "nothing is said of what was left out": ("degradation.told", degradation_hidden),
    "problems of another media type": ("problems.shape", problems_as_json),
    "the last of two names wins": ("inputs.duplicate-names", last_name_wins),
}


class Broken:
    """The application with some faults, as a WSGI application."""

    def __init__(self, app: Any, faults: Iterable[str], token: Callable[[], str]) -> None:
        self._app = app
        self._faults = [FAULTS[name][1] for name in faults]
        self._token = token

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if int(environ.get("CONTENT_LENGTH") or 0) > _MOST_READ or not self._faults:
            answered: Iterable[bytes] = self._app(environ, start)
            return answered
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        answer = self._ask(len(self._faults), Asked(environ, body, self._token()))
        whole: Iterable[bytes] = answer(environ, start)
        return whole

    def _ask(self, depth: int, asked: Asked) -> Response:
        """The answer through the first `depth` faults."""
        if not depth:
            return _run(self._app, asked.environ, asked.body)
        return self._faults[depth - 1](asked, lambda again: self._ask(depth - 1, again))


class Talkative:
    """The application as a later version would answer: with members and headers that no client knows yet."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if int(environ.get("CONTENT_LENGTH") or 0) > _MOST_READ:
            passed: Iterable[bytes] = self._app(environ, start)
            return passed
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        answer = _run(self._app, environ, body)
        answer.headers["X-Of-A-Later-Version"] = "yes"
        is_contract = environ["PATH_INFO"].endswith("/openapi.json")
        values = None if is_contract else answer.get_json(silent=True)
        if values is not None:
            answer.set_data(json.dumps(_grown(values)))
        whole: Iterable[bytes] = answer(environ, start)
        return whole


def _grown(value: Any) -> Any:
    if isinstance(value, dict):
        return {**{name: _grown(one) for name, one in value.items()}, "of_a_later_version": {"deep": [1, None]}}
    return [_grown(one) for one in value] if isinstance(value, list) else value
