"""What differs between two policies, said in the terms of those who write them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from handlens.blend import Policy, Rule
from handlens.wire.item import OBJECT_TYPES

__all__ = ["Change", "policy_changes"]

_PLAIN = ("version", "gates", "curves", "other_type", "diversity", "freshness", "languages", "audiences", "exploration",
          "fallback")  # fmt: skip
_OF_A_SECTION = ("share", "min_score", "sources", "kinds", "title", "tagged_title", "needs_type", "needs_annotation")


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: where (`path`), what (added, removed, moved, changed), and what stood and stands there."""

    path: str
    what: str
    before: Any = None
    after: Any = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {"path": self.path, "what": self.what, "before": self.before, "after": self.after}

    def __str__(self) -> str:
        if self.what == "added":
            return f"+ {self.path}: {_told(self.after)}"
        if self.what == "removed":
            return f"- {self.path}: {_told(self.before)}"
        return f"{'^' if self.what == 'moved' else '~'} {self.path}: {_told(self.before)} -> {_told(self.after)}"


def policy_changes(before: Policy, after: Policy) -> list[Change]:
    """The differences, settings first, then every type in every confidence band that the newer policy knows."""
    found = [change for name in _PLAIN for change in _values(name, getattr(before, name), getattr(after, name))]
    found += _values("bands", *({band.name: band for band in one.bands} for one in (before, after)))
    found += _picks(before, after)
    for band in after.bands:
        for object_type in (*OBJECT_TYPES, "default"):
            path = f"{object_type}[{band.name}]"
            found += _layouts(path, *(list(one.chain(object_type, band.least)) for one in (before, after)))
    return found


def _layouts(path: str, before: list[tuple[str, Any]], after: list[tuple[str, Any]]) -> Iterator[Change]:
    yield from _sections(path, before[0][1], after[0][1])
    walks = [" > ".join(name for name, _ in chain[1:]) or "none" for chain in (before, after)]
    if walks[0] != walks[1]:
        yield Change(f"{path}.fallback", "changed", *walks)


def _sections(path: str, before: Sequence[Rule], after: Sequence[Rule]) -> Iterator[Change]:
    old, new = {rule.name: rule for rule in before}, {rule.name: rule for rule in after}
    for name in old:
        if name not in new:
            yield Change(f"{path}.{name}", "removed", _summary(old[name]))
    for name, rule in new.items():
        if name not in old:
            yield Change(f"{path}.{name}", "added", None, _summary(rule))
            continue
        for attribute in _OF_A_SECTION:
            yield from _values(f"{path}.{name}.{attribute}", getattr(old[name], attribute), getattr(rule, attribute))
    yield from _moves(path, [name for name in old if name in new], [name for name in new if name in old])


def _moves(path: str, before: Sequence[str], after: Sequence[str]) -> Iterator[Change]:
    """Sections whose place among those that stayed is another."""
    for at, name in enumerate(after):
        was = before.index(name)
        if was != at:
            yield Change(f"{path}.{name}", "moved", f"place {was + 1}", f"place {at + 1}")


def _picks(before: Policy, after: Policy) -> Iterator[Change]:
    for pick in before.picks:
        if pick not in after.picks:
            yield Change("picks", "removed", _plain(pick))
    for pick in after.picks:
        if pick not in before.picks:
            yield Change("picks", "added", None, _plain(pick))


def _values(path: str, before: Any, after: Any) -> Iterator[Change]:
    if before == after:
        return
    if is_dataclass(before) and type(before) is type(after):
        for one in fields(before):
            yield from _values(f"{path}.{one.name}", getattr(before, one.name), getattr(after, one.name))
    elif isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys((*before, *after)):
            if name not in after:
                yield Change(f"{path}.{name}", "removed", _plain(before[name]))
            elif name not in before:
                yield Change(f"{path}.{name}", "added", None, _plain(after[name]))
            else:
                yield from _values(f"{path}.{name}", before[name], after[name])
    else:
        yield Change(path, "changed", _plain(before), _plain(after))


def _summary(rule: Rule) -> dict[str, Any]:
    return {name: _plain(getattr(rule, name)) for name in ("share", "sources", "kinds", "min_score")}


def _plain(value: Any) -> Any:
    """What JSON can hold."""
    if is_dataclass(value) and not isinstance(value, type):
        kind = {"curve": type(value).__name__.lower()} if type(value).__module__.endswith("curves") else {}
        return kind | {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else value


def _told(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_told(entry)}" for name, entry in value.items())
    if isinstance(value, list):
        return "+".join(map(_told, value)) if value and not isinstance(value[0], dict) else _joined(value)
    return str(value)


def _joined(values: Iterable[Any]) -> str:
    return "; ".join(map(_told, values)) or "none"
