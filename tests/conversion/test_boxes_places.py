"""Where one or two users drew, nothing is known: told coarsely, and only among enough users."""

from __future__ import annotations

import random

from support.drawn_boxes import drawn_on

from handlens_conversion.boxes.consensus import ConsensusSettings, find_objects
from handlens_conversion.boxes.drawn import DrawnBox, Edges
from handlens_conversion.boxes.places import GRID, unsettled_places

AGREED: Edges = (0.1, 0.1, 0.4, 0.5)
SETTINGS = ConsensusSettings()
ALONE: Edges = (0.613, 0.522, 0.847, 0.911)


def drawn(box: Edges, user: int) -> DrawnBox:
    return DrawnBox(f"event-{user}-{box[0]}", f"user-{user}", "photo", box, "cup", 0.0)


def crowd() -> list[DrawnBox]:
    """Four users who agree."""
    left, top, right, bottom = AGREED
    return [drawn((left + off, top, right + off, bottom), user) for user, off in enumerate((0.0, 0.004, 0.008, 0.002))]


def places(boxes: list[DrawnBox], settings: ConsensusSettings = SETTINGS) -> tuple[Edges, ...]:
    return unsettled_places(boxes, find_objects(boxes, settings), settings)


def test_what_one_user_drew_is_a_place_that_holds_its_middle() -> None:
    (place,) = places([*crowd(), drawn(ALONE, 7)])
    x, y = (ALONE[0] + ALONE[2]) / 2, (ALONE[1] + ALONE[3]) / 2
    assert place[0] < x < place[2]
    assert place[1] < y < place[3]


def test_no_edge_of_a_users_box_is_shown() -> None:
    (place,) = places([*crowd(), drawn(ALONE, 7)])
    assert all((edge * GRID).is_integer() for edge in place)
    near = drawn((0.617, 0.525, 0.845, 0.913), 8)
    assert places([*crowd(), drawn(ALONE, 7), near]) == (place,)


def test_boxes_of_an_object_and_about_one_are_no_places() -> None:
    loose = (0.05, 0.05, 0.5, 0.6)
    assert places(crowd()) == ()
    assert places([*crowd(), drawn(loose, 7)]) == ()


def test_a_photo_that_too_few_users_drew_on_has_no_places() -> None:
    two = [drawn(AGREED, 1), drawn(ALONE, 2)]
    assert places(two) == ()
    assert len(places(two, ConsensusSettings(min_users=2))) == 2


def test_the_order_of_boxes_leaves_no_trace_in_places() -> None:
    boxes = [*drawn_on(["cat"]), *(drawn((0.6 + step / 50, 0.1, 0.7 + step / 50, 0.3), 20 + step) for step in range(5))]
    found = find_objects(boxes)
    told = unsettled_places(boxes, found)
    assert told
    assert unsettled_places(random.Random(1).sample(boxes, len(boxes)), found) == told


def test_a_box_at_the_border_stays_within_the_photo() -> None:
    (place,) = places([*crowd(), drawn((0.9, 0.9, 1.0, 1.0), 7)])
    assert min(place) >= 0
    assert max(place) <= 1
