from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlens import Box, DecodeError
from handlens.wire.event import CONSENTS, EVENT_KINDS, MAX_CROP_BYTES, Event
from handlens.wire.exposure import Exposure, Offer, ShownPlace

ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
SAVE = {"format": 1, "event_id": ID, "kind": "save", "at": "2026-01-01T10:00:00Z", "request_id": "r", "release": "one",
        "item_id": "axe"}  # fmt: skip

EXPOSURE = {
    "policy": "2",
    "explores": True,
    "type_confidence": 0.9,
    "words": [["orange", 0.8]],
    "limit": 12,
    "places": [["pie", "food/recipes", 0.25, True]],
    "offers": [["pie", "annotation", 0.6]],
}

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
    exposure=st.none()
    | st.builds(
        Exposure,
        policy=short,
        explores=st.booleans(),
        type_confidence=st.floats(0, 1),
        words=st.lists(st.tuples(short, st.floats(0, 1)), max_size=3).map(tuple),
        limit=st.integers(1, 50),
        places=st.lists(
            st.builds(ShownPlace, short, short, st.floats(0, 1, exclude_min=True), st.booleans()), max_size=4
        ).map(tuple),
        offers=st.lists(st.builds(Offer, short, short, st.floats(0, 1)), max_size=4).map(tuple),
    ),
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
        ({"exposure": []}, "event.exposure must be a JSON object"),
        ({"exposure": EXPOSURE | {"explores": 1}}, "true or false"),
        ({"exposure": EXPOSURE | {"type_confidence": 1.1}}, "from 0 to 1"),
        ({"exposure": EXPOSURE | {"places": [["pie", "food/recipes", 0, True]]}}, "propensity of 0"),
        ({"exposure": EXPOSURE | {"places": [["pie"]]}}, "event.exposure.places"),
        ({"exposure": EXPOSURE | {"offers": [["pie", "visual", "high"]]}}, "from 0 to 1"),
        ({"exposure": EXPOSURE | {"offers": [["x", "visual", 0.1]] * 401}}, "at most 400"),
        ({"exposure": EXPOSURE | {"words": [["\ud800", 0.5]]}}, "Unicode"),
        ({"exposure": EXPOSURE | {"limit": 0}}, "a limit of 0"),
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


def test_an_exposure_has_this_text() -> None:
    exposure = Exposure("2", True, 0.9, (("orange", 0.8),), 12, (ShownPlace("pie", "food/recipes", 0.25, True),),
                        (Offer("pie", "annotation", 0.6),))  # fmt: skip
    assert exposure.to_dict() == EXPOSURE


@pytest.mark.parametrize("consent", CONSENTS[1:])
def test_what_an_answer_was_chosen_from_goes_only_where_the_embedding_may_go(consent: str) -> None:
    exposure = Exposure.from_dict(EXPOSURE, what="exposure")
    event = Event(ID, "search", "2026-01-01T10:00:00Z", "r", "one", exposure=exposure).within(consent)
    assert event.exposure is not None
    assert event.exposure.places == exposure.places
    assert bool(event.exposure.offers) == (consent != "events")
