"""Who may call what: every view needs a device's token, except those that say otherwise.

A view says that it is public, or that another check decides (`checked_by`), as those of partners do. A view that nobody
thought about is therefore closed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, request

from handlens_server.devices import TokenUnknownError, authenticate
from handlens_server.services import Services

__all__ = ["bearer_token", "checked_by", "open_to_revoked", "public", "require_tokens"]

_View = TypeVar("_View", bound=Callable[..., Any])
_MARK = "is_public"
_REVOKED_MARK = "is_open_to_revoked"
_CHECK_MARK = "access_check"


def public(view: _View) -> _View:
    """Mark a view that anyone may call."""
    setattr(view, _MARK, True)
    return view


def open_to_revoked(view: _View) -> _View:
    """Mark a view that a device may call which was revoked."""
    setattr(view, _REVOKED_MARK, True)
    return view


def checked_by(check: Callable[[], None]) -> Callable[[_View], _View]:
    """Mark a view that has a check of its own, which raises an error for a request that may not pass."""

    def mark(view: _View) -> _View:
        setattr(view, _CHECK_MARK, check)
        return view

    return mark


def bearer_token() -> str:
    """The token of the request; empty when it has none."""
    shown = request.authorization
    return (shown.token or "") if shown is not None and shown.type == "bearer" else ""


def require_tokens(app: Flask, services: Services) -> None:
    """Refuse, before anything of it is read, a request without the token that its view needs."""

    def check() -> None:
        view = app.view_functions.get(request.endpoint or "")
        if view is None or getattr(view, _MARK, False):
            return
        own_check = getattr(view, _CHECK_MARK, None)
        if own_check is not None:
            own_check()
            return
        token = bearer_token()
        if not token:
            raise TokenUnknownError("this needs a token: enrol, then send `Authorization: Bearer TOKEN`")
        with services.database.read() as session:
            authenticate(session, token, even_revoked=getattr(view, _REVOKED_MARK, False))

    app.before_request(check)
