"""What is special to the HNSW index: its recall, after a build and after many changes."""

from __future__ import annotations

import numpy as np
import pytest

from handlens.index import ExactIndex, HnswIndex, available

pytestmark = pytest.mark.skipif(available() is None, reason="hnswlib is not installed: pip install 'handlens[hnsw]'")

DIM = 64


def clustered(count, *, seed):
    random = np.random.default_rng(seed)
    centres = random.standard_normal((count // 40, DIM))
    drawn = centres[random.integers(len(centres), size=count)] + 0.7 * random.standard_normal((count, DIM))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def recall(index, exact, queries, **options):
    found = [np.intersect1d(index.search(q, 10, **options).ids, exact.search(q, 10, **options).ids) for q in queries]
    return sum(map(len, found)) / (10 * len(queries))


@pytest.fixture(scope="module")
def pair():
    vectors = clustered(10_100, seed=0)
    index, exact = HnswIndex(space="s", dim=DIM, threads=2), ExactIndex(space="s", dim=DIM)
    for each in (index, exact):
        each.upsert(np.arange(10_000), vectors[:10_000])
    return index, exact, vectors[10_000:]


def test_recall_at_10_of_ten_thousand_vectors_is_at_least_99_percent(pair):
    assert recall(*pair) >= 0.99


@pytest.mark.parametrize("share", [0.01, 0.3, 0.8])
def test_a_filter_costs_no_recall(pair, share):
    allowed = np.random.default_rng(1).choice(10_000, int(10_000 * share), replace=False)
    assert recall(*pair, allowed=allowed) >= 0.99


def test_recall_holds_after_a_third_was_deleted_and_as_many_others_took_their_place():
    vectors = clustered(8_100, seed=2)
    index, exact = HnswIndex(space="s", dim=DIM, threads=2), ExactIndex(space="s", dim=DIM)
    gone = np.arange(0, 6_000, 3)
    for each in (index, exact):
        each.upsert(np.arange(6_000), vectors[:6_000])
        each.delete(gone)
        each.upsert(np.arange(6_000, 8_000), vectors[6_000:8_000])
    assert recall(index, exact, vectors[8_000:]) >= 0.98
    assert len(index) == 6_000


@pytest.mark.skipif("chroma" in (available() or ""), reason="chroma-hnswlib writes memory that it did not set")
def test_the_same_upserts_by_one_thread_give_the_same_file(tmp_path):
    digests = set()
    for _ in range(2):
        index = HnswIndex(space="s", dim=DIM)
        index.upsert(np.arange(400), clustered(400, seed=3))
        digests.add(index.save(tmp_path / "index"))
    assert len(digests) == 1


def test_the_distribution_that_supplies_hnswlib_is_named_with_its_version():
    name, number = available().split()
    assert name in ("hnswlib", "chroma-hnswlib")
    assert number[0].isdigit()


def test_many_small_changes_neither_cost_recall_nor_let_the_index_grow_without_end(tmp_path):
    vectors = clustered(4_100, seed=4)
    index, exact = HnswIndex(space="s", dim=DIM, threads=2), ExactIndex(space="s", dim=DIM)
    for each in (index, exact):
        each.upsert(np.arange(2_000), vectors[:2_000])
    size = saved_size(index, tmp_path)
    for start in range(0, 2_000, 100):
        for each in (index, exact):
            each.delete(np.arange(start, start + 100))
            each.upsert(np.arange(2_000 + start, 2_100 + start), vectors[2_000 + start : 2_100 + start])
    assert recall(index, exact, vectors[4_000:]) >= 0.98
    assert saved_size(index, tmp_path) < 1.25 * size


def saved_size(index, folder):
    index.save(folder / "index")
    return sum(path.stat().st_size for path in folder.iterdir())
