"""Targets say where an object's middle may be, and count an object once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from handlens_conversion.training.targets import CERTAIN, TIGHT, Targets, heat_targets, inside

SIDE = 40
HALF = np.array([[0.25, 0.25, 0.75, 0.75]])

edges = some.tuples(*[some.floats(0, 1, width=32)] * 4).map(
    lambda four: (min(four[:2]), min(four[2:]), max(four[:2]), max(four[2:]))
)
boxes = edges.filter(lambda box: box[2] - box[0] > 1e-3 and box[3] - box[1] > 1e-3)


def targets(*of: tuple[float, ...]) -> Targets:
    return heat_targets(np.array(of).reshape(-1, 4), [0] * len(of), labels=1, side=SIDE)


@given(boxes)
def test_an_object_counts_once_however_large_it_is(box: tuple[float, ...]) -> None:
    made = targets(box)
    assert made.shares.sum() == pytest.approx(1, rel=1e-5)
    assert np.array_equal(made.shares > 0, made.heat == CERTAIN)


@given(boxes)
def test_from_every_certain_cell_the_same_box_would_still_fit(box: tuple[float, ...]) -> None:
    rows, columns = np.nonzero(targets(box).heat[:, :, 0] == CERTAIN)
    middle = [min(int((box[at] + box[at + 2]) / 2 * SIDE), SIDE - 1) for at in (0, 1)]
    sides = [(box[at + 2] - box[at]) * SIDE for at in (0, 1)]
    across, down = (np.abs(cells - at) for cells, at in zip((columns, rows), middle, strict=True))
    shared = np.maximum(sides[0] - across, 0) * np.maximum(sides[1] - down, 0)
    assert (shared / (2 * sides[0] * sides[1] - shared) >= TIGHT - 1e-9).all()
    assert (0, 0) in zip(across.tolist(), down.tolist(), strict=True)


@given(some.lists(boxes, min_size=1, max_size=4), some.randoms())
def test_drawing_a_box_again_or_in_another_order_changes_nothing(
    drawn: list[tuple[float, ...]], random: np.random.Generator
) -> None:
    again = [*drawn, drawn[0], drawn[-1]]
    random.shuffle(again)
    once, more = targets(*drawn), targets(*again)
    assert np.array_equal(once.heat, more.heat)
    assert np.array_equal(once.shares, more.shares)


def test_a_target_falls_off_around_its_certain_cells() -> None:
    heat = heat_targets(HALF, [1], labels=2, side=SIDE).heat
    assert (heat[20, 18:23, 1] == CERTAIN).all()
    assert CERTAIN > heat[20, 24, 1] >= heat[20, 27, 1] >= heat[20, 39, 1] == 0
    assert not heat[:, :, 0].any()


def test_a_wide_box_has_a_wide_target() -> None:
    heat = targets((0.0, 0.4, 1.0, 0.6)).heat[:, :, 0]
    assert heat[20, 24] == CERTAIN > heat[24, 20]


def test_the_smallest_box_at_the_border_still_has_a_middle() -> None:
    assert targets((0.999, 0.999, 1.0, 1.0)).heat[39, 39, 0] == CERTAIN


def test_where_boxes_meet_the_larger_value_stands() -> None:
    pair = [(0.1, 0.1, 0.5, 0.5), (0.2, 0.2, 0.6, 0.6)]
    both, alone = targets(*pair), [targets(box) for box in pair]
    assert np.array_equal(both.heat, np.maximum(alone[0].heat, alone[1].heat))
    assert np.array_equal(both.shares, np.maximum(alone[0].shares, alone[1].shares))


def test_cells_inside_boxes_are_told() -> None:
    assert inside(np.array([[0.0, 0.0, 0.5, 0.25]]), side=4).sum() == 6
    assert not inside(np.zeros((0, 4)), side=4).any()
