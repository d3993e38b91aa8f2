"""``/v1/events``: take a batch of events."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request

from handlens_server.access import bearer_token
from handlens_server.event_batches import decode_batch
from handlens_server.events import store_batch
from handlens_server.services import Services

__all__ = ["blueprint"]


def blueprint(services: Services) -> Blueprint:
    """The view at ``/v1/events``."""
    views = Blueprint("events", __name__)

    @views.post("/v1/events")
    def receive() -> dict[str, Any]:
        batch = decode_batch(request.get_data(cache=False), request.headers.get("Content-Encoding", ""))
        limit = services.config.events_per_day
        with services.database.session() as session:
            answer = store_batch(session, bearer_token(), batch, services.clock(), limit)
        services.metrics.count_events(answer)
        return answer.to_dict()

    return views
