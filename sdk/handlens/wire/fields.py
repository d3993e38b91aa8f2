"""Checked access to the fields of a decoded JSON object, with errors that name the field."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from handlens.errors import DecodeError

__all__ = ["Fields", "load_object"]

_HEXADECIMAL = frozenset("0123456789abcdef")


def load_object(text: str | bytes, *, what: str) -> dict[str, Any]:
    """The JSON object in `text`.

    Raises:
        DecodeError: not UTF-8, not JSON, or not an object; the message starts with `what`.
    """
    try:
        value = json.loads(text)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise DecodeError(f"{what} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise DecodeError(f"{what} must be a JSON object, not {type(value).__name__}")
    return value


class Fields:
    """Reads the fields of one object; every refusal says which field of what, and what was expected."""

    def __init__(self, values: object, *, what: str) -> None:
        if not isinstance(values, Mapping):
            raise DecodeError(f"{what} must be a JSON object, not {type(values).__name__}")
        self.values: Mapping[str, Any] = values
        self.what = what

    def require_format(self, known: int) -> None:
        """Refuse a major format that this version does not know."""
        found = self.integer("format")
        if found != known:
            raise DecodeError(f"{self.what} has format {found}, this handlens reads format {known}: upgrade handlens")

    def text(self, name: str, default: str | None = None) -> str:
        """A string field."""
        value = self._get(name, default)
        if not isinstance(value, str):
            raise self._wrong(name, value, "a string")
        return value

    def hexadecimal(self, name: str, digits: int) -> str:
        """A string of lower-case hexadecimal digits."""
        value = self.text(name)
        if len(value) != digits or not _HEXADECIMAL.issuperset(value):
            raise self._wrong(name, value, f"{digits} lower-case hexadecimal digits")
        return value

    def optional_text(self, name: str) -> str | None:
        """A string field that may be null or absent."""
        return None if self.values.get(name) is None else self.text(name)

    def integer(self, name: str, default: int | None = None) -> int:
        """A whole number."""
        value = self._get(name, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(name, value, "a whole number")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number."""
        value = self._get(name, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise self._wrong(name, value, "a finite number")
        return float(value)

    def strings(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        value = self._get(name, None)
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise self._wrong(name, value, "a list of strings")
        return tuple(value)

    def records(self, name: str) -> list[Fields]:
        """A list of objects."""
        value = self._get(name, None)
        if not isinstance(value, list):
            raise self._wrong(name, value, "a list of objects")
        return [Fields(entry, what=f"{self.what}.{name}[{at}]") for at, entry in enumerate(value)]

    def mapping(self, name: str, default: Mapping[str, Any] | None = None) -> Fields:
        """A nested object."""
        return Fields(self._get(name, default), what=f"{self.what}.{name}")

    def unknown(self, known: frozenset[str]) -> dict[str, Any]:
        """The fields that are not in `known`, to be kept."""
        return {name: value for name, value in self.values.items() if name not in known}

    def wrong(self, name: str, expected: str) -> DecodeError:
        """The error for a field whose value is refused by a rule of its record."""
        return self._wrong(name, self.values.get(name), expected)

    def _get(self, name: str, default: object) -> Any:
        value = self.values.get(name, default)
        if value is None:
            raise DecodeError(f"{self.what} lacks the field {name!r}")
        return value

    def _wrong(self, name: str, value: object, expected: str) -> DecodeError:
        shown = repr(value)
        return DecodeError(f"{self.what}.{name} is {shown[:80]}: expected {expected}")
