"""The contract as the server works with it: the document, and for each operation what checks a request.

Rules:

1. A pattern is read as JSON Schema does (ECMA-262): ``$`` is the end of the text, not the line break before it.
2. Formats bind: a `date` is a day that exists, a `date-time` has a zone, a `uri` has a host.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.jsonschema import DRAFT202012

__all__ = ["CONTRACT_PATH", "Contract", "Operation", "contract", "read_contract"]

CONTRACT_PATH = Path(__file__).parent / "contract" / "v1.yaml"
_NAME = "urn:handlens:partner-contract"
_METHODS = ("get", "put", "post", "delete", "patch")


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation: its id, method and path, its parameters resolved, and the JSON pointer of its bodies' schemas."""

    operation_id: str
    method: str
    path: str
    parameters: tuple[Mapping[str, Any], ...]
    bodies: Mapping[str, str]

    def parameters_in(self, place: str) -> Iterator[Mapping[str, Any]]:
        """Its parameters in query, header or path."""
        return (one for one in self.parameters if one["in"] == place)


class Contract:
    """A contract; `document` is the decoded document, `text` its JSON."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self.text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        self.etag = hashlib.sha256(self.text).hexdigest()[:32]
        self.version = str(document["info"]["version"])
        self.operations = {one.operation_id: one for one in _operations(document)}
        resource = DRAFT202012.create_resource(document)
        self._registry: Registry[Any] = Registry().with_resource(_NAME, resource)

    @functools.cache  # noqa: B019  (there is one contract, for as long as the process lives)
    def validator(self, pointer: str) -> Any:
        """A validator of the schema at a JSON pointer into the document."""
        schema = {"$ref": f"{_NAME}#{pointer}"}
        return _Validator(schema, registry=self._registry, format_checker=_FORMATS)

    def schema_validator(self, schema: Mapping[str, Any]) -> Any:
        """A validator of a schema that stands in the document, whose references lead into it."""
        return _Validator(_absolute(schema), registry=self._registry, format_checker=_FORMATS)


@functools.cache
def contract() -> Contract:
    """The contract of this version of the server."""
    return read_contract(CONTRACT_PATH)


def read_contract(path: Path) -> Contract:
    """The contract in a YAML file that belongs to the package."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it was built
    return Contract(_plain(yaml.load(path.read_text("utf-8"), Loader=loader)))  # nosec B506  # a safe loader


def _plain(value: Any) -> Any:
    """The document with days as text: YAML reads 2026-01-01 as a day."""
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, date | datetime) else value


def _operations(document: Mapping[str, Any]) -> Iterator[Operation]:
    for path, entry in document["paths"].items():
        for method in _METHODS:
            if method in entry:
                yield _operation(document, path, method)


def _operation(document: Mapping[str, Any], path: str, method: str) -> Operation:
    entry = document["paths"][path]
    found = entry[method]
    parameters = [_resolved(document, one) for one in (*entry.get("parameters", ()), *found.get("parameters", ()))]
    content = found.get("requestBody", {}).get("content", {})
    below = f"/paths/{_escaped(path)}/{method}/requestBody/content"
    bodies = {kind: f"{below}/{_escaped(kind)}/schema" for kind in content}
    return Operation(found["operationId"], method.upper(), path, tuple(parameters), bodies)


def _resolved(document: Mapping[str, Any], value: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in value:
        found: Any = document
        for name in str(value["$ref"]).removeprefix("#/").split("/"):
            found = found[name.replace("~1", "/").replace("~0", "~")]
        value = found
    return value


def _absolute(schema: Any) -> Any:
    if isinstance(schema, Mapping):
        return {
            name: f"{_NAME}{value}" if name == "$ref" and isinstance(value, str) else _absolute(value)
            for name, value in schema.items()
        }
    return [_absolute(one) for one in schema] if isinstance(schema, list) else schema


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"(?<!\\)\$(?=$|\))", r"\\Z", pattern))


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _compiled(pattern).search(instance):
        yield ValidationError(f"does not match {pattern}")


_Validator = extend(Draft202012Validator, {"pattern": _pattern})


def _is_day(value: object) -> bool:
    return not isinstance(value, str) or bool(date.fromisoformat(value))


def _is_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value.upper().replace("Z", "+00:00")).tzinfo is not None


def _is_address(value: object) -> bool:
    return not isinstance(value, str) or bool(urlsplit(value).hostname)


def _formats() -> FormatChecker:
    made = FormatChecker(formats=())
    for name, check in (("date", _is_day), ("date-time", _is_time), ("uri", _is_address)):
        made.checks(name, raises=(ValueError, OverflowError))(check)
    return made


_FORMATS = _formats()
