"""Who may call what: every view needs a device's token, except those that say they are public.

A view that nobody thought about is therefore closed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, request

from handlens_server.devices import TokenUnknownError, authenticate
from handlens_server.services import Services

__all__ = ["bearer_token", "public", "require_tokens"]

_View = TypeVar("_View", bound=Callable[..., Any])
_MARK = "is_public"


def public(view: _View) -> _View:
    """Mark a view that anyone may call."""
    setattr(view, _MARK, True)
    return view


def bearer_token() -> str:
    """The token of the request; empty when it has none."""
    shown = request.authorization
    return (shown.token or "") if shown is not None and shown.type == "bearer" else ""


def require_tokens(app: Flask, services: Services) -> None:
    """Refuse, before anything of it is read, a request without the token that its view needs."""

    def check() -> None:
        if request.endpoint is None or getattr(app.view_functions[request.endpoint], _MARK, False):
            return
        token = bearer_token()
        if not token:
            raise TokenUnknownError("this needs a token: enrol, then send `Authorization: Bearer TOKEN`")
        with services.database.read() as session:
            authenticate(session, token)

    app.before_request(check)
