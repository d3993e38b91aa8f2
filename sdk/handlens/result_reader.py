"""Reading the JSON of an answer back, as `SearchResult.to_dict` writes it.

Confidences and scores come rounded, as they were written. What `to_dict` leaves out (keys, codes) is not there.
"""

from __future__ import annotations

from handlens.errors import BoxError, DecodeError
from handlens.geometry import Box
from handlens.results import (
    Annotation,
    Colour,
    Coverage,
    FoundObject,
    LeftOut,
    Match,
    Prominence,
    Region,
    SearchResult,
    Section,
    Understanding,
    Why,
)
from handlens.wire.fields import Fields
from handlens.wire.item import Item

__all__ = ["NO_KEY", "read_result"]

NO_KEY = -1  # the key of an item that the store here may not hold


def read_result(values: object) -> SearchResult:
    """The answer in a decoded JSON object.

    Raises:
        DecodeError: malformed.
    """
    fields = Fields(values, what="answer")
    size = fields.values.get("image_size")
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(one, int) for one in size):
        raise fields.wrong("image_size", "width and height in pixels")
    coverage = fields.mapping("coverage", {})
    timings = fields.mapping("timings_ms", {})
    return SearchResult(
        request_id=fields.text("request_id"),
        image_size=(size[0], size[1]),
        objects=tuple(_found(entry) for entry in fields.records("objects")),
        as_of=fields.text("as_of"),
        policy=fields.text("policy"),
        index=fields.text("index"),
        packs=fields.strings("packs"),
        served_by=fields.text("served_by"),
        release=fields.text("release", ""),
        timings_ms={step: timings.number(step) for step in timings.values},
        refine=fields.text("refine", ""),
        coverage=Coverage(coverage.integer("held", 0), coverage.integer("known", 0)),
        left_out=tuple(
            LeftOut(entry.text("source"), entry.text("reason"), entry.values.get("late") is True)
            for entry in (fields.records("left_out") if "left_out" in fields.values else ())
        ),
        can_improve=fields.values.get("can_improve") is True,
    )


def _found(fields: Fields) -> FoundObject:
    try:
        box = Box.from_list(fields.values.get("box") or ())
    except BoxError as error:
        raise DecodeError(f"{fields.what}: {error}") from error
    region = Region(
        box,
        fields.text("found_by"),
        fields.optional_text("label"),
        fields.number("score"),
        is_main=fields.values.get("main") is True,
        prominence=_prominence(fields),
    )
    notes = tuple(
        Annotation(
            note.text("tag"), note.number("confidence"), note.strings("sources"), note.values.get("broad") is True
        )
        for note in fields.records("annotations")
    )
    colours = tuple(map(Colour.from_fields, fields.records("colours"))) if "colours" in fields.values else ()
    understanding = Understanding(fields.text("type"), fields.number("type_confidence"), notes, colours)
    return FoundObject(region, understanding, tuple(_section(entry) for entry in fields.records("sections")))


def _prominence(fields: Fields) -> Prominence | None:
    if fields.values.get("prominence") is None:
        return None
    numbers = fields.mapping("prominence")
    return Prominence(numbers.number("size"), numbers.number("place"), numbers.number("confidence"))


def _section(fields: Fields) -> Section:
    matches = tuple(_match(entry) for entry in fields.records("matches"))
    return Section(fields.text("name"), fields.text("title"), matches)


def _match(fields: Fields) -> Match:
    item = Item.from_dict({name: value for name, value in fields.values.items() if name not in ("score", "why")})
    return Match(NO_KEY, item, fields.number("score"), Why.from_dict(fields.mapping("why").values))
