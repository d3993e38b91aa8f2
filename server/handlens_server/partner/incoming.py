"""What a request brings, checked by the contract before anything works with it.

Rules:

1. The body's type is looked at first (415), then its length (413, before it is read), then its JSON, then its form.
2. Every fault of the form is named at once, each with its place. What was sent is not repeated at length.
3. A query parameter that the contract does not know, or one that stands twice, is refused: a slip must not be ignored.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flask import request
from werkzeug.exceptions import UnsupportedMediaType

from handlens_server.partner.contract_file import Operation, contract
from handlens_server.partner.errors import PartnerError, Place
from handlens_server.partner.strict_json import read_json

__all__ = ["MAX_BODY", "check_parameters", "decoded_base64", "form_fields", "json_body", "lens_form", "refuse_places"]

MAX_BODY = 5_000_000  # bytes, as the contract says
_MAX_PART = 1_000_000  # bytes of a form's fields, which werkzeug keeps in memory
_MAX_PARTS = 20
_MOST_PLACES = 200
_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"


def check_parameters(operation_id: str) -> dict[str, Any]:
    """The query parameters with their defaults; path and header parameters are checked too.

    Raises:
        PartnerError: one is missing, unknown, twice, or not as the contract says.
    """
    operation = contract().operations[operation_id]
    query = _query(operation)
    places = list(_parameter_places(operation, query))
    if places:
        raise _refused(places)
    return query


def json_body(operation_id: str) -> Any:
    """The JSON of the body."""
    _require_type(_JSON)
    value = read_json(_data())
    check_value(contract().operations[operation_id].bodies[_JSON], value)
    return value


def form_fields(operation_id: str) -> dict[str, str]:
    """The fields of a form in the body (application/x-www-form-urlencoded)."""
    _require_type(_FORM)
    request.max_content_length = _MAX_PART
    _data()
    twice = [name for name, values in request.form.lists() if len(values) > 1]
    if twice:
        raise _refused([Place(f"form:{name}", "stands twice") for name in twice])
    values = request.form.to_dict()
    check_value(contract().operations[operation_id].bodies[_FORM], values)
    return values


def lens_form() -> tuple[str, bytes, dict[str, Any]]:
    """Of a form with a picture: the name of its part (photo or crop), its bytes, and what the part `request` says."""
    _require_type(_MULTIPART)
    request.max_content_length = MAX_BODY
    request.max_form_memory_size = _MAX_PART
    request.max_form_parts = _MAX_PARTS
    _check_whole(_data())
    parts = {name: [part.read() for part in request.files.getlist(name)] for name in request.files}
    for name, values in request.form.lists():
        parts.setdefault(name, []).extend(value.encode("utf-8", "surrogateescape") for value in values)
    places = [Place(f"form:{name}", "stands twice") for name, found in parts.items() if len(found) > 1]
    places += [Place(f"form:{name}", "is not known") for name in parts.keys() - {"photo", "crop", "request"}]
    pictures = parts.keys() & {"photo", "crop"}
    if len(pictures) != 1:
        places.append(Place("form:photo", "give exactly one of the parts photo and crop"))
    if places:
        raise _refused(places)
    options = read_json(parts["request"][0]) if "request" in parts else {}
    check_value("/components/schemas/LensOptions", options)
    name = pictures.pop()
    if not parts[name][0]:
        raise _refused([Place(f"form:{name}", "is empty")])
    return name, parts[name][0], options


def decoded_base64(text: str, pointer: str) -> bytes:
    """The bytes in a text that the contract says is base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refused([Place(pointer, "is no base64")]) from error


def check_value(pointer: str, value: Any) -> None:
    """Check a value by the schema at a JSON pointer of the contract.

    Raises:
        PartnerError: it is not as the schema says; each place is named.
    """
    places = []
    for fault in contract().validator(pointer).iter_errors(value):
        places += _places(fault, value)
        if len(places) >= _MOST_PLACES:
            break
    if places:
        raise _refused(places)


def refuse_places(places: Iterable[Place]) -> None:
    """Refuse the request where there are such places."""
    found = list(places)
    if found:
        raise _refused(found)


def _require_type(wanted: str) -> None:
    if request.mimetype != wanted:
        raise UnsupportedMediaType(f"the body's type is {request.mimetype[:80]!r}: send {wanted}")


def _data() -> bytes:
    request.max_content_length = min(request.max_content_length or MAX_BODY, MAX_BODY)
    return request.get_data(cache=True)


def _check_whole(body: bytes) -> None:
    """Refuse a form that was cut short: its parts would be taken for whole ones."""
    boundary = request.mimetype_params.get("boundary", "")
    if not boundary or f"--{boundary}--".encode("latin-1", "replace") not in body[-len(boundary) - 64 :]:
        raise PartnerError(400, "malformed-form", "the form has no boundary, or does not end with it: send it again")


def _query(operation: Operation) -> dict[str, Any]:
    known = {str(one["name"]): one for one in operation.parameters_in("query")}
    unknown = sorted(name for name in request.args if name not in known)
    if unknown:
        places = [Place(f"query:{name[:80]}", "is not known") for name in unknown]
        raise PartnerError(400, "parameter-unknown", f"{operation.operation_id} takes no such parameter", places=places)
    twice = [name for name, values in request.args.lists() if len(values) > 1]
    if twice:
        raise _refused([Place(f"query:{name}", "stands twice") for name in twice])
    found = {
        name: _converted(parameter, request.args[name]) for name, parameter in known.items() if name in request.args
    }
    defaults = {name: one["schema"]["default"] for name, one in known.items() if "default" in one["schema"]}
    return defaults | found


def _converted(parameter: Mapping[str, Any], text: str) -> Any:
    if parameter["schema"].get("type") != "integer":
        return text
    return int(text) if text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20 else text


def _parameter_places(operation: Operation, query: Mapping[str, Any]) -> Iterable[Place]:
    for parameter in operation.parameters:
        name, where = str(parameter["name"]), str(parameter["in"])
        values: Mapping[str, Any] = query if where == "query" else request.view_args or {}
        value = request.headers.get(name) if where == "header" else values.get(name)
        if value is None:
            if parameter.get("required"):
                _refuse_missing(name)
                yield Place(f"{where}:{name}", "is missing")
            continue
        for fault in contract().schema_validator(parameter["schema"]).iter_errors(value):
            if name == _KEY:
                raise PartnerError(
                    400, "idempotency-key-malformed", f"{_KEY}: give 8 to 64 plain characters, best a UUID"
                )
            yield Place(f"{where}:{name}", _told(fault))


_KEY = "Idempotency-Key"


def _refuse_missing(name: str) -> None:
    if name == _KEY:
        raise PartnerError(400, "idempotency-key-missing", f"a write needs {_KEY}: give a new random key, best a UUID")


def _places(fault: Any, value: Any) -> list[Place]:
    path = list(fault.absolute_path)
    pointer = "".join(f"/{_token(one)}" for one in path)
    if len(path) >= 2 and path[0] == "items" and isinstance(path[1], int):  # a row of a batch
        row = path[1]
        item = value["items"][row]
        own = item.get("id") if isinstance(item, dict) else None
        return [Place(pointer, _told(fault), "bad-field", row, own[:100] if isinstance(own, str) else "")]
    return [Place(pointer, _told(fault))]


def _token(one: Any) -> str:
    return str(one)[:100].replace("~", "~0").replace("/", "~1")


def _told(fault: Any) -> str:
    """A fault for people, without repeating at length what was sent."""
    rule, wanted = str(fault.validator), fault.validator_value
    told: dict[str, Callable[[], str]] = {
        "required": lambda: str(fault.message)[:120],
        "additionalProperties": lambda: "holds a field that is not known: " + ", ".join(_unknown(fault)),
        "oneOf": lambda: "matches none or several of the forms it may have",
        "format": lambda: f"is no {wanted}",
        "dependentRequired": lambda: str(fault.message)[:120],
        "const": lambda: f"is not {wanted!r}",
    }
    if rule in told:
        return told[rule]()
    if isinstance(wanted, dict):
        return f"breaks {rule}"
    return f"breaks {rule}: {str(wanted)[:160]}"


def _unknown(fault: Any) -> list[str]:
    known = fault.schema.get("properties", {})
    return [ascii(name)[:60] for name in fault.instance if name not in known][:5]


def _refused(places: Iterable[Place]) -> PartnerError:
    found = list(places)
    first = found[0]
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    where = first.pointer or "the body"
    return PartnerError(400, "request-invalid", f"{where[:100]} {first.detail}{more}: see `errors`", places=found)
