"""Asking ``POST /v1/search`` in tests, as a device would."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from handlens.answering import Seen
from support.paths import MODELS

__all__ = ["SPACE", "Post", "enrolled", "multipart", "post_photo", "post_query", "query_of"]

Post = Callable[[bytes, str], tuple[int, dict[str, Any]]]
SPACE = str(json.loads((MODELS / "embedder" / "model.json").read_text("utf-8"))["embedding"]["space"])
_BOUNDARY = "between-the-parts"


def enrolled(connection: HTTPConnection) -> Post:
    """Posts a body of a type to ``/v1/search`` with the token of a new device; status and JSON of the answer."""
    enrolment = json.dumps({"device_id": str(uuid.uuid4())})
    _, device = _sent(connection, "/v1/devices", enrolment.encode(), {"Content-Type": "application/json"})
    headers = {"Authorization": f"Bearer {device['token']}"}
    return lambda body, kind: _sent(connection, "/v1/search", body, {**headers, "Content-Type": kind})


def post_query(post: Post, query: dict[str, Any], *, release: str = "") -> dict[str, Any]:
    """The answer to an embedding query; with `release`, as soon as the server answers by it."""
    for _ in range(100):
        status, answer = post(json.dumps(query).encode(), "application/json")
        assert status == 200, answer
        if release in ("", answer["release"]):
            break
        time.sleep(0.05)
    return answer


def post_photo(post: Post, photo: Path, query: dict[str, Any]) -> dict[str, Any]:
    """The answer to a photo query."""
    status, answer = post(*multipart(photo.read_bytes(), query))
    assert status == 200, answer
    return answer


def multipart(photo: bytes, query: dict[str, Any]) -> tuple[bytes, str]:
    """Body and type of a form with a photo and a query."""
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="query"\r\n\r\n{json.dumps(query)}\r\n'
    file = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="photo"; filename="p.jpg"\r\n\r\n'
    body = head.encode() + file.encode() + photo + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return body, f"multipart/form-data; boundary={_BOUNDARY}"


def query_of(seen: Iterable[Seen], image_size: tuple[int, int]) -> dict[str, Any]:
    """The embedding query of what a device saw, with the vectors in full precision."""
    return {
        "space": SPACE,
        "image_size": list(image_size),
        "objects": [
            {
                "box": one.region.box.to_list(),
                "found_by": one.region.found_by,
                "label": one.region.label,
                "score": one.region.score,
                "embedding": one.vector.tolist(),
                "colours": [colour.to_dict() for colour in one.colours],
                "label_scores": [list(pair) for pair in one.label_scores],
            }
            for one in seen
        ],
    }


def _sent(connection: HTTPConnection, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())
