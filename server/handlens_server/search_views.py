"""``POST /v1/search``: by a photo (multipart), or by what a device saw in one (JSON)."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request

from handlens_server.search_errors import SearchRefusedError
from handlens_server.services import Services

__all__ = ["blueprint"]

_MAX_JSON = 300_000  # bytes: eight objects with embeddings as lists of numbers


def blueprint(services: Services) -> Blueprint:
    """The view at ``/v1/search``."""
    views = Blueprint("search", __name__)

    @views.post("/v1/search")
    def search() -> dict[str, Any]:
        from handlens.answering import Stopwatch  # what needs NumPy is imported when somebody searches
        from handlens_server.search_requests import read_query

        clock, engine = Stopwatch(), services.searching.engine()
        if request.mimetype == "multipart/form-data":
            query = read_query((request.form.get("query") or "{}").encode())
            photo = request.files.get("photo")
            if photo is None:
                raise SearchRefusedError("nothing-to-search", "the form has no file `photo`: send one")
            return engine.answer_photo(photo.read(), query, clock).to_dict()
        request.max_content_length = _MAX_JSON
        return engine.answer_seen(read_query(request.get_data(cache=False)), clock).to_dict()

    return views
