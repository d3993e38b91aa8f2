"""The contract as the kit knows it: its operations, its examples, and whether an answer is as it says.

Rules:

1. The kit judges by its own copy, the contract that a partner signed, never by what the server says of itself.
2. Answers are open: members, headers and codes that are not known are no faults. A status that does not stand in the
   contract is one.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from handlens.partner.exchange import Answer

__all__ = ["CONTRACT_PATH", "Contract", "Operation", "read_contract"]

CONTRACT_PATH = Path(__file__).parent / "contract-v1.json"
_NAME = "urn:handlens:contract"
_METHODS = ("get", "put", "post", "delete", "patch")
_MOST_FAULTS = 5


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation: `scope` is what it needs ("" for any), `is_open` says that it needs no credentials."""

    operation_id: str
    method: str
    path: str
    is_open: bool
    scope: str
    is_write: bool  # needs Idempotency-Key
    values: Mapping[str, Any]

    def target(self, parts: Mapping[str, str], query: str = "") -> str:
        """Path and query, its braces filled with percent-encoded `parts`."""
        filled = re.sub(r"\{(\w+)\}", lambda found: quote(parts.get(found[1], "unknown"), safe=""), self.path)
        return f"{filled}?{query}" if query else filled


class Contract:
    """A contract; `document` is the decoded OpenAPI document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self.version = str(document["info"]["version"])
        self.operations = {one.operation_id: one for one in self._read_operations()}

    def example(self, operation_id: str, name: str) -> dict[str, Any]:
        """The JSON body of an example of a request."""
        content = self.operations[operation_id].values["requestBody"]["content"]["application/json"]
        return dict(content["examples"][name]["value"])

    def codes(self, operation_id: str, status: int) -> list[str]:
        """The problem codes that a refusal of the operation may have."""
        return list(self._response(operation_id, status).get("x-problem-codes", ()))

    def faults(self, operation_id: str, answer: Answer) -> list[str]:
        """What of an answer is not as the contract says; nothing, where all is."""
        response = self._response(operation_id, answer.status)
        if not response:
            return [f"{operation_id} may not answer {answer.status}"]
        return [*self._header_faults(response, answer), *self._body_faults(response, answer)][:_MOST_FAULTS]

    def schema_faults(self, name: str, value: Any) -> list[str]:
        """What of a decoded value is not as the schema `name` says."""
        found = self._validator(f"/components/schemas/{name}").iter_errors(value)
        return [_told(one) for one in found][:_MOST_FAULTS]

    def _body_faults(self, response: Mapping[str, Any], answer: Answer) -> Iterator[str]:
        content = response.get("content", {})
        media = content.get(answer.media_type)
        if media is None:
            yield f"the body is {answer.media_type or 'of no type'}, not {' or '.join(content)}"
            return
        if answer.media_type.endswith("json"):
            schema = self._inlined(media["schema"])
            for fault in self._schema_validator(schema).iter_errors(answer.json()):
                yield _told(fault)

    def _header_faults(self, response: Mapping[str, Any], answer: Answer) -> Iterator[str]:
        for name, entry in response.get("headers", {}).items():
            header = self._resolved(entry)
            text = answer.headers.get(name.lower())
            if text is None:
                if header.get("required"):
                    yield f"the header {name} is missing"
                continue
            value: Any = int(text) if header["schema"].get("type") == "integer" and text.isdigit() else text
            for fault in self._schema_validator(self._inlined(header["schema"])).iter_errors(value):
                yield f"the header {name} ({text[:80]!r}) {fault.message[:200]}"

    def _response(self, operation_id: str, status: int) -> Mapping[str, Any]:
        return self._resolved(self.operations[operation_id].values["responses"].get(str(status), {}))

    def _read_operations(self) -> Iterator[Operation]:
        for path, entry in self.document["paths"].items():
            for method in _METHODS:
                if method in entry:
                    yield self._operation(path, method, entry)

    def _operation(self, path: str, method: str, entry: Mapping[str, Any]) -> Operation:
        values = entry[method]
        security = values.get("security", self.document.get("security", []))
        scopes = [scope for one in security for scope in one.get("oauth2", ())]
        names = {self._resolved(one)["name"] for one in values.get("parameters", ())}
        return Operation(
            operation_id=values["operationId"],
            method=method.upper(),
            path=path,
            is_open=not any("oauth2" in one for one in security),
            scope=scopes[0] if scopes else "",
            is_write="Idempotency-Key" in names,
            values=values,
        )

    def _resolved(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        while "$ref" in value:
            found: Any = self.document
            for name in str(value["$ref"]).removeprefix("#/").split("/"):
                found = found[name.replace("~1", "/").replace("~0", "~")]
            value = found
        return value

    def _inlined(self, schema: Any) -> Any:
        """The schema with its references absolute, so that they lead into the document from anywhere."""
        if isinstance(schema, Mapping):
            return {
                name: f"{_NAME}{value}" if name == "$ref" and isinstance(value, str) else self._inlined(value)
                for name, value in schema.items()
            }
        return [self._inlined(one) for one in schema] if isinstance(schema, list) else schema

    @functools.cached_property
    def _registry(self) -> Any:
        from referencing import Registry
        from referencing.jsonschema import DRAFT202012

        resource = DRAFT202012.create_resource(self.document)
        return Registry().with_resource(_NAME, resource)

    def _validator(self, pointer: str) -> Any:
        return self._schema_validator({"$ref": f"{_NAME}#{pointer}"})

    def _schema_validator(self, schema: Any) -> Any:
        from jsonschema import Draft202012Validator

        return Draft202012Validator(schema, registry=self._registry, format_checker=_formats())


def read_contract(data: bytes | None = None) -> Contract:
    """The contract in a JSON document: in `data`, or in the file that the kit was released with.

    Raises:
        ValueError, LookupError, TypeError: it is no OpenAPI document.
    """
    return Contract(json.loads(CONTRACT_PATH.read_bytes() if data is None else data))


@functools.cache
def _formats() -> Any:
    from jsonschema import FormatChecker

    formats = FormatChecker(formats=())
    for name, judge in (("date", _is_day), ("date-time", _is_time), ("uri", _is_address)):
        formats.checks(name, raises=ValueError)(judge)
    return formats


def _is_day(value: object) -> bool:
    return not isinstance(value, str) or bool(date.fromisoformat(value))


def _is_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value.replace("Z", "+00:00")).tzinfo is not None


def _is_address(value: object) -> bool:
    return not isinstance(value, str) or bool(urlsplit(value).scheme)


def _told(fault: Any) -> str:
    where = "".join(f"/{one}" for one in fault.absolute_path) or "the body"
    return f"{where}: {fault.message[:200]}"
