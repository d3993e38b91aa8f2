"""A small exact index beside a large one answers as one index of both would."""

from __future__ import annotations

import numpy as np
import pytest

from handlens.index import ExactIndex, HnswIndex, PatchedIndex, add_codes, available
from handlens.wire.pack import decode_codes, encode_codes

DIM, OLD, NEW = 16, 400, 20


def exact():
    return ExactIndex(space="s", dim=DIM)


def hnsw():
    return HnswIndex(space="s", dim=DIM)


@pytest.fixture(
    params=[exact, pytest.param(hnsw, marks=pytest.mark.skipif(available() is None, reason="hnswlib is missing"))]
)
def pair(request):
    """A patched index, and one index of the same vectors."""
    codes = encode_codes(unit(OLD + NEW))
    base, whole = request.param(), exact()
    add_codes(base, np.arange(OLD), codes[:OLD])
    base.delete([3, 5])
    add_codes(whole, np.arange(OLD + NEW), codes)
    whole.delete([3, 5])
    return PatchedIndex(base, np.arange(OLD, OLD + NEW), codes[OLD:]), whole


def unit(count, *, seed=0):
    drawn = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return decode_codes(encode_codes(drawn / np.linalg.norm(drawn, axis=1, keepdims=True)))


@pytest.mark.parametrize("k", [1, 10, OLD + NEW])
def test_the_nearest_of_both_come_in_one_order(pair, k):
    patched, whole = pair
    for query in unit(20, seed=1):
        found, expected = patched.search(query, k), whole.search(query, k)
        assert found.ids.tolist() == expected.ids.tolist()
        assert found.distances == pytest.approx(expected.distances, abs=1e-5)


def test_a_filter_reaches_both(pair):
    patched, whole = pair
    allowed = np.array([0, 3, 7, OLD + 1, OLD + 2, OLD + NEW + 9])
    query = unit(1, seed=2)[0]
    assert (
        patched.search(query, 9, allowed=allowed).ids.tolist() == whole.search(query, 9, allowed=allowed).ids.tolist()
    )
    assert sorted(patched.search(query, 9, allowed=np.array([0, 7])).ids.tolist()) == [0, 7]


def test_it_holds_what_both_hold(pair):
    patched, whole = pair
    assert len(patched) == len(whole)
    assert 3 not in patched
    assert 4 in patched
    assert OLD + 1 in patched
    assert patched.patched == NEW
