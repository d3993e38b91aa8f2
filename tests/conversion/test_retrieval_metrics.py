"""Retrieval figures, on rankings small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlens_conversion.retrieval_metrics import cosines, measure, rank, unit

EAST, NORTH, NORTH_EAST = [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]


def vectors(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def test_nearest_by_angle_comes_first_whatever_the_length() -> None:
    ranks = rank(vectors([5.0, 0.1]), vectors(NORTH, NORTH_EAST, [0.01, 0.0]))
    assert ranks.tolist() == [[2, 1, 0]]


def test_ties_go_to_the_earlier_gallery_row() -> None:
    assert rank(vectors(EAST), vectors(EAST, [2.0, 0.0], EAST)).tolist() == [[0, 1, 2]]


def test_a_gallery_smaller_than_the_depth_is_ranked_whole() -> None:
    assert rank(vectors(EAST), vectors(EAST, NORTH), depth=10).shape == (1, 2)


def test_figures_of_a_ranking_counted_by_hand() -> None:
    gallery = ["a", "b", "b", "c", "a", "a", "c", "c", "c", "b", "b"]
    types = ["food" if label == "a" else "tool" for label in gallery]
    ranks = np.array(
        [
            [0, 4, 5, 1, 2, 3, 6, 7, 8, 9],  # a: first, and three of the first ten
            [0, 3, 6, 7, 1, 2, 9, 10, 4, 5],  # b: only fifth, four of ten; the first is of the wrong type
            [1, 2, 9, 10, 0, 3, 6, 7, 8, 4],  # c: only sixth, four of ten; the first is of the right type
        ]
    )
    figures = measure(
        ranks, queries=["a", "b", "c"], gallery=gallery, query_types=["food", "tool", "tool"], gallery_types=types
    )
    assert figures.recall_at_1 == pytest.approx(1 / 3)
    assert figures.recall_at_5 == pytest.approx(2 / 3)
    assert figures.precision_at_10 == pytest.approx((3 + 4 + 4) / 30)
    assert figures.type_at_1 == pytest.approx(2 / 3)
    assert figures.queries == 3


def test_figures_of_no_query_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be measured"):
        measure(np.empty((0, 3), np.intp), queries=[], gallery=["a"], query_types=[], gallery_types=["food"])


def test_cosine_of_equal_opposite_and_perpendicular_rows() -> None:
    found = cosines(vectors(EAST, EAST, EAST), vectors([3.0, 0.0], [-1.0, 0.0], NORTH))
    assert found.tolist() == [1.0, -1.0, 0.0]


@given(st.lists(st.lists(st.integers(-1000, 1000), min_size=3, max_size=3), min_size=1, max_size=8))
def test_unit_rows_have_length_one_or_stay_zero(rows: list[list[int]]) -> None:
    lengths = np.linalg.norm(unit(np.array(rows, dtype=np.float32)), axis=1)
    np.testing.assert_allclose(lengths, [float(any(row)) for row in rows], atol=1e-5)
