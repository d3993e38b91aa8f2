"""Calls of a partner's client, recorded against a released contract version, and the shape of the answers.

A recording is a list of steps. A step sends `method`, `path`, `headers` and `body` (JSON) or `form`, with the
credentials that `auth` names; ``${name}`` is what an earlier step kept (`keep`: name to JSON pointer). It says the
`status`, the headers and the `shape` of what came back: names of members and types of values, no values; of a `shallow`
step the names of the first level. An answer of today covers a shape when all of it is still there: members may be
added, none may go or become another type.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from support.paths import ROOT

__all__ = ["RECORDINGS", "Send", "play", "record", "shape_of", "uncovered"]

RECORDINGS = ROOT / "tests" / "data" / "partner"
_TYPES = {bool: "boolean", int: "number", float: "number", str: "string", type(None): "null"}
_KEPT_HEADERS = ("content-type", "x-request-id", "ratelimit", "ratelimit-policy", "www-authenticate", "retry-after",
                 "idempotency-replayed", "cache-control", "link", "server-timing")  # fmt: skip
Send = Callable[[dict[str, Any]], tuple[int, Mapping[str, str], bytes]]


def shape_of(value: Any) -> Any:
    """The shape: an object's members, a list's kinds of entries, a type's name."""
    if isinstance(value, dict):
        return {name: shape_of(one) for name, one in sorted(value.items())}
    if isinstance(value, list):
        shapes = [shape_of(one) for one in value]
        return [one for at, one in enumerate(shapes) if one not in shapes[:at]]
    return _TYPES[type(value)]


def uncovered(shape: Any, value: Any, where: str = "") -> list[str]:
    """What of a recorded shape an answer does not have any more."""
    if shape == "null":
        return []  # it was not there: what comes there now is new
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return [f"{where} was an object"]
        gone = [f"{where}/{name} is gone" for name in shape if name not in value]
        return gone + [
            more for name in shape if name in value for more in uncovered(shape[name], value[name], f"{where}/{name}")
        ]
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{where} was a list"]
        if not shape:
            return []
        if not value:
            return [f"{where} had entries"]
        return [] if any(not uncovered(shape[0], one) for one in value) else uncovered(shape[0], value[0], f"{where}/0")
    return [] if _TYPES.get(type(value)) == shape else [f"{where} was of type {shape}"]


def play(steps: list[dict[str, Any]], send: Send) -> list[str]:
    """Send the steps of a recording; what of their answers is not as it was."""
    faults, kept = [], _fresh()
    for at, step in enumerate(steps):
        status, headers, body = send(_filled(step, kept))
        name = f"{at} {step['method']} {step['path']}"
        if status != step["status"]:
            faults.append(f"{name}: {status}, was {step['status']}: {body[:200]!r}")
            continue
        faults += [f"{name}: the header {one} is gone" for one in step["headers_back"] if one not in headers]
        value = _decoded(headers, body)
        faults += [f"{name}: {fault}" for fault in uncovered(step["shape"], value)]
        _keep(step, value, kept)
    return faults


def record(path: Path, steps: list[dict[str, Any]], send: Send) -> None:
    """Write a recording of a version that is being released; never again after that."""
    kept = _fresh()
    for step in steps:
        status, headers, body = send(_filled(step, kept))
        value = _decoded(headers, body)
        step |= {
            "status": status,
            "headers_back": [one for one in _KEPT_HEADERS if one in headers],
            "shape": _shape(step, value),
        }
        _keep(step, value, kept)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(steps, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _shape(step: Mapping[str, Any], value: Any) -> Any:
    return dict.fromkeys(sorted(value), "null") if step.get("shallow") else shape_of(value)


def _fresh() -> dict[str, str]:
    return {f"id{at}": str(uuid.uuid4()) for at in range(10)}


def _keep(step: Mapping[str, Any], value: Any, kept: dict[str, str]) -> None:
    for name, pointer in step.get("keep", {}).items():
        found = value
        for part in pointer.strip("/").split("/"):
            found = found[int(part)] if isinstance(found, list) else found[part]
        kept[name] = str(found)


def _filled(value: Any, kept: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(one, kept) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, kept) for one in value]
    return re.sub(r"\$\{(\w+)\}", lambda found: kept[found[1]], value) if isinstance(value, str) else value


def _decoded(headers: Mapping[str, str], body: bytes) -> Any:
    if headers.get("content-type", "").split(";")[0].endswith("json"):
        return json.loads(body)
    return base64.b64encode(body[:4]).decode()
