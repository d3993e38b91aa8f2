"""Isotonic regression: a curve that rises, and lies where the truth lies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlens_conversion.isotonic import rising_curve


def curve(beliefs: list[float], truths: list[bool], **settings: float) -> tuple[tuple[float, float], ...]:
    return rising_curve(np.array(beliefs), np.array(truths), np.ones(len(beliefs)), **settings)


def test_what_already_rises_stays() -> None:
    assert curve([0.1, 0.9], [False, True]) == ((0.1, 0.0), (0.9, 1.0))


def test_what_falls_is_pooled() -> None:
    assert curve([0.1, 0.2, 0.3, 0.9], [False, True, False, True]) == ((0.1, 0.0), (0.25, 0.5), (0.9, 1.0))


def test_weights_count() -> None:
    found = rising_curve(np.array([0.2, 0.3]), np.array([True, False]), np.array([3.0, 1.0]))
    assert found == ((0.225, 0.75),)


def test_no_step_rests_on_a_handful() -> None:
    rng = np.random.default_rng(0)
    beliefs = rng.random(500)
    found = rising_curve(beliefs, rng.random(500) < beliefs, np.ones(500), least_share=0.1)
    assert 2 <= len(found) <= 10


def test_the_curve_recovers_how_often_things_are_right() -> None:
    rng = np.random.default_rng(1)
    beliefs = rng.random(20_000)
    found = np.array(rising_curve(beliefs, rng.random(20_000) < beliefs**2, np.ones(20_000)))
    at = np.array([0.2, 0.5, 0.8])
    assert np.interp(at, found[:, 0], found[:, 1]) == pytest.approx(at**2, abs=0.05)


def test_nothing_to_fit_is_a_programmers_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        curve([], [])


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_both_coordinates_rise_and_stay_within_bounds(pairs: list[tuple[float, bool]]) -> None:
    found = curve([belief for belief, _ in pairs], [truth for _, truth in pairs])
    beliefs, heights = zip(*found, strict=True)
    assert list(beliefs) == sorted(set(beliefs))
    assert list(heights) == sorted(heights)
    assert all(0 <= one <= 1 for one in (*beliefs, *heights))
