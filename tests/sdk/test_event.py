from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlens import Box, DecodeError
from handlens.wire.event import CONSENTS, EVENT_KINDS, MAX_CROP_BYTES, Event

ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
SAVE = {"format": 1, "event_id": ID, "kind": "save", "at": "2026-01-01T10:00:00Z", "request_id": "r", "release": "one",
        "item_id": "axe"}  # fmt: skip

short = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
spans = st.integers(0, 99_999).flatmap(lambda low: st.tuples(st.just(low), st.integers(low + 1, 100_000)))
boxes = st.tuples(spans, spans).map(
    lambda xy: Box(xy[0][0] / 100_000, xy[1][0] / 100_000, xy[0][1] / 100_000, xy[1][1] / 100_000)
)
events = st.builds(
    Event,
    event_id=st.uuids(version=4).map(str),
    kind=st.sampled_from(EVENT_KINDS),
    at=st.just("2026-01-01T10:00:00Z"),
    request_id=short.filter(bool),
    release=short,
    object_type=short,
    item_id=short.filter(bool),
    box=boxes,
    label=short.filter(bool),
    shown_label=short,
    shown=st.lists(short, max_size=5).map(tuple),
    space=short,
    embedding=st.binary(max_size=130),
    crop=st.binary(max_size=50),
)


@given(events)
def test_survives_the_wire(event: Event) -> None:
    assert Event.from_json(event.to_json()) == event


def test_format_1_has_this_text() -> None:
    event = Event(ID, "box", "2026-01-01T10:00:00Z", "r", "one", object_type="food", box=Box(0.1, 0.2, 0.5, 0.6),
                  label="avocado", embedding=b"\x7f\x01", space="e1")  # fmt: skip
    assert event.to_json() == (
        '{"at":"2026-01-01T10:00:00Z","box":[0.1,0.2,0.5,0.6],"embedding":"fwE=","event_id":"' + ID + '","format":1,'
        '"kind":"box","label":"avocado","object_type":"food","release":"one","request_id":"r","space":"e1"}'
    )


def test_keeps_fields_that_it_does_not_know() -> None:
    assert json.loads(Event.from_json(json.dumps({**SAVE, "mood": "good"})).to_json())["mood"] == "good"


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"format": 2}, "upgrade handlens"),
        ({"event_id": "1"}, "random UUID"),
        ({"event_id": ID.upper()}, "random UUID"),
        ({"kind": "buy"}, "one of search, click"),
        ({"at": "yesterday"}, "a time such as"),
        ({"at": "2026-01-01T10:00:00.123456789012Z"}, "a time such as"),
        ({"item_id": ""}, "an event of kind 'save' needs one"),
        ({"kind": "box"}, "box"),
        ({"kind": "label"}, "label"),
        ({"label": "x" * 201}, "at most 200 characters"),
        ({"label": "\ud800"}, "Unicode"),
        ({"shown": ["x"] * 201}, "at most 200 item ids"),
        ({"shown": "x"}, "list of strings"),
        ({"box": [0, 0, 2, 1]}, "box"),
        ({"embedding": "%"}, "base64"),
        ({"crop": "A" * (MAX_CROP_BYTES * 2)}, "more than|at most"),
    ],
)
def test_refuses_a_wrong_field_by_its_name(change: dict[str, Any], cause: str) -> None:
    with pytest.raises(DecodeError, match=cause):
        Event.from_json(json.dumps({**SAVE, **change}))


@given(events)
def test_consent_decides_what_is_in_it(event: Event) -> None:
    levels = {consent: event.within(consent) for consent in CONSENTS[1:]}
    assert (levels["events"].embedding, levels["events"].space, levels["events"].crop) == (b"", "", b"")
    assert (levels["embedding"].embedding, levels["embedding"].crop) == (event.embedding, b"")
    assert levels["crop"] == event
