from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlens.errors import BoxError, HandlensError
from handlens.geometry import WHOLE, Box, iou_matrix, nms

edges = st.tuples(*[st.floats(0, 1, allow_nan=False)] * 4).map(
    lambda e: (min(e[0], e[2]), min(e[1], e[3]), max(e[0], e[2]), max(e[1], e[3]))
)
boxes = edges.filter(lambda e: e[2] - e[0] > 1e-3 and e[3] - e[1] > 1e-3).map(lambda e: Box(*e))


@pytest.mark.parametrize(
    "bad",
    [(0.5, 0, 0.5, 1), (0.6, 0, 0.5, 1), (0, 0.9, 1, 0.1), (-0.1, 0, 1, 1), (0, 0, 1.01, 1), (math.nan, 0, 1, 1),
     (0, 0, math.inf, 1)],
)  # fmt: skip
def test_a_box_that_is_no_box_is_refused_with_its_edges(bad: tuple[float, ...]) -> None:
    with pytest.raises(BoxError, match="box"):
        Box(*bad)


def test_a_box_error_is_of_the_tree_and_a_value_error() -> None:
    with pytest.raises(HandlensError):
        Box(1, 1, 0, 0)
    with pytest.raises(ValueError, match="inverted"):
        Box(1, 1, 0, 0)


def test_pixels_become_fractions_of_the_image() -> None:
    assert Box.from_pixels(100, 50, 200, 100, image_size=(400, 200)) == Box(0.25, 0.25, 0.75, 0.75)


@pytest.mark.parametrize(
    ("pixels", "cause"),
    [((350, 0, 100, 10), "leaves the photo, which is 400 x 200"), ((0, 0, 0, 10), "empty"), ((9, 9, -5, 5), "empty"),
     ((-1, 0, 5, 5), "leaves"), ((math.nan, 0, 5, 5), "finite")],
)  # fmt: skip
def test_a_pixel_box_outside_the_photo_is_refused_with_the_cause(pixels: tuple[float, ...], cause: str) -> None:
    with pytest.raises(BoxError, match=cause):
        Box.from_pixels(*pixels, image_size=(400, 200))


@given(boxes, boxes)
def test_iou_is_symmetric_and_between_0_and_1(first: Box, second: Box) -> None:
    assert first.iou(second) == pytest.approx(second.iou(first))
    assert 0 <= first.iou(second) <= 1 + 1e-9


@given(boxes)
def test_iou_with_itself_is_1_and_with_the_whole_is_its_area(box: Box) -> None:
    assert box.iou(box) == pytest.approx(1)
    assert box.iou(WHOLE) == pytest.approx(box.area)


@given(boxes, st.floats(0, 1))
def test_an_expanded_box_holds_the_box_and_stays_in_the_image(box: Box, margin: float) -> None:
    grown = box.expanded(margin)
    assert grown.x_min <= box.x_min
    assert grown.x_max >= box.x_max
    assert grown.y_min <= box.y_min
    assert grown.y_max >= box.y_max


@given(boxes)
def test_a_box_survives_the_wire_to_a_hundred_thousandth(box: Box) -> None:
    back = Box.from_list(box.to_list())
    assert max(abs(a - b) for a, b in zip(back.to_list(), box.to_list(), strict=True)) <= 1e-5


@pytest.mark.parametrize("bad", [[], [1, 2, 3], ["a", 0, 1, 1], None, [0, 0, 1, 1, 1]])
def test_a_malformed_box_of_the_wire_is_refused(bad: object) -> None:
    with pytest.raises(BoxError, match="four numbers"):
        Box.from_list(bad)  # type: ignore[arg-type]


@given(st.lists(boxes, min_size=1, max_size=6), st.lists(boxes, min_size=1, max_size=6))
def test_the_iou_matrix_equals_the_pairs(first: list[Box], second: list[Box]) -> None:
    as_array = [
        np.array([[b.x_min, b.y_min, b.x_max, b.y_max] for b in group], np.float32) for group in (first, second)
    ]
    expected = [[a.iou(b) for b in second] for a in first]
    assert iou_matrix(*as_array) == pytest.approx(np.array(expected), abs=1e-3)


@given(st.lists(st.tuples(boxes, st.floats(0, 1)), min_size=1, max_size=8), st.floats(0, 0.9), st.integers(1, 8))
def test_nms_keeps_no_two_boxes_that_overlap_too_much_and_always_the_best(
    scored: list[tuple[Box, float]], max_iou: float, limit: int
) -> None:
    array = np.array([[b.x_min, b.y_min, b.x_max, b.y_max] for b, _ in scored], np.float32)
    scores = np.array([score for _, score in scored], np.float32)
    kept = nms(array, scores, max_iou=max_iou, limit=limit)
    assert kept[0] == int(scores.argmax())
    assert len(kept) <= limit
    assert list(scores[kept]) == sorted(scores[kept], reverse=True)
    for at, row in enumerate(kept):
        assert all(iou_matrix(array[[row]], array[[other]])[0, 0] <= max_iou for other in kept[:at])


def test_nms_of_nothing_is_nothing() -> None:
    assert nms(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), max_iou=0.5, limit=3) == []
