"""The taxonomy: which object type each label of the detector and of the classifier belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from handlens.wire.fields import Fields, load_object
from handlens.wire.item import OBJECT_TYPES

__all__ = ["Taxonomy"]

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """Two tables, label to object type; `titles` names each type for people.

    `broader` maps labels that are too fine to search by to the word that people use: 118 breeds to "dog". `synonyms`
    maps words to another word for the same things, which has no entry of its own: "eggplant" to "aubergine".
    """

    version: str
    titles: Mapping[str, str]
    detector: Mapping[str, str]
    classifier: Mapping[str, str]
    broader: Mapping[str, str] = field(default_factory=dict)
    synonyms: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str | bytes) -> Taxonomy:
        """Read `taxonomy.json`.

        Raises:
            DecodeError: malformed, a newer format, a label mapped to a type that does not exist, or a chain of
                synonyms.
        """
        fields = Fields(load_object(text, what="taxonomy"), what="taxonomy")
        fields.require_format(_FORMAT)
        labels = fields.mapping("labels")
        return cls(
            version=fields.text("version"),
            titles={name: fields.mapping("titles").text(name) for name in OBJECT_TYPES},
            detector=_types(labels.mapping("detector")),
            classifier=_types(labels.mapping("classifier")),
            broader=_words(labels.mapping("broader", {})),
            synonyms=_synonyms(fields.mapping("synonyms", {})),
        )

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        labels = {"detector": dict(self.detector), "classifier": dict(self.classifier)}
        labels["broader"] = dict(self.broader)
        known = {"format": _FORMAT, "version": self.version, "titles": dict(self.titles), "labels": labels}
        return {**known, "synonyms": dict(self.synonyms)}


def _types(fields: Fields) -> dict[str, str]:
    table = {label: fields.text(label) for label in fields.values}
    for label, object_type in table.items():
        if object_type not in OBJECT_TYPES:
            raise fields.wrong(label, f"one of {', '.join(OBJECT_TYPES)}")
    return table


def _words(fields: Fields) -> dict[str, str]:
    return {label: fields.text(label) for label in fields.values}


def _synonyms(fields: Fields) -> dict[str, str]:
    words = _words(fields)
    for word, preferred in words.items():
        if preferred in words:
            raise fields.wrong(word, f"the word that {preferred!r} stands for, {words[preferred]!r}")
    return words
