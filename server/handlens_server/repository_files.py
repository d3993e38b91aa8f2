"""The release repository over HTTP: static files, which any cache or CDN may serve in this server's place.

Rules:

1. Only files below ``metadata/`` and ``targets/`` are served; a name that begins with a dot is work in progress.
2. A file whose name holds its version or its hash never changes, and may be kept for ever. ``timestamp.json`` is the
   only one that does: it is asked for again each time, and read whole before it is sent, so that a publish in the same
   moment cannot mix two of them.
3. Files can be fetched in part (Range) and conditionally (If-None-Match).
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

from flask import Blueprint, Response, send_file, send_from_directory
from werkzeug.exceptions import NotFound

from handlens_server.access import public
from handlens_server.published import CHANGING
from handlens_server.services import Services

__all__ = ["blueprint"]

_FOR_EVER = 365 * 24 * 3600  # seconds


def blueprint(services: Services) -> Blueprint:
    """The views at ``/v1/repository/``."""
    views = Blueprint("repository", __name__, url_prefix="/v1/repository")
    folder = services.config.repository_path

    @views.get("/metadata/<path:name>")
    @public
    def metadata(name: str) -> Response:
        if name == CHANGING:
            return _changing(folder / "metadata" / name)
        return _constant(folder / "metadata", name, "application/json")

    @views.get("/targets/<path:name>")
    @public
    def target(name: str) -> Response:
        return _constant(folder / "targets", name, "application/octet-stream")

    return views


def _changing(path: Path) -> Response:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound("nothing is published yet") from error
    etag = hashlib.sha256(data).hexdigest()[:32]
    response = send_file(io.BytesIO(data), mimetype="application/json", etag=etag, max_age=0)
    response.headers["Cache-Control"] = "no-cache"
    return response


def _constant(folder: Path, name: str, mimetype: str) -> Response:
    if any(not part or part.startswith(".") for part in name.split("/")):
        raise NotFound("there is no such file in the repository")
    response = send_from_directory(folder.resolve(), name, mimetype=mimetype, max_age=_FOR_EVER)
    response.cache_control.public = True
    response.cache_control.immutable = True
    return response
