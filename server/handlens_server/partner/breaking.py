"""What of a contract would break a partner that works with a released one.

Rules:

1. A request that was good stays good: nothing new is required, and no schema of a request accepts less.
2. An answer stays within what was promised: no schema of an answer allows more, loses a field or its being required.
   Fields and problem codes may be added: clients ignore what they do not know.
3. Operations, parameters, successful statuses, types of bodies, links, problem codes and ways of access stay, and no
   scope is added. Statuses of problems come and go.
4. A contract that changed has a higher version than the released one.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from handlens_server.partner.contract_file import CONTRACT_PATH, Contract
from handlens_server.partner.schema_diff import accepts_less

__all__ = ["breaking_changes", "last_released"]

_Document = Mapping[str, Any]


def last_released() -> Path:
    """The file of the contract that was released last."""
    found = sorted((CONTRACT_PATH.parent / "released").glob("v*.yaml"), key=lambda path: _version(path.stem[1:]))
    return found[-1]


def breaking_changes(released: Contract, present: Contract) -> list[str]:
    """What would break, each with its operation; empty: the contract may be released."""
    faults = list(_version_faults(released, present))
    for operation_id, old in released.operations.items():
        new = present.operations.get(operation_id)
        if new is None or (new.method, new.path) != (old.method, old.path):
            faults.append(f"{operation_id}: {old.method} {old.path} is gone")
            continue
        before, after = _Operation(released.document, old), _Operation(present.document, new)
        for fault in (
            *_parameters(before, after),
            *_bodies(before, after),
            *_answers(before, after),
            *_access(before, after),
        ):
            faults.append(f"{operation_id}: {fault}")
    return faults


class _Operation:
    """An operation in its document."""

    def __init__(self, document: _Document, operation: Any) -> None:
        self.resolve = functools.partial(_resolved, document)
        self.values: _Document = document["paths"][operation.path][operation.method.lower()]
        self.parameters = {(one["in"], one["name"]): one for one in operation.parameters}
        self.security = self.values.get("security", document.get("security", []))

    @property
    def answers(self) -> dict[str, Any]:
        """Its answers by status."""
        return {status: self.resolve(one) for status, one in self.values["responses"].items()}


def _version_faults(released: Contract, present: Contract) -> Iterator[str]:
    if released.document != present.document and _version(present.version) <= _version(released.version):
        yield f"the contract changed and is still {present.version}: give it a higher version than {released.version}"


def _parameters(before: _Operation, after: _Operation) -> Iterator[str]:
    for key, new in after.parameters.items():
        old, name = before.parameters.get(key), f"{key[0]} {key[1]}"
        if new.get("required") and not (old and old.get("required")):
            yield f"{name} is required"
        if old is not None:
            yield from accepts_less(old["schema"], new["schema"], before.resolve, after.resolve, name)
    for key in before.parameters.keys() - after.parameters.keys():
        yield f"{key[0]} {key[1]} is gone"


def _bodies(before: _Operation, after: _Operation) -> Iterator[str]:
    old, new = before.values.get("requestBody"), after.values.get("requestBody")
    if new is not None and new.get("required") and not (old and old.get("required")):
        yield "a body is required"
    for kind, content in (old or {}).get("content", {}).items():
        taken = (new or {}).get("content", {}).get(kind)
        if taken is None:
            yield f"{kind} is not taken any more"
            continue
        yield from accepts_less(content["schema"], taken["schema"], before.resolve, after.resolve, "request")


def _answers(before: _Operation, after: _Operation) -> Iterator[str]:
    for status in before.answers.keys() ^ after.answers.keys():
        if status.startswith("2"):
            yield f"status {status} is {'new' if status in after.answers else 'gone'}"
    for status, old in before.answers.items():
        new = after.answers.get(status)
        if new is None:
            continue
        yield from _content(before, after, old, new, status)
        for name in sorted(set(old.get("x-problem-codes", ())) - set(new.get("x-problem-codes", ()))):
            yield f"{status} lost the code {name}"
        for name in sorted(old.get("links", {}).keys() - new.get("links", {}).keys()):
            yield f"{status} lost the link {name}"
        for name, header in old.get("headers", {}).items():
            kept = after.resolve(new.get("headers", {}).get(name, {}))
            if before.resolve(header).get("required") and not kept.get("required"):
                yield f"{status} lost the header {name}"


def _content(before: _Operation, after: _Operation, old: _Document, new: _Document, status: str) -> Iterator[str]:
    for kind, content in old.get("content", {}).items():
        given = new.get("content", {}).get(kind)
        if given is None:
            yield f"{status} is not {kind} any more"
            continue
        # What is promised may only become less: the released schema must accept every answer of the present one.
        yield from accepts_less(given["schema"], content["schema"], after.resolve, before.resolve, f"{status} answer")
        yield from _lost(content["schema"], given["schema"], before, after, f"{status} answer")


def _lost(old: Any, new: Any, before: _Operation, after: _Operation, place: str, depth: int = 0) -> Iterator[str]:
    """Fields of an answer that are gone."""
    was, now = before.resolve(old), after.resolve(new)
    if not isinstance(was, Mapping) or not isinstance(now, Mapping) or depth > 30:
        return
    for name, schema in was.get("properties", {}).items():
        kept = now.get("properties", {}).get(name)
        if kept is None:
            yield f"{place}/{name} is gone"
        else:
            yield from _lost(schema, kept, before, after, f"{place}/{name}", depth + 1)
    if "items" in was and "items" in now:
        yield from _lost(was["items"], now["items"], before, after, f"{place}/[]", depth + 1)


def _access(before: _Operation, after: _Operation) -> Iterator[str]:
    for old in before.security:
        if not any(_opens(new, old) for new in after.security) and after.security:
            yield f"{' with '.join(old) or 'no credentials'} does not open it any more, or needs more scopes"


def _opens(new: Mapping[str, list[str]], old: Mapping[str, list[str]]) -> bool:
    """Whether whoever has the credentials of `old` has those of `new`."""
    return all(scheme in old and set(scopes) <= set(old[scheme]) for scheme, scopes in new.items())


def _resolved(document: _Document, value: Any) -> Any:
    """The value behind its references; what stands beside a reference is kept."""
    while isinstance(value, Mapping) and "$ref" in value:
        found: Any = document
        for name in str(value["$ref"]).removeprefix("#/").split("/"):
            found = found[name.replace("~1", "/").replace("~0", "~")]
        beside = {name: one for name, one in value.items() if name != "$ref"}
        value = {**found, **beside} if isinstance(found, Mapping) else found
    return value


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
