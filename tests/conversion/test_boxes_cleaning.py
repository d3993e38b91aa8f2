"""Cleaning and robots: what is taken out, whatever the order and however often."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlens_conversion.boxes.cleaning import CleaningSettings, clean_photo, fault_of, keep_fewest
from handlens_conversion.boxes.drawn import DrawnBox, Edges
from handlens_conversion.boxes.reasons import RejectReason
from handlens_conversion.boxes.robots import RobotSettings, robot_verdict, shape_of, statistics_of

_EDGE = st.integers(0, 100).map(lambda step: step / 100)
_BOX = st.tuples(_EDGE, _EDGE, _EDGE, _EDGE).filter(lambda box: box[0] < box[2] and box[1] < box[3])


@st.composite
def drawn_on_one_photo(draw: st.DrawFn) -> list[DrawnBox]:
    rows = draw(st.lists(st.tuples(st.integers(0, 4), _BOX, st.integers(0, 9)), max_size=30))
    return [drawn(f"e{number:03d}", f"u{user}", box, at=at) for number, (user, box, at) in enumerate(rows)]


def drawn(event_id: str, user: str = "u", box: Edges = (0.2, 0.2, 0.6, 0.6), *, at: float = 0.0) -> DrawnBox:
    return DrawnBox(event_id, user, "p", box, None, at)


@pytest.mark.parametrize(
    ("box", "fault"),
    [
        ((0.0, 0.0, 1.0, 1.0), "whole-photo"),
        ((0.004, 0.0, 0.999, 1.0), "whole-photo"),
        ((0.02, 0.0, 1.0, 1.0), None),
        ((0.5, 0.1, 0.505, 0.9), "degenerate"),
        ((0.5, 0.5, 0.515, 0.515), "degenerate"),
        ((0.5, 0.5, 0.55, 0.55), None),
    ],
)
def test_shapes_that_no_object_has_are_told(box: Edges, fault: str | None) -> None:
    found = fault_of(box)
    assert (None if found is None else found.value) == fault


def test_of_a_user_s_boxes_on_one_object_the_last_stays() -> None:
    boxes = [
        drawn("a", at=1.0),
        drawn("b", box=(0.21, 0.2, 0.6, 0.61), at=5.0),
        drawn("c", box=(0.7, 0.7, 0.9, 0.9), at=2.0),
        drawn("d", user="v", at=1.0),
    ]
    cleaned = clean_photo(boxes)
    assert [one.event_id for one in cleaned.kept] == ["b", "c", "d"]
    assert [one.reason for one in cleaned.rejects] == [RejectReason.REPEAT]


def test_one_person_cannot_fill_a_photo_and_many_cannot_flood_it() -> None:
    grid = [(x / 20, y / 20, x / 20 + 0.04, y / 20 + 0.04) for x in range(20) for y in range(20)]
    mine = [drawn(f"m{at}", box=box) for at, box in enumerate(grid)]
    others = [drawn(f"o{at}", f"u{at}") for at in range(1000)]
    settings = CleaningSettings(per_user_photo=10, per_photo=50)
    cleaned = clean_photo(mine + others, settings)
    assert len(cleaned.kept) == 50
    assert sum(one.user == "u" for one in cleaned.kept) <= 10
    assert len(cleaned.rejects) == 1350


@given(drawn_on_one_photo(), st.randoms())
def test_the_order_of_boxes_does_not_count_and_cleaning_twice_is_cleaning_once(
    boxes: list[DrawnBox], random: object
) -> None:
    settings = CleaningSettings(per_user_photo=4, per_photo=9)
    once = clean_photo(boxes, settings)
    shuffled = list(boxes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert clean_photo(shuffled, settings).kept == once.kept
    again = clean_photo(once.kept, settings)
    assert (again.kept, again.rejects) == (once.kept, ())


@given(drawn_on_one_photo())
def test_every_box_is_kept_or_rejected(boxes: list[DrawnBox]) -> None:
    cleaned = clean_photo(boxes, CleaningSettings(per_user_photo=4, per_photo=9))
    assert len(cleaned.kept) + len(cleaned.rejects) == len(boxes)


@given(drawn_on_one_photo(), st.integers(0, 30), st.integers(0, 12))
def test_a_cap_of_parts_then_of_the_whole_is_the_cap_of_the_whole(boxes: list[DrawnBox], cut: int, most: int) -> None:
    def capped(some: list[DrawnBox]) -> list[DrawnBox]:
        return list(keep_fewest(some, most, RejectReason.OVER_USER_CAP).kept)

    assert capped(capped(boxes[:cut]) + capped(boxes[cut:])) == capped(boxes)


def person(boxes: int, *, seconds: float) -> list[DrawnBox]:
    shapes = [
        (0.01 * (at % 37), 0.01 * (at % 29), 0.4 + 0.01 * (at % 53), 0.5 + 0.01 * (at % 41)) for at in range(boxes)
    ]
    return [drawn(f"e{at}", box=box, at=seconds * at) for at, box in enumerate(shapes)]


def test_who_draws_thousands_at_a_person_s_pace_is_no_robot() -> None:
    assert not robot_verdict(statistics_of(person(5000, seconds=20))).is_robot


def test_who_draws_faster_than_any_person_is_a_robot() -> None:
    verdict = robot_verdict(statistics_of(person(3000, seconds=0.5)))
    assert (verdict.is_robot, verdict.busiest_hour) == (True, 3000)


def test_who_draws_the_same_box_on_every_photo_is_a_robot() -> None:
    verdict = robot_verdict(statistics_of([drawn(f"e{at}", at=60.0 * at) for at in range(100)]))
    assert verdict.is_robot
    assert verdict.entropy == 0


def test_who_drew_little_is_not_judged() -> None:
    assert not robot_verdict(statistics_of([drawn(f"e{at}") for at in range(59)])).is_robot


@given(drawn_on_one_photo(), st.integers(0, 30))
def test_statistics_of_parts_add_up_to_those_of_the_whole(boxes: list[DrawnBox], cut: int) -> None:
    whole = statistics_of(boxes)
    assert statistics_of(boxes[:cut]) + statistics_of(boxes[cut:]) == whole
    settings = RobotSettings(min_boxes=1, min_entropy=1.0)
    parts = statistics_of(boxes[cut:]) + statistics_of(boxes[:cut])
    assert robot_verdict(parts, settings) == robot_verdict(whole, settings)


def test_shapes_that_differ_by_an_eighth_are_different_shapes() -> None:
    assert shape_of((0.0, 0.0, 0.5, 0.5)) != shape_of((0.0, 0.0, 0.5, 0.625))
    assert shape_of((0.0, 0.0, 0.5, 0.5)) == shape_of((0.0, 0.01, 0.51, 0.5))


def test_a_robot_s_sample_does_not_show_who_it_is() -> None:
    boxes = [replace(drawn("e"), user="secret", box=(0.0, 0.0, 1.0, 1.0))]
    assert "secret" not in clean_photo(boxes).rejects[0].sample
