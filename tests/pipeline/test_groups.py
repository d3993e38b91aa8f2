"""Near-duplicates are found, all of them, and stand on one side of the split."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlens_conversion.pipeline.groups import SIDES, SplitRules, near_duplicates, split


def connected(hashes: list[int], most: int) -> list[int]:
    """The same by comparing all pairs."""
    group = list(range(len(hashes)))
    for one in range(len(hashes)):
        for other in range(one):
            if (hashes[one] ^ hashes[other]).bit_count() <= most:
                low, high = sorted((group[one], group[other]))
                group = [low if at == high else at for at in group]
    return group


@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=8, unique=True),
    st.lists(st.tuples(st.integers(0, 7), st.sets(st.integers(0, 63), max_size=9)), max_size=30),
    st.integers(0, 6),
)
def test_the_groups_are_those_of_comparing_all_pairs(
    bases: list[int], changes: list[tuple[int, set[int]]], most: int
) -> None:
    hashes = bases + [bases[at % len(bases)] ^ sum(1 << bit for bit in bits) for at, bits in changes]
    found = near_duplicates(np.array(hashes, dtype=np.uint64), max_distance=most)
    assert found.tolist() == connected(hashes, most)


def test_many_equal_hashes_are_one_group_without_comparing_all_of_them() -> None:
    hashes = np.full(200_000, 7, dtype=np.uint64)
    assert set(near_duplicates(hashes, max_distance=4).tolist()) == {0}


def names(count: int) -> list[str]:
    return [hashlib.sha256(str(at).encode()).hexdigest() for at in range(count)]


def test_the_shares_of_the_sides_are_those_asked_for() -> None:
    sides = split(names(20_000), np.arange(20_000), SplitRules(val=0.2, test=0.1))
    shares = {side: sides.count(side) / len(sides) for side in SIDES}
    assert shares == pytest.approx({"train": 0.7, "val": 0.2, "test": 0.1}, abs=0.01)


def test_a_group_is_on_one_side_whatever_the_order_of_its_photos() -> None:
    sha256s, groups = names(300), np.arange(300) // 3 * 3
    sides = split(sha256s, groups, SplitRules())
    assert all(len({*sides[at : at + 3]}) == 1 for at in range(0, 300, 3))
    assert split(sha256s[::-1], (299 - groups)[::-1], SplitRules()) == sides[::-1]


def test_photos_that_come_later_move_no_other_photo() -> None:
    before = split(names(500), np.arange(500), SplitRules())
    assert split(names(900), np.arange(900), SplitRules())[:500] == before
