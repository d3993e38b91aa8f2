"""Drawing the classes that a head is not trained on."""

from __future__ import annotations

from handlens_conversion.embedder_heldout import draw_classes

LABELS = [f"class {number}" for number in range(50)]


def test_a_seed_draws_the_same_fifth_whatever_the_order_and_number_of_rows() -> None:
    drawn = draw_classes(LABELS, seed=3)
    assert len(drawn) == 10
    assert drawn == draw_classes([*reversed(LABELS), *LABELS], seed=3)


def test_seeds_draw_different_classes() -> None:
    assert len({draw_classes(LABELS, seed=seed) for seed in range(5)}) == 5
