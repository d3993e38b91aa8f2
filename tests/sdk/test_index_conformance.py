"""What every index must do, run against each implementation.

Vectors are decoded int8 codes, as in a pack, so that the int8 index holds them without loss and all must agree.
"""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlens.errors import IncompatibleError, NotReadyError, StoreCorruptError, StoreError
from handlens.index import ExactIndex, HnswIndex, add_codes, available
from handlens.wire.pack import decode_codes, encode_codes

SPACE, DIM = "test-space", 16
HAVE_HNSW = pytest.mark.skipif(available() is None, reason="hnswlib is not installed: pip install 'handlens[hnsw]'")


def exact(dim=DIM):
    return ExactIndex(space=SPACE, dim=dim)


def exact_int8(dim=DIM):
    return ExactIndex(space=SPACE, dim=dim, dtype="int8")


def hnsw(dim=DIM):
    return HnswIndex(space=SPACE, dim=dim)


every_index = pytest.mark.parametrize("make", [exact, exact_int8, pytest.param(hnsw, marks=HAVE_HNSW)])


def vectors(count, *, seed=0, dim=DIM):
    drawn = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return decode_codes(encode_codes(drawn / np.linalg.norm(drawn, axis=1, keepdims=True)))


def filled(make, count, *, seed=0):
    index = make()
    index.upsert(np.arange(count), vectors(count, seed=seed))
    return index


def truth(held, query, k):
    """The k nearest of a dictionary id -> vector, by the definition."""
    query = query / np.linalg.norm(query)
    return sorted((1.0 - float(np.dot(vector, query)), id) for id, vector in held.items())[:k]


def assert_agrees(found, expected):
    assert len(found) == len(expected)
    assert found.distances == pytest.approx([distance for distance, _ in expected], abs=2e-5)
    assert (np.diff(found.distances) >= 0).all()


@every_index
def test_the_nearest_come_first_with_one_minus_cosine_as_distance(make):
    index = make(dim=2)
    index.upsert(np.array([7, 8, 9]), np.array([[1, 0], [0, 1], [-1, 0]], np.float32))
    found = index.search(np.array([1, 0], np.float32), 3)
    assert found.ids.tolist() == [7, 8, 9]
    assert found.distances == pytest.approx([0.0, 1.0, 2.0], abs=1e-6)
    assert (found.ids.dtype, found.distances.dtype) == (np.int64, np.float32)


@every_index
def test_an_empty_index_finds_nothing(make):
    index = make()
    assert len(index.search(vectors(1)[0], 5)) == 0
    assert len(index.search(vectors(1)[0], 5, allowed=np.array([1, 2]))) == 0
    assert len(index) == 0


@every_index
@pytest.mark.parametrize("k", [1, 9, 10, 11, 5000])
def test_a_search_gives_k_or_all_there_are(make, k):
    index = filled(make, 10)
    found = index.search(vectors(1, seed=9)[0], k)
    assert len(found) == min(k, 10)
    assert len(set(found.ids.tolist())) == len(found)


@every_index
def test_the_same_id_again_replaces_the_vector(make):
    index = filled(make, 50)
    there, here = vectors(2, seed=5)
    index.upsert(np.array([7]), there[None])
    index.upsert(np.array([7]), here[None])
    assert len(index) == 50
    assert index.search(here, 1).ids.tolist() == [7]
    assert index.search(here, 1).distances[0] == pytest.approx(0.0, abs=1e-5)
    assert index.search(there, 50).ids.tolist().count(7) == 1


@every_index
def test_of_an_id_given_twice_in_one_upsert_the_last_vector_counts(make):
    index = make()
    first, last = vectors(2)
    index.upsert(np.array([4, 4]), np.stack([first, last]))
    assert len(index) == 1
    assert index.search(last, 5).distances == pytest.approx([0.0], abs=1e-5)


@every_index
def test_a_deleted_id_is_not_found_and_unknown_ids_are_ignored(make):
    index = filled(make, 40)
    index.delete([3, 5, 5, 999])
    index.delete([])
    assert len(index) == 38
    assert 3 not in index
    assert 4 in index
    assert set(index.search(vectors(1)[0], 100).ids.tolist()) == set(range(40)) - {3, 5}


@every_index
def test_an_index_that_was_emptied_can_be_filled_again(make):
    index = filled(make, 30)
    index.delete(np.arange(30))
    assert len(index) == 0
    assert len(index.search(vectors(1)[0], 3)) == 0
    index.upsert(np.arange(100, 130), vectors(30, seed=1))
    assert index.search(vectors(30, seed=1)[4], 1).ids.tolist() == [104]
    assert len(index.search(vectors(1)[0], 99)) == 30


@every_index
def test_ids_that_were_deleted_and_added_again_are_found_once_and_can_go_again(make):
    index = filled(make, 60)
    for round_ in range(4):
        index.delete([10, 20, 30])
        index.upsert(np.array([30, 10]), vectors(2, seed=100 + round_))
        index.upsert(np.array([20]), vectors(3, seed=100 + round_)[2:])
        found = index.search(vectors(2, seed=100 + round_)[1], 60).ids.tolist()
        assert sorted(found) == list(range(60))
        assert found[0] == 10
    index.delete([10])
    assert 10 not in index.search(vectors(1)[0], 60).ids


@every_index
def test_after_most_are_deleted_the_rest_are_still_found(make):
    index = filled(make, 600)
    index.delete(np.arange(3, 600))
    assert sorted(index.search(vectors(1, seed=2)[0], 10).ids.tolist()) == [0, 1, 2]


@every_index
@pytest.mark.parametrize("share", [0.002, 0.1, 0.9, 1.0])
def test_a_filter_gives_k_of_the_allowed_or_all_of_them(make, share):
    count, k = 3000, 40
    index, held = filled(make, count), vectors(count)
    allowed = np.random.default_rng(1).choice(count, int(count * share), replace=False)
    query = vectors(1, seed=3)[0]
    found = index.search(query, k, allowed=np.concatenate([allowed, allowed[:5], [count + 7]]))
    assert set(found.ids.tolist()) <= set(allowed.tolist())
    assert_agrees(found, truth({int(id): held[id] for id in allowed}, query, k))


@every_index
def test_a_filter_that_allows_nothing_known_finds_nothing(make):
    index = filled(make, 20)
    assert len(index.search(vectors(1)[0], 5, allowed=np.array([], np.int64))) == 0
    assert len(index.search(vectors(1)[0], 5, allowed=np.array([77]))) == 0


@every_index
def test_equal_vectors_are_all_found_and_stand_by_id(make):
    index = make()
    one, other = vectors(2)
    index.upsert(np.arange(500)[::-1].copy(), np.repeat(one[None], 500, axis=0))
    index.upsert(np.arange(500, 1003), np.repeat(other[None], 503, axis=0))
    assert index.search(one, 4).ids.tolist() == [0, 1, 2, 3]
    assert index.search(other, 4).ids.tolist() == [500, 501, 502, 503]
    assert sorted(index.search(one, 1003).ids.tolist()) == list(range(1003))
    assert len(index.search(one, 700)) == 700


@every_index
def test_vectors_are_brought_to_length_one(make):
    index = make(dim=2)
    index.upsert(np.array([1]), np.array([[30.0, 40.0]], np.float32))
    assert index.search(np.array([0.003, 0.004], np.float32), 1).distances == pytest.approx([0.0], abs=1e-4)


@every_index
@pytest.mark.parametrize(
    ("ids", "given_vectors"),
    [
        ([1], np.full((1, DIM), np.nan)),
        ([1], np.full((1, DIM), np.inf)),
        ([1], np.full((1, DIM), 3e38)),
        ([1], np.zeros((1, DIM))),
        ([1], np.ones((1, DIM + 1))),
        ([1], np.ones(DIM)),
        ([1, 2], np.ones((1, DIM))),
        ([-1], np.ones((1, DIM))),
        ([1.5], np.ones((1, DIM))),
        ([[1]], np.ones((1, DIM))),
    ],
)
def test_what_cannot_be_indexed_is_refused_and_changes_nothing(make, ids, given_vectors):
    index = filled(make, 5)
    with pytest.raises(ValueError, match=r"vector|id|shape"), np.errstate(over="ignore"):
        index.upsert(np.array(ids), given_vectors.astype(np.float32))
    assert len(index) == 5


@every_index
def test_a_query_that_has_no_direction_or_another_shape_is_refused(make):
    index = filled(make, 5)
    for query in (np.zeros(DIM), np.full(DIM, np.nan), np.ones(DIM + 1), np.ones((1, DIM))):
        with pytest.raises(ValueError, match="query"):
            index.search(query.astype(np.float32), 1)
    with pytest.raises(ValueError, match="k is 0"):
        index.search(np.ones(DIM, np.float32), 0)


@every_index
def test_codes_are_added_in_parts_with_progress(make):
    codes = encode_codes(vectors(5000))
    index, heard = make(), []
    add_codes(index, np.arange(5000), codes, progress=heard.append)
    assert heard == [4096, 5000]
    assert index.search(decode_codes(codes[77:78])[0], 1).ids.tolist() == [77]


@every_index
def test_what_was_saved_is_opened(make, tmp_path):
    index = filled(make, 300)
    index.delete([5, 6])
    digest = index.save(tmp_path / "index")
    opened = type(index).open(tmp_path / "index", space=SPACE, dim=DIM, sha256=digest)
    query = vectors(1, seed=8)[0]
    assert len(opened) == 298
    assert 5 not in opened
    assert opened.search(query, 300).ids.tolist() == index.search(query, 300).ids.tolist()
    assert opened.search(query, 300).distances.tolist() == index.search(query, 300).distances.tolist()


@every_index
def test_an_opened_index_takes_deletes_and_upserts(make, tmp_path):
    index = filled(make, 300)
    index.delete([5, 6])
    index.save(tmp_path / "index")
    opened = type(index).open(tmp_path / "index", space=SPACE, dim=DIM)
    new = vectors(400, seed=4)
    opened.upsert(np.arange(5, 405), new)
    opened.delete([0])
    assert sorted(opened.search(new[0], 1000).ids.tolist()) == list(range(1, 405))
    assert opened.search(new[11], 1).ids.tolist() == [16]


@every_index
def test_an_empty_index_is_saved_and_opened(make, tmp_path):
    make().save(tmp_path / "index")
    opened = type(make()).open(tmp_path / "index", space=SPACE, dim=DIM)
    assert len(opened) == 0
    opened.upsert(np.array([3]), vectors(1))
    assert opened.search(vectors(1)[0], 2).ids.tolist() == [3]


@every_index
def test_saving_again_leaves_nothing_of_the_old_index(make, tmp_path):
    filled(make, 200).save(tmp_path / "index")
    digest = filled(make, 201).save(tmp_path / "index")
    assert len(type(make()).open(tmp_path / "index", space=SPACE, dim=DIM, sha256=digest)) == 201
    assert len(list(tmp_path.iterdir())) <= 2


@every_index
def test_a_file_of_another_space_dimension_or_kind_is_refused_with_a_remedy(make, tmp_path):
    index = filled(make, 20)
    digest = index.save(tmp_path / "index")
    other = HnswIndex if isinstance(index, ExactIndex) else ExactIndex
    wrong = [(type(index), "other", DIM), (type(index), SPACE, 2 * DIM)]
    if available() is not None or other is ExactIndex:
        wrong.append((other, SPACE, DIM))
    for cls, space, dim in wrong:
        with pytest.raises(IncompatibleError, match="build it again"):
            cls.open(tmp_path / "index", space=space, dim=dim, sha256=digest)


@every_index
def test_a_file_that_is_not_the_recorded_one_is_refused(make, tmp_path):
    digest = filled(make, 20).save(tmp_path / "index")
    filled(make, 20, seed=1).save(tmp_path / "index")
    with pytest.raises(StoreCorruptError, match="recorded"):
        type(make()).open(tmp_path / "index", space=SPACE, dim=DIM, sha256=digest)


@every_index
def test_a_path_that_holds_no_index_is_refused(make, tmp_path):
    cls = type(make())
    with pytest.raises(NotReadyError, match="build it"):
        cls.open(tmp_path / "nothing", space=SPACE, dim=DIM)
    with pytest.raises(StoreError, match="cannot read"):
        cls.open(tmp_path, space=SPACE, dim=DIM)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot write"):
        filled(make, 3).save(tmp_path / "file" / "index")


@every_index
def test_a_save_that_dies_leaves_the_old_index(make, tmp_path, monkeypatch):
    path = tmp_path / "index"
    old = filled(make, 50)
    digest = old.save(path)
    changed = filled(make, 80, seed=1)
    replace, calls = __import__("os").replace, []

    def replace_once(source, target):
        calls.append(target)
        if target == path:
            raise OSError("the power went")
        replace(source, target)

    monkeypatch.setattr("os.replace", replace_once)
    with pytest.raises(StoreError, match="the power went"):
        changed.save(path)
    assert calls
    assert len(type(old).open(path, space=SPACE, dim=DIM, sha256=digest)) == 50
    monkeypatch.undo()
    changed.save(path)
    assert len(type(old).open(path, space=SPACE, dim=DIM)) == 80
    assert len(list(tmp_path.iterdir())) <= 2


@every_index
def test_searches_while_another_thread_writes_give_whole_answers_and_are_not_starved(make):
    stay, moving = vectors(300, seed=1), vectors(1500, seed=2)
    index = make()
    index.upsert(np.arange(300), stay)
    done, problems, waits = threading.Event(), [], []

    def search():
        row = 0
        while not done.is_set():
            row = (row + 1) % 300
            begun = time.perf_counter()
            found = index.search(stay[row], 5)
            waits.append(time.perf_counter() - begun)
            if found.ids[0] != row or len(found) != 5:
                problems.append((row, found))

    readers = [threading.Thread(target=search) for _ in range(2)]
    for reader in readers:
        reader.start()
    rounds = 0
    while rounds < 2 or (len(waits) <= 20 and rounds < 500):  # until the readers had their turns, however busy it is
        index.upsert(np.arange(1000, 2500), moving)
        index.delete(np.arange(1000, 2500, 3))
        rounds += 1
    done.set()
    for reader in readers:
        reader.join()
    assert not problems
    assert len(waits) > 20
    assert len(index) == 300 + 1000


operations = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(0, 2**16)),
        st.tuples(st.just("delete"), st.lists(st.integers(0, 30), max_size=12), st.none()),
        st.tuples(st.just("search"), st.integers(1, 40), st.integers(0, 2**16)),
        st.tuples(st.just("filter"), st.lists(st.integers(0, 30), max_size=20), st.integers(0, 2**16)),
        st.tuples(st.just("reopen"), st.none(), st.none()),
    ),
    max_size=25,
)


@every_index
@settings(max_examples=40, deadline=None)
@given(steps=operations)
def test_any_sequence_of_changes_and_searches_agrees_with_a_dictionary(make, tmp_path_factory, steps):
    index, held = make(), {}
    for verb, argument, seed in steps:
        if verb == "upsert":
            given_vectors = vectors(len(argument), seed=seed)
            index.upsert(np.array(argument), given_vectors)
            held.update(zip(argument, given_vectors, strict=True))
        elif verb == "delete":
            index.delete(argument)
            for id in argument:
                held.pop(id, None)
        elif verb == "search":
            query = vectors(1, seed=seed)[0]
            assert_agrees(index.search(query, argument), truth(held, query, argument))
        elif verb == "filter":
            query = vectors(1, seed=seed)[0]
            allowed = {id: held[id] for id in argument if id in held}
            assert_agrees(index.search(query, 5, allowed=np.array(argument, np.int64)), truth(allowed, query, 5))
        else:
            path = tmp_path_factory.mktemp("index") / "index"
            index = type(index).open(path, space=SPACE, dim=DIM, sha256=index.save(path))
        assert len(index) == len(held)
        assert all((id in index) == (id in held) for id in range(31))
