"""Whether one JSON Schema accepts all that another one accepts, keyword by keyword.

`accepts_less(before, after)` names every place where `after` refuses something that `before` takes. It is careful
rather than clever: where it cannot tell (another pattern, an unknown keyword), it says that less is accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["accepts_less"]

Resolve = Callable[[Any], Any]
_UPPER = ("maxLength", "maximum", "exclusiveMaximum", "maxItems", "maxProperties")
_LOWER = ("minLength", "minimum", "exclusiveMinimum", "minItems", "minProperties")
_SAME = ("pattern", "format", "contentEncoding", "contentMediaType", "multipleOf")
_NOTES = ("title", "description", "default", "example", "examples", "deprecated", "$comment")
_KNOWN = (
    *_UPPER, *_LOWER, *_SAME, *_NOTES, "type", "enum", "const", "uniqueItems", "required", "properties", "items",
    "prefixItems", "additionalProperties", "propertyNames", "oneOf", "anyOf", "allOf", "dependentRequired",
)  # fmt: skip


def accepts_less(
    before: Any,
    after: Any,
    resolve_before: Resolve,
    resolve_after: Resolve,
    place: str = "",
    seen: frozenset[tuple[str, str]] = frozenset(),
) -> Iterator[str]:
    """The places where `after` accepts less than `before`; the resolvers follow references in either document."""
    pair = (str(before), str(after))
    if pair in seen:  # a schema that holds itself
        return
    more = (resolve_before, resolve_after)
    old, new = resolve_before(before), resolve_after(after)
    if new is True or old is False:
        return
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        yield f"{place}: takes nothing, or less"
        return
    seen = seen | {pair}
    yield from _values(old, new, place)
    yield from _bounds(old, new, place)
    yield from _objects(old, new, more, place, seen)
    yield from _arrays(old, new, more, place, seen)
    yield from _alternatives(old, new, more, place, seen)
    for name in new:
        if name not in _KNOWN and old.get(name) != new[name]:
            yield f"{place}: {name} changed"


def _values(old: Mapping[str, Any], new: Mapping[str, Any], place: str) -> Iterator[str]:
    types, kept = _types(old), _types(new)
    if kept and not types <= (kept | ({"integer"} if "number" in kept else set())):
        yield f"{place}: of type {' or '.join(sorted(kept))} only"
    allowed, was = _enum(new), _enum(old)
    if allowed is not None and (was is None or any(value not in allowed for value in was)):
        yield f"{place}: fewer values are allowed"


def _bounds(old: Mapping[str, Any], new: Mapping[str, Any], place: str) -> Iterator[str]:
    for name in _UPPER:
        if name in new and (name not in old or new[name] < old[name]):
            yield f"{place}: {name} is {new[name]}, it was {old.get(name, 'open')}"
    for name in _LOWER:
        if name in new and new[name] > old.get(name, 0 if name.startswith("min") and "mum" not in name else -1e308):
            yield f"{place}: {name} is {new[name]}, it was {old.get(name, 'open')}"
    for name in _SAME:
        if name in new and new[name] != old.get(name):
            yield f"{place}: {name} changed"
    if new.get("uniqueItems") and not old.get("uniqueItems"):
        yield f"{place}: uniqueItems is new"


def _objects(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    more: tuple[Resolve, Resolve],
    place: str,
    seen: frozenset[tuple[str, str]],
) -> Iterator[str]:
    for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
        yield f"{place}/{name}: is required"
    for name, needs in new.get("dependentRequired", {}).items():
        if set(needs) - set(old.get("dependentRequired", {}).get(name, ())):
            yield f"{place}/{name}: needs {', '.join(needs)} beside it"
    was, now = old.get("properties", {}), new.get("properties", {})
    for name in was.keys() & now.keys():
        yield from accepts_less(was[name], now[name], *more, f"{place}/{name}", seen)
    others = new.get("additionalProperties", True)
    if others is False:
        for name in sorted(was.keys() - now.keys()):
            yield f"{place}/{name}: is not known any more"
    if others is not True:
        yield from accepts_less(old.get("additionalProperties", True), others, *more, f"{place}/*", seen)
    if "propertyNames" in new:
        yield from accepts_less(old.get("propertyNames", True), new["propertyNames"], *more, f"{place}/(name)", seen)


def _arrays(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    more: tuple[Resolve, Resolve],
    place: str,
    seen: frozenset[tuple[str, str]],
) -> Iterator[str]:
    if "items" in new:
        yield from accepts_less(old.get("items", True), new["items"], *more, f"{place}/[]", seen)
    was = old.get("prefixItems", [])
    for at, one in enumerate(new.get("prefixItems", [])):
        yield from accepts_less(was[at] if at < len(was) else True, one, *more, f"{place}/[{at}]", seen)


def _alternatives(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    more: tuple[Resolve, Resolve],
    place: str,
    seen: frozenset[tuple[str, str]],
) -> Iterator[str]:
    for name in ("oneOf", "anyOf", "allOf"):
        was, now = old.get(name), new.get(name)
        if now is None:
            continue
        if was is None:
            yield f"{place}: {name} is new"
            continue
        if name == "allOf" and len(was) == len(now):
            for at, (one, other) in enumerate(zip(was, now, strict=True)):
                yield from accepts_less(one, other, *more, f"{place}({at})", seen)
            continue
        for at, one in enumerate(was):
            if all(any(accepts_less(one, other, *more, place, seen)) for other in now):
                yield f"{place}: {name} has no room for its form {at} any more"


def _types(schema: Mapping[str, Any]) -> set[str]:
    value = schema.get("type")
    if value is None:
        return _types_of_values(schema)
    return {value} if isinstance(value, str) else set(value)


def _types_of_values(schema: Mapping[str, Any]) -> set[str]:
    values = _enum(schema)
    names: dict[type, str] = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    every = {"string", "boolean", "integer", "number", "null", "object", "array"}
    return every if values is None else {names.get(type(value), "object") for value in values}


def _enum(schema: Mapping[str, Any]) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return schema.get("enum")
