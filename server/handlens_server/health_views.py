"""``/healthz``, ``/readyz`` and ``/metrics``, for whoever watches over the server.

Alive means that the process answers; ready, that it can serve devices: its database has this version's schema, and the
repository can be read, or holds nothing yet.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from handlens_server.access import public
from handlens_server.published import published_version
from handlens_server.services import Services

__all__ = ["blueprint"]


def blueprint(services: Services) -> Blueprint:
    """The views of the server's health."""
    views = Blueprint("health", __name__)

    @views.get("/healthz")
    @public
    def health() -> dict[str, Any]:
        return {"status": "alive"}

    @views.get("/readyz")
    @public
    def ready() -> dict[str, Any]:
        services.database.require_current()
        published = published_version(services.config.repository_path)
        return {"status": "ready", "repository": published or "nothing published"}

    @views.get("/metrics")
    @public
    def metrics() -> Response:
        return Response(services.metrics.render(), content_type=services.metrics.content_type)

    return views
