"""Reading exported events: what is a box, and what is counted under which reason."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlens.feedback import Deed, feedback_events
from handlens.geometry import Box
from handlens.results import SearchResult
from handlens.wire.event import Event
from handlens_conversion.boxes.drawn import DrawnBox, EventRules, event_record, read_edges, read_event, read_line
from handlens_conversion.boxes.reasons import Reject, RejectReason

EVENT: dict[str, Any] = {
    "at": "2026-01-01T10:00:00Z",
    "box": [0.1, 0.2, 0.5, 0.6],
    "device_id": "0f8fad5b-d9cb-469f-a165-708677289501",
    "event_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "format": 1,
    "item_id": "apple-1",
    "kind": "box",
    "label": "apple",
    "received_at": "2026-01-01T10:05:00Z",
    "request_id": "r1",
}


def reason(changes: dict[str, Any], rules: EventRules | None = None) -> str:
    found = read_event({**EVENT, **changes}, rules or EventRules())
    assert isinstance(found, Reject), found
    return found.reason.value


def read_box(record: dict[str, Any]) -> DrawnBox:
    found = read_event(record)
    assert isinstance(found, DrawnBox), found
    return found


def test_an_exported_event_is_a_drawn_box() -> None:
    assert read_event(EVENT) == DrawnBox(
        EVENT["event_id"], EVENT["device_id"], "apple-1", (0.1, 0.2, 0.5, 0.6), "apple", 1767261600.0
    )


def test_what_feedback_keeps_is_read_once_the_server_added_its_two_fields() -> None:
    result = SearchResult("r1", (640, 480), (), "2026-01-01T00:00:00Z", "p1", "exact", ("demo",))
    deed = Deed(box=Box(0.1, 0.2, 0.5, 0.6), label="apple", pictured="apple-1")
    (event,) = feedback_events(result, deed, space="e1", now=datetime(2026, 1, 1, 10, tzinfo=timezone.utc))
    sent = Event.from_json(event.within("events").to_json())
    exported = sent.to_dict() | {"device_id": EVENT["device_id"], "received_at": "2026-01-01T10:00:09Z"}
    assert read_event(exported) == replace(read_box(EVENT), event_id=event.event_id)


def test_a_box_on_a_photo_of_the_users_own_can_agree_with_nobodys() -> None:
    assert reason({"item_id": None}) == "no-photo"


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([math.nan, 0.2, 0.5, 0.6], "not-finite"),
        ([0.1, 0.2, math.inf, 0.6], "not-finite"),
        ([-0.2, 0.2, 0.5, 0.6], "negative"),
        ([0.5, 0.2, 0.1, 0.6], "inverted"),
        ([0.1, 0.6, 0.5, 0.2], "inverted"),
        ([12.0, 30.0, 200.0, 340.0], "in-pixels"),
        ([0.1, 0.2, 0.5, 1.4], "outside"),
        ([0.1, 0.2, 0.1, 0.6], "degenerate"),
        ([1.01, 0.2, 1.04, 0.6], "degenerate"),
        ([0.1, 0.2, 0.5], "bad-field"),
        (["0.1", 0.2, 0.5, 0.6], "bad-field"),
        ([True, 0.2, 0.5, 0.6], "bad-field"),
        (None, "bad-field"),
        ("0.1,0.2,0.5,0.6", "bad-field"),
    ],
)
def test_a_bad_box_is_rejected_for_what_is_wrong_with_it(box: object, expected: str) -> None:
    assert reason({"box": box}) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"format": 2}, "unknown-format"),
        ({"format": None}, "unknown-format"),
        ({"format": True}, "unknown-format"),
        ({"kind": "click"}, "other-kind"),
        ({"kind": 7}, "bad-field"),
        ({"item_id": ""}, "no-photo"),
        ({"item_id": None}, "no-photo"),
        ({"item_id": 7}, "bad-field"),
        ({"event_id": None}, "bad-field"),
        ({"event_id": "x" * 201}, "bad-field"),
        ({"device_id": ""}, "bad-field"),
        ({"at": "yesterday"}, "bad-time"),
        ({"at": "2026-02-31T10:00:00Z"}, "bad-time"),
        ({"at": "2026-01-01T10:00:00"}, "bad-time"),
        ({"at": "2026-01-01T10:00:60Z"}, "bad-time"),
        ({"at": "2026-01-01T24:00:00Z"}, "bad-time"),
        ({"at": 1767261600}, "bad-time"),
        ({"received_at": "soon"}, "bad-time"),
        ({"at": "2026-01-03T10:00:00Z"}, "future-time"),
        ({"label": "apple\x00"}, "bad-words"),
        ({"label": "\ud83d"}, "bad-words"),
        ({"label": "caf\ufffd"}, "bad-words"),
        ({"label": "x" * 201}, "bad-words"),
        ({"label": 5}, "bad-words"),
    ],
)
def test_a_bad_field_is_rejected_for_what_is_wrong_with_it(changes: dict[str, Any], expected: str) -> None:
    assert reason(changes) == expected


def test_a_time_after_the_end_of_the_export_is_in_the_future_whatever_the_server_wrote() -> None:
    assert reason({}, EventRules(latest=1767261600.0 - 90_000)) == "future-time"


def test_a_time_is_read_to_the_microsecond() -> None:
    at = read_box({**EVENT, "at": "2026-01-01T10:01:07.250001+00:00"}).at
    assert at == datetime(2026, 1, 1, 10, 1, 7, 250_001, tzinfo=timezone.utc).timestamp()


def test_an_edge_that_slipped_over_the_photo_s_border_is_clipped() -> None:
    found = read_event({**EVENT, "box": [-0.02, 0, 1.03, 0.5]})
    assert isinstance(found, DrawnBox)
    assert found.box == (0.0, 0.0, 1.0, 0.5)


def test_words_in_any_script_are_kept_as_typed() -> None:
    for words in ("crème brûlée", "梨", "नींबू\u200dपानी", "two\u00a0words", "🍎"):
        found = read_event({**EVENT, "label": f" {words}\n"})
        assert isinstance(found, DrawnBox)
        assert found.words == words


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"label":"café"}'.encode("latin-1"), "not-unicode"),
        (json.dumps(EVENT).encode("utf-16"), "not-unicode"),
        (b'{"format":1,"kind":"box","bo', "not-json"),
        (b"[1,2]", "not-json"),
        (b"", "not-json"),
        (b"[" * 100_000, "not-json"),
        (json.dumps({**EVENT, "box": [math.nan] * 4}), "not-finite"),
    ],
)
def test_a_line_that_is_no_event_is_rejected_for_what_it_is(line: bytes | str, expected: str) -> None:
    found = read_line(line)
    assert isinstance(found, Reject)
    assert found.reason.value == expected


def test_a_sample_never_shows_the_user_and_is_short() -> None:
    for changes in ({"box": ["x" * 5000]}, {"device_id": "secret\x00"}, {"at": "never"}):
        found = read_event({**EVENT, **changes})
        assert isinstance(found, Reject)
        assert "secret" not in found.sample
        assert len(found.sample) <= 160


def test_every_reason_has_one_name_and_one_group() -> None:
    assert len({reason.value for reason in RejectReason}) == len(RejectReason)
    assert {reason.group for reason in RejectReason} == {"bad", "skipped", "cleaned"}


_EDGE = st.integers(0, 100_000).map(lambda step: step / 100_000)


@given(
    st.tuples(_EDGE, _EDGE, _EDGE, _EDGE).filter(lambda box: box[0] < box[2] and box[1] < box[3]),
    st.none() | st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20),
    st.integers(0, 4_000_000_000),
)
def test_what_is_written_as_an_event_is_read_as_the_same_box(
    box: tuple[float, float, float, float], words: str | None, at: int
) -> None:
    drawn = DrawnBox("7c9e6679-7425-40de-944b-e07fc1f90ae7", "u1", "photo-1", box, words, float(at))
    if words is None or "\ufffd" not in words:
        assert read_line(json.dumps(event_record(drawn))) == drawn


@given(
    st.dictionaries(
        st.sampled_from(sorted(EVENT)), st.none() | st.integers() | st.floats() | st.text() | st.lists(st.floats())
    )
)
def test_no_row_raises(changes: dict[str, Any]) -> None:
    assert isinstance(read_event({**EVENT, **changes}), (DrawnBox, Reject))


@given(
    st.lists(st.sampled_from([-0.0, 0.0, 1.0, 1e-9, -0.01, 1.01, math.nan, math.inf]) | _EDGE, min_size=4, max_size=4)
)
def test_edges_of_json_and_of_any_other_sequence_are_judged_alike(edges: list[float]) -> None:
    listed, others = read_edges(edges), read_edges(tuple(edges))
    if isinstance(listed, Reject) or isinstance(others, Reject):
        assert getattr(listed, "reason", None) == getattr(others, "reason", None)
    else:
        assert list(map(repr, listed)) == list(map(repr, others))  # 0.0 is not -0.0
