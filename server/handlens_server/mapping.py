"""How the columns of a partner's CSV become the fields of items: a mapping, written as a TOML file.

Rules:

1. A field comes from exactly one of `column`, `constant` or `template` (text with ``{column}`` in it).
2. `values` translates what was read; what it does not have takes `default`, or the row is refused.
3. Without `values`, an empty column takes `default`, or the field is left out.
4. `annotations` is split at `split` into tags, lower-cased, each with the weight `weight`. `quality` is a number.
5. A key, field or column that is not known is an error of the mapping, never ignored.

::

    delimiter = ";"
    [fields]
    item_id = { template = "acme-{sku}" }
    kind = { constant = "product" }
    object_type = { column = "category", values = { Shoes = "fashion", Lamps = "home" }, default = "other" }
    title = { column = "name" }
    annotations = { column = "keywords", split = "|", weight = 0.8 }
    [fields.attributes]
    colour = { column = "colour" }
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handlens.errors import HandlensError
from handlens_server.item_rules import ItemRefusedError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["ColumnMapping", "MappingError", "Source", "read_mapping"]

_TEXT_FIELDS = (
    "item_id", "kind", "object_type", "title", "text", "link", "image", "locale", "audience", "group_id", "created_at",
)  # fmt: skip
_FIELDS = (*_TEXT_FIELDS, "quality", "annotations", "attributes")
_REQUIRED = ("item_id", "kind", "object_type", "title")
_ORIGINS = ("column", "constant", "template")
_PLACE = re.compile(r"\{([^{}]*)\}")


class MappingError(HandlensError):
    """The mapping cannot be used."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where one field comes from; see the rules of this module."""

    column: str | None = None
    constant: str | None = None
    template: str | None = None
    values: Mapping[str, str] | None = None
    default: str | None = None
    split: str | None = None
    weight: float = 1.0

    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        if self.template is not None:
            return tuple(_PLACE.findall(self.template))
        return () if self.column is None else (self.column,)

    def read(self, row: Mapping[str, str], name: str) -> str | None:
        """The text for field `name`, or None where the field is left out.

        Raises:
            ItemRefusedError: `values` has not the word, and there is no default.
        """
        found = self._plain(row)
        if self.values is not None and found not in self.values and self.default is None:
            raise ItemRefusedError(
                "wrong-columns", f"{name} is {found[:80]!r}, which the mapping's values have not: add it, or a default"
            )
        if self.values is not None:
            return self.values.get(found, self.default)
        return found or self.default

    def _plain(self, row: Mapping[str, str]) -> str:
        if self.constant is not None:
            return self.constant
        if self.template is not None:
            return _PLACE.sub(lambda place: row[place[1]].strip(), self.template)
        return row[self.column or ""].strip()


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """A whole mapping: where each field and each attribute comes from."""

    fields: Mapping[str, Source]
    attributes: Mapping[str, Source] = field(default_factory=dict)
    delimiter: str = ","

    def check_columns(self, header: tuple[str, ...]) -> None:
        """Refuse a header that lacks a column.

        Raises:
            MappingError: it names the column and those there are.
        """
        known = ", ".join(map(repr, header))[:300]
        for name, source in (*self.fields.items(), *self.attributes.items()):
            for column in source.columns():
                if column not in header:
                    raise MappingError(f"the mapping of {name} reads column {column!r}, the CSV has: {known}")

    def item_values(self, row: Mapping[str, str]) -> dict[str, Any]:
        """The JSON object of an item, from one row of the CSV.

        Raises:
            ItemRefusedError: a value cannot be mapped.
        """
        values = dict(_filled(self.fields, row))
        if "quality" in values:
            values["quality"] = _number(values["quality"])
        if "annotations" in values:
            source = self.fields["annotations"]
            values["annotations"] = dict.fromkeys(_tags(values["annotations"], source.split), source.weight)
        if self.attributes:
            values["attributes"] = dict(_filled(self.attributes, row))
        return values


def read_mapping(path: Path) -> ColumnMapping:
    """Read a mapping from a TOML file.

    Raises:
        MappingError: it cannot be read, or breaks a rule of this module; the message names the key.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MappingError(f"mapping {path} cannot be read ({error.strerror}): check --mapping") from error
    except ValueError as error:
        raise MappingError(f"mapping {path} is not TOML ({error}): mend it") from error
    try:
        return _mapping(document)
    except MappingError as error:
        raise MappingError(f"mapping {path}: {error}") from error


def _mapping(document: Mapping[str, Any]) -> ColumnMapping:
    _only(document, ("delimiter", "fields"), "the mapping")
    fields = _table(document.get("fields", {}), "fields")
    _only(fields, _FIELDS, "fields")
    for name in _REQUIRED:
        if name not in fields:
            raise MappingError(f"fields.{name} is missing: say where it comes from")
    delimiter = document.get("delimiter", ",")
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n':
        raise MappingError(f"delimiter is {delimiter!r}: give one character")
    attributes = _table(fields.get("attributes", {}), "fields.attributes")
    return ColumnMapping(
        fields={name: _source(entry, name) for name, entry in fields.items() if name != "attributes"},
        attributes={name: _source(entry, f"attributes.{name}") for name, entry in attributes.items()},
        delimiter=delimiter,
    )


def _source(entry: object, name: str) -> Source:
    table = _table(entry, name)
    options = ("values", "default", *(("split", "weight") if name == "annotations" else ()))
    _only(table, (*_ORIGINS, *options), name)
    if sum(origin in table for origin in _ORIGINS) != 1:
        raise MappingError(f"{name} needs exactly one of {', '.join(_ORIGINS)}")
    for key in (*_ORIGINS, "default", "split"):
        if key in table and (not isinstance(table[key], str) or (key != "default" and not table[key])):
            raise MappingError(f"{name}.{key} is {table[key]!r}: give a text")
    values = _table(table.get("values", {}), f"{name}.values")
    if not all(isinstance(value, str) for value in values.values()):
        raise MappingError(f"{name}.values must map texts to texts")
    weight = table.get("weight", 1.0)
    if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 <= weight <= 1:
        raise MappingError(f"{name}.weight is {weight!r}: give a number from 0 to 1")
    return Source(**{**table, "weight": float(weight)})


def _table(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise MappingError(f'{name} is {value!r}: give a table, such as {{ column = "name" }}')
    return value


def _only(table: Mapping[str, Any], known: tuple[str, ...], name: str) -> None:
    for key in table:
        if key not in known:
            raise MappingError(f"{name} has the key {key!r}: known are {', '.join(known)}")


def _filled(sources: Mapping[str, Source], row: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    for name, source in sources.items():
        value = source.read(row, name)
        if value is not None:
            yield name, value


def _tags(text: str, split: str | None) -> Iterator[str]:
    for tag in text.split(split) if split else (text,):
        if tag.strip():
            yield tag.strip().lower()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ItemRefusedError("bad-field", f"quality is {text[:80]!r}: give a number from 0 to 1") from error
