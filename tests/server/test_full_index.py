"""One suite for every full index: it follows the catalogue, answers as an exact scan does, and survives a restart."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from sqlalchemy import delete, update
from support.index_items import (
    BOXES,
    DIM,
    SPACE,
    Vectors,
    clustered,
    embed_in,
    exact_answer,
    named,
    put_items,
)
from support.milvus import Milvus

from handlens.index import available
from handlens_server.catalogue import restore_items, withdraw_items
from handlens_server.checking import untracked
from handlens_server.config import Config
from handlens_server.database import Database
from handlens_server.full_index import MAX_K, FullIndex, IndexMismatchError, IndexUnavailableError
from handlens_server.local_index import LocalIndex, LocalIndexOptions
from handlens_server.milvus_calls import MilvusAddress
from handlens_server.milvus_index import MilvusIndex
from handlens_server.tables import ItemRow, SequenceRow

Opened = Callable[..., FullIndex]

needs_hnswlib = pytest.mark.skipif(available() is None, reason="hnswlib is not installed")
# Which database makes no difference to what an index holds, only to the lock under which one process refreshes.
pytestmark = pytest.mark.parametrize(
    ("config", "kind"),
    [
        pytest.param("sqlite", "exact", id="exact"),
        pytest.param("sqlite", "hnsw", id="hnsw", marks=needs_hnswlib),
        pytest.param("postgresql", "hnsw", id="hnsw-postgresql", marks=[needs_hnswlib, pytest.mark.heavy]),
        pytest.param("sqlite", "milvus", id="milvus", marks=pytest.mark.heavy),
    ],
    indirect=["config"],
)


@pytest.fixture
def opened(kind: str, config: Config, request: pytest.FixtureRequest) -> Iterator[Opened]:
    """Opens the index of this backend, as a start of a process does."""
    made: list[FullIndex] = []
    if kind == "milvus":
        milvus: Milvus = request.getfixturevalue("milvus")
        milvus.clear(kept="test_space_1")
        address = MilvusAddress.parse(milvus.url)

    def open_index(*, space: str = SPACE, dim: int = DIM) -> FullIndex:
        if kind == "milvus":
            made.append(MilvusIndex(address, space=space, dim=dim, locks=config.index_path))
        else:
            options = LocalIndexOptions(exact_below=0 if kind == "hnsw" else 1_000_000, save_changes=1, save_share=0)
            made.append(LocalIndex(space=space, dim=dim, folder=config.index_path / "test", options=options))
        return made[-1]

    yield open_index
    for index in made:
        index.close()


def refreshed(index: FullIndex, database: Database) -> int:
    with database.read() as session:
        return index.refresh(session)


def started(opened: Opened, database: Database) -> FullIndex:
    """An index as it stands some time after a start: of its own kind, and saved."""
    index = opened()
    refreshed(index, database)
    index.maintain(database)
    return index


def found(index: FullIndex, vector: Vectors, k: int = 10, **options: object) -> list[str]:
    return [item_id for item_id, _, _ in index.search(vector, k, **options)]  # type: ignore[arg-type]


def change(database: Database, action: Callable[..., int], *item_ids: str) -> None:
    with database.session() as session:
        action(session, item_ids)


def axis(at: int) -> Vectors:
    return np.eye(DIM, dtype=np.float32)[at : at + 1]


def test_the_kind_is_the_one_that_is_tested(opened: Opened, database: Database, kind: str) -> None:
    put_items(database, {"lamp": axis(0)})
    index = started(opened, database)
    told = index.status()
    assert (told.kind, told.space, told.parts, told.sequence) == (kind, SPACE, 1, 1)
    assert told.reason
    assert told.place


def test_an_item_is_found_with_its_box_and_distance(opened: Opened, database: Database) -> None:
    put_items(database, {"lamp": axis(0), "chair": axis(1)})
    index = started(opened, database)
    between = (axis(0) * 0.8 + axis(1) * 0.6)[0]
    (first, box, near), (second, _, far) = index.search(between, 2)
    assert (first, second) == ("lamp", "chair")
    assert box.to_list() == BOXES[0]
    assert (near, far) == (pytest.approx(0.2, abs=1e-3), pytest.approx(0.4, abs=1e-3))


def test_each_part_of_an_item_is_found_with_its_own_box(opened: Opened, database: Database) -> None:
    put_items(database, {"room": np.concatenate([axis(0), axis(1), axis(2)]), "chair": axis(3)})
    index = started(opened, database)
    assert len(index) == 4
    for at in range(3):
        item_id, box, distance = index.search(axis(at)[0], 1)[0]
        assert (item_id, box.to_list()) == ("room", BOXES[at])
        assert distance < 1e-3


def test_a_changed_item_has_its_new_parts_and_none_of_the_former(opened: Opened, database: Database) -> None:
    put_items(database, {"room": np.concatenate([axis(0), axis(1), axis(2)])})
    index = started(opened, database)
    put_items(database, {"room": axis(5)})
    assert refreshed(index, database) == 1
    assert [(item_id, box.to_list()) for item_id, box, _ in index.search(axis(0)[0], 10)] == [("room", BOXES[0])]
    assert index.search(axis(5)[0], 1)[0][2] < 1e-3
    assert len(index) == 1


def test_a_withdrawn_item_is_gone_and_comes_back_when_it_is_restored(opened: Opened, database: Database) -> None:
    put_items(database, {"lamp": axis(0), "chair": axis(1)})
    index = started(opened, database)
    change(database, withdraw_items, "lamp")
    assert found(index, axis(0)[0]) == ["lamp", "chair"]
    refreshed(index, database)
    assert found(index, axis(0)[0]) == ["chair"]
    change(database, restore_items, "lamp")
    refreshed(index, database)
    assert found(index, axis(0)[0]) == ["lamp", "chair"]


def test_a_refresh_reads_only_what_changed(opened: Opened, database: Database) -> None:
    put_items(database, named(clustered(6)))
    index = started(opened, database)
    assert (index.sequence, refreshed(index, database)) == (6, 0)
    change(database, withdraw_items, "item-00003")
    assert refreshed(index, database) == 1
    assert index.sequence == 7


def test_an_empty_catalogue_has_no_neighbours(opened: Opened, database: Database) -> None:
    index = started(opened, database)
    assert index.search(axis(0)[0], 10) == []
    assert len(index) == 0


def test_a_catalogue_that_was_withdrawn_whole_has_no_neighbours(opened: Opened, database: Database) -> None:
    items = named(clustered(20))
    put_items(database, items)
    index = started(opened, database)
    change(database, withdraw_items, *items)
    refreshed(index, database)
    assert index.search(axis(0)[0], 10) == []
    index.maintain(database)
    assert index.search(axis(0)[0], 10) == []


def test_more_than_there_are_gives_all_there_are(opened: Opened, database: Database) -> None:
    items = named(clustered(50), parts=(1, 2))
    put_items(database, items)
    index = started(opened, database)
    for k in (51, 1000, MAX_K):
        assert sorted(found(index, axis(0)[0], k)) == sorted(name for name, vectors in items.items() for _ in vectors)


def test_equal_distances_stand_by_item_id_and_part(opened: Opened, database: Database) -> None:
    same = np.concatenate([axis(0), axis(0)])
    put_items(database, {"b": same, "c": axis(0)})
    put_items(database, {"a": axis(0), "z": axis(1)})
    index = started(opened, database)
    answer = index.search(axis(0)[0], 4)
    assert [(item_id, box.to_list()) for item_id, box, _ in answer] == [
        ("a", BOXES[0]),
        ("b", BOXES[0]),
        ("b", BOXES[1]),
        ("c", BOXES[0]),
    ]


def test_only_allowed_items_are_found(opened: Opened, database: Database) -> None:
    items = named(clustered(300), parts=(1, 2))
    put_items(database, items)
    index = started(opened, database)
    for allowed in (["item-00007"], list(items)[::9], list(items)[:150], list(items)):
        some = {item_id: items[item_id] for item_id in allowed}
        query = clustered(1, seed=5)[0]
        expected = exact_answer(some, query, 10)
        assert found(index, query, 10, allowed=allowed) == [item_id for item_id, _ in expected]
    assert found(index, axis(0)[0], 10, allowed=[]) == []
    assert found(index, axis(0)[0], 10, allowed=["nothing has this id"]) == []
    assert found(index, axis(0)[0], 10, allowed=["item-00007", "nothing has this id"])[0] == "item-00007"


def test_more_allowed_items_than_one_filter_takes_are_asked_for_all(opened: Opened, database: Database) -> None:
    items = named(clustered(3))
    put_items(database, items)
    index = started(opened, database)
    allowed = [*items, *(f"item-0{at}" for at in range(5000))]
    query = clustered(1, seed=5)[0]
    assert found(index, query, 2, allowed=allowed) == [item_id for item_id, _ in exact_answer(items, query, 2)]


HOSTILE = [
    'quo"te',
    "apos'trophe",
    "back\\slash",
    "per%cent {0} #1",
    "Grüße-日本-🍋",
    '"] or id != ["',
    "x" * 200,
    "a#0",
]


def test_ids_of_any_letters_are_held_filtered_and_taken_away(opened: Opened, database: Database) -> None:
    put_items(database, {item_id: axis(at) for at, item_id in enumerate(HOSTILE)})
    put_items(database, {"a": np.concatenate([axis(20), axis(21)])})
    index = started(opened, database)
    for at, item_id in enumerate(HOSTILE):
        assert found(index, axis(at)[0], 1) == [item_id]
        assert found(index, axis(20)[0], 5, allowed=[item_id]) == [item_id]
    change(database, withdraw_items, *HOSTILE)
    refreshed(index, database)
    assert found(index, axis(20)[0]) == ["a", "a"]


def test_answers_are_those_of_an_exact_scan(opened: Opened, database: Database) -> None:
    items = named(clustered(2000), parts=(1, 2, 1, 3))
    put_items(database, items)
    index = started(opened, database)
    hits = 0
    queries = clustered(100, seed=1)
    for query in queries:
        expected, answer = exact_answer(items, query, 10), index.search(query, 10)
        hits += len({item_id for item_id, _ in expected} & {item_id for item_id, _, _ in answer})
        distances = [distance for _, _, distance in answer]
        assert distances == sorted(distances)
        assert distances[0] == pytest.approx(expected[0][1], abs=1e-3)
    whole = sum(len({item_id for item_id, _ in exact_answer(items, query, 10)}) for query in queries)
    assert hits >= 0.98 * whole


def test_only_the_space_that_was_asked_for_is_held(opened: Opened, database: Database) -> None:
    items = {"lamp": axis(0), "chair": axis(1)}
    put_items(database, items)
    index = started(opened, database)
    embed_in(database, "another space", {"lamp": axis(9)})
    refreshed(index, database)
    assert len(index) == 2
    assert index.search(axis(9)[0], 1)[0][2] > 0.5


def test_an_item_that_is_embedded_later_is_found_after_the_next_refresh(opened: Opened, database: Database) -> None:
    put_items(database, {"lamp": axis(0)}, space="a former space")
    index = started(opened, database)
    assert len(index) == 0
    embed_in(database, SPACE, {"lamp": axis(1)})
    assert refreshed(index, database) == 1
    assert found(index, axis(1)[0]) == ["lamp"]


def test_a_restart_loses_nothing(opened: Opened, database: Database) -> None:
    items = named(clustered(200), parts=(1, 2))
    put_items(database, items)
    before = started(opened, database)
    query = clustered(1, seed=3)[0]
    answer = before.search(query, 20)
    before.close()
    after = opened()
    assert refreshed(after, database) == 0
    assert after.search(query, 20) == answer
    assert after.sequence == before.sequence


def test_what_changed_during_a_downtime_is_caught_up(opened: Opened, database: Database) -> None:
    put_items(database, named(clustered(50)))
    started(opened, database).close()
    change(database, withdraw_items, "item-00004")
    put_items(database, {"new": axis(0), "item-00007": axis(1)})
    index = opened()
    assert refreshed(index, database) == 3
    assert found(index, axis(0)[0], 1) == ["new"]
    assert found(index, axis(1)[0], 1) == ["item-00007"]
    assert "item-00004" not in found(index, axis(0)[0], 100)
    assert len(index) == 50


def test_a_refresh_that_was_cut_off_is_made_again(opened: Opened, database: Database) -> None:
    put_items(database, named(clustered(1400)))
    index = started(opened, database)
    put_items(database, {f"item-{at:05d}": axis(at % DIM) for at in range(1300)})
    with pytest.raises(KeyboardInterrupt), database.read() as session:
        index.refresh(Cut(session))  # type: ignore[arg-type]
    put_items(database, {"item-00000": axis(4)})
    refreshed(index, database)
    assert len(index) == 1400
    with database.read() as session:
        assert index.check(session).is_good


class Cut:
    """A session that fails in the middle of its rows."""

    def __init__(self, session: object) -> None:
        self._session = session

    def __getattr__(self, name: str) -> object:
        return getattr(self._session, name)

    def execute(self, *args: object) -> object:
        return CutRows(self._session.execute(*args))  # type: ignore[attr-defined]


class CutRows:
    def __init__(self, rows: object) -> None:
        self._rows = rows

    def __enter__(self) -> CutRows:
        return self

    def __exit__(self, *_error: object) -> None:
        self._rows.close()  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[object]:
        for at, row in enumerate(self._rows):  # type: ignore[arg-type]
            if at == 1200:
                raise KeyboardInterrupt
            yield row


def test_a_process_sees_what_another_took_over(opened: Opened, database: Database) -> None:
    put_items(database, {"lamp": axis(0)})
    one, other = started(opened, database), started(opened, database)
    put_items(database, {"chair": axis(1)})
    refreshed(one, database)
    refreshed(other, database)
    until = time.monotonic() + 10
    while found(other, axis(1)[0], 1) != ["chair"] and time.monotonic() < until:
        time.sleep(0.01)
    assert found(one, axis(1)[0], 1) == found(other, axis(1)[0], 1) == ["chair"]
    assert one.sequence == other.sequence == 2


def test_several_processes_that_refresh_at_once_leave_one_whole_index(opened: Opened, database: Database) -> None:
    indexes = [started(opened, database) for _ in range(3)]
    items = named(clustered(600), parts=(1, 2))
    names = list(items)

    def work(index: FullIndex, part: int) -> None:
        for start in range(part * 50, len(names), 150):
            put_items(database, {name: items[name] for name in names[start : start + 50]})
            refreshed(index, database)

    threads = [threading.Thread(target=work, args=(index, part)) for part, index in enumerate(indexes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in indexes:
        refreshed(index, database)
        with database.read() as session:
            assert index.check(session).is_good
        assert len(index) == 600


def test_searches_during_changes_see_each_item_that_stays(opened: Opened, database: Database) -> None:
    items = named(clustered(100))
    put_items(database, {**items, "stays": axis(0), "goes": axis(1)})
    index = started(opened, database)
    seen: list[bool] = []
    stop = threading.Event()

    def search() -> None:
        while not stop.is_set():
            seen.append(found(index, axis(0)[0], 5)[:1] == ["stays"])
            seen.append("stays" in found(index, axis(0)[0], 5, allowed=["stays", "goes"]))
            time.sleep(0.001)

    thread = threading.Thread(target=search)
    thread.start()
    try:
        for _ in range(3):
            put_items(database, {"stays": axis(0)})  # a new picture that looks the same
            refreshed(index, database)
            for action in (withdraw_items, restore_items):
                change(database, action, "goes", "item-00001")
                refreshed(index, database)
        index.rebuild(database, track=untracked)
    finally:
        stop.set()
        thread.join()
    assert seen
    assert all(seen)


def test_a_rebuild_gives_the_same_answers(opened: Opened, database: Database) -> None:
    items = named(clustered(300), parts=(1, 2))
    put_items(database, items)
    index = started(opened, database)
    query = clustered(1, seed=3)[0]
    answer = index.search(query, 20)
    told: list[tuple[str, int | None]] = []
    index.rebuild(database, track=lambda steps, what, total: (told.append((what, total)), steps)[1])
    assert index.search(query, 20) == answer
    assert told == [("index items", 200)]
    put_items(database, {"new": axis(0)})
    refreshed(index, database)
    assert found(index, axis(0)[0], 1) == ["new"]
    index.maintain(database)
    index.close()
    assert refreshed(again := opened(), database) == 0
    assert found(again, axis(0)[0], 1) == ["new"]


def test_a_check_names_what_differs_from_the_database_and_a_rebuild_mends_it(
    opened: Opened, database: Database
) -> None:
    put_items(database, named(clustered(6)))
    index = started(opened, database)
    with database.read() as session:
        assert index.check(session).is_good
    tamper(database)
    with database.read() as session:
        verdict = index.check(session)
    assert not verdict.is_good
    assert (verdict.missing, verdict.surplus, verdict.stale) == (("unseen",), ("item-00001",), ("item-00002",))
    index.rebuild(database, track=untracked)
    with database.read() as session:
        assert index.check(session).is_good
    assert len(index) == 6


def tamper(database: Database) -> None:
    """Change items without a new number of the catalogue, as a database put back from a backup would."""
    put_items(database, {"unseen": axis(0)})
    with database.session() as session:
        step = update(ItemRow)
        session.execute(step.where(ItemRow.item_id == "unseen").values(sequence=3))
        session.execute(step.where(ItemRow.item_id == "item-00001").values(is_withdrawn=True))
        session.execute(step.where(ItemRow.item_id == "item-00002").values(sequence=1))
        session.execute(update(SequenceRow).where(SequenceRow.name == "catalogue").values(value=6))


def test_an_index_of_another_catalogue_is_not_searched_as_ours(opened: Opened, database: Database, kind: str) -> None:
    put_items(database, named(clustered(20)))
    started(opened, database).close()
    with database.session() as session:
        session.execute(delete(ItemRow).where(ItemRow.item_id != "item-00001"))
        session.execute(update(ItemRow).values(sequence=2))
        session.execute(update(SequenceRow).where(SequenceRow.name == "catalogue").values(value=2))
    index = opened()
    if kind == "milvus":
        with pytest.raises(IndexMismatchError, match="shows change 20, the database has 2"):
            refreshed(index, database)
        index.rebuild(database, track=untracked)
    refreshed(index, database)
    assert found(index, axis(0)[0]) == ["item-00001"]


@pytest.mark.parametrize("k", [0, -1, MAX_K + 1])
def test_a_count_of_neighbours_that_cannot_be_is_refused(opened: Opened, k: int) -> None:
    with pytest.raises(ValueError, match="ask for 1 to 16383"):
        opened().search(axis(0)[0], k)


@pytest.mark.parametrize(
    "vector", [np.zeros(DIM), np.full(DIM, np.nan), np.ones(DIM - 1)], ids=["zero", "nan", "short"]
)
def test_a_vector_that_has_no_direction_here_is_refused(opened: Opened, vector: Vectors) -> None:
    with pytest.raises(ValueError, match="query"):
        opened().search(vector.astype(np.float32), 5)


def test_an_index_that_was_never_filled_says_so(opened: Opened) -> None:
    with pytest.raises(IndexUnavailableError):
        opened(space="never filled").search(axis(0)[0], 5)
