"""What goes into the store comes out: packs, items, vectors, thumbnails, documents, slots, filters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.packs import delta, state_header, upserts

from handlens.errors import DecodeError, HashMismatchError, IncompatibleError, NotReadyError, UnknownPackError
from handlens.geometry import WHOLE, Box
from handlens.store import PackState, Slot, Store
from handlens.wire.item import KINDS, OBJECT_TYPES, Item
from handlens.wire.pack import ItemEmbedding, PackDelete, PackRow, parse_change

HAMMER = Item("hammer", "photo", "tool", "Claw hammer", annotations={"hammer": 1.0, "hand tool": 0.5}, locale="en")
SOUP = Item("soup", "recipe", "food", "Pumpkin soup", text="Warm, with ginger.", annotations={"pumpkin": 0.9})
MARTEAU = Item("marteau", "article", "tool", "Le marteau", locale="fr", audience="adults")


def part(*values, box=WHOLE):
    return ItemEmbedding(box, np.array(values, np.int8).tobytes())


def install(store, rows, pack="demo", **changes):
    with store.write() as writer:
        writer.apply(state_header(rows, pack, **changes), upserts(rows))


def change(store, old, new, **changes):
    with store.write() as writer:
        writer.remember()
        writer.apply(*delta(old, new, **changes))


ROWS = [
    PackRow(HAMMER, (part(127, 3), part(4, -127, box=Box(0.1, 0.2, 0.5, 0.75))), b"WebP-hammer"),
    PackRow(SOUP),
    PackRow(MARTEAU, (part(-127, 1),)),
]


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path, create=True) as opened:
        yield opened


def test_a_pack_comes_back_as_it_was_written(store):
    install(store, ROWS)
    ids, codes = store.vectors()
    assert codes.tolist() == [[127, 3], [4, -127], [-127, 1]]
    assert (ids.dtype, codes.dtype) == (np.int64, np.int8)
    found = store.items_of(ids.tolist())
    assert [found[id].item for id in ids] == [HAMMER, HAMMER, MARTEAU]
    assert [found[id].box for id in ids] == [WHOLE, Box(0.1, 0.2, 0.5, 0.75), WHOLE]
    assert store.thumbnail(found[ids[0]].item_key) == b"WebP-hammer"
    assert store.thumbnail(found[ids[2]].item_key) is None
    digest = state_header(ROWS).digest
    assert store.packs() == (PackState("demo", 1, "2026-01-01T00:00:00Z", "e1", 2, items=3, vectors=3, digest=digest),)


def test_changes_that_no_release_promised_are_counted_as_they_come(store):
    for sequence, operations in ((5, upserts(ROWS)), (7, [PackDelete("soup")])):
        with store.write() as writer:
            state = writer.merge(state_header((), "live", sequence=sequence), operations)
    rest = [ROWS[0], ROWS[2]]
    assert (state.sequence, state.items, state.vectors, state.digest) == (7, 2, 3, state_header(rest).digest)
    assert store.packs() == (state,)
    store.check()


def test_items_are_found_by_id_with_the_codes_of_their_parts(store):
    install(store, ROWS)
    found = store.items_by_id(["hammer", "soup", "nothing"])
    assert {item_id: item for item_id, (_, item) in found.items()} == {"hammer": HAMMER, "soup": SOUP}
    codes = store.codes_of([key for key, _ in found.values()])
    assert codes == {found["hammer"][0]: [(one.box, one.code) for one in ROWS[0].embeddings]}
    assert store.items_by_id([]) == {}


def test_an_item_of_two_packs_is_found_by_its_smaller_key_and_only_in_packs_that_were_named(store):
    install(store, [ROWS[0]], "first")
    install(store, ROWS, "second")
    (first,) = store.items_by_id(["hammer"], packs=["first"]).values()
    assert store.items_by_id(["hammer"])["hammer"] == first
    assert store.items_by_id(["soup"], packs=["first"]) == {}
    assert [hit.item_key for hit in store.search_text("hammer", limit=9)] == [first[0]]
    with pytest.raises(UnknownPackError):
        store.items_by_id(["hammer"], packs=["third"])


def keys_of(store):
    return {found.item.item_id: found.item_key for found in store.items_of(store.vectors()[0].tolist()).values()}


def test_a_base_leaves_exactly_its_rows_and_touches_none_that_stay_the_same(store):
    install(store, ROWS)
    old_ids, old_keys = store.vectors()[0], keys_of(store)
    changed = [ROWS[0], PackRow(MARTEAU, (part(5, 5),))]
    install(store, changed, sequence=2)
    ids, stored = store.vectors()
    assert stored.tolist() == [[127, 3], [4, -127], [5, 5]]
    assert ids[:2].tolist() == old_ids[:2].tolist()
    assert ids[2] not in old_ids
    assert keys_of(store)["hammer"] == old_keys["hammer"]
    assert keys_of(store)["marteau"] not in old_keys.values()
    assert store.items_of(old_ids[2:].tolist()) == {}
    assert [hit.item for word in ("pumpkin", "hammer") for hit in store.search_text(word, limit=9)] == [HAMMER]
    assert (store.stats().items, store.stats().vectors, store.stats().thumbnails) == (2, 3, 1)


def test_a_delta_changes_adds_and_removes(store):
    install(store, ROWS)
    new = [ROWS[0], PackRow(MARTEAU, (part(9, 9),)), PackRow(Item("saw", "photo", "tool", "Saw"), (part(1, 0),))]
    change(store, ROWS, new)
    assert store.packs()[0].sequence == 2
    assert sorted(keys_of(store)) == ["hammer", "marteau", "saw"]
    assert store.search_text("pumpkin", limit=1) == []


def test_a_delta_of_another_state_is_refused(store):
    install(store, ROWS, sequence=3)
    with pytest.raises(IncompatibleError, match="is for state 1 in 'e1', the store holds state 3"):
        change(store, ROWS, ROWS[:1])
    with pytest.raises(IncompatibleError, match="the store holds nothing"):
        change(store, ROWS, ROWS[:1], pack="other")


@pytest.mark.parametrize("wrong", [{"digest": "0" * 64}, {"items": 4}, {"vectors": 9}])
def test_a_state_that_is_not_the_promised_one_is_refused_and_the_old_one_stays(store, wrong):
    install(store, ROWS)
    before = store.packs()
    with pytest.raises(HashMismatchError, match="fetch the base"):
        change(store, ROWS, ROWS[:1], **wrong)
    assert store.packs() == before
    assert store.stats().items == 3


def test_deleting_what_is_not_there_changes_nothing(store):
    install(store, ROWS)
    header, _ = delta(ROWS, ROWS, changes=1)
    with store.write() as writer:
        writer.apply(header, [PackDelete("nobody")])
    assert store.stats().items == 3


def test_packs_stand_beside_each_other_and_one_can_be_dropped(store):
    install(store, ROWS[:1], "tools")
    install(store, ROWS[1:], "rest")
    assert [pack.pack for pack in store.packs()] == ["rest", "tools"]
    assert store.vectors(["rest"])[1].tolist() == [[-127, 1]]
    with store.write() as writer:
        writer.drop_pack("tools")
    assert store.vectors()[1].tolist() == [[-127, 1]]
    assert store.search_text("hammer", limit=5) == []


def test_the_vectors_that_came_later_can_be_asked_for_alone(store):
    install(store, ROWS[:1])
    last = int(store.vectors()[0].max())
    install(store, ROWS, sequence=2)
    ids, codes = store.vectors(after=last)
    assert ids.tolist() == [id for id in store.vectors()[0].tolist() if id > last]
    assert codes.tolist() == store.vectors()[1][-len(ids) :].tolist()
    assert store.count_vectors(after=last) == len(ids) == store.count_vectors() - last
    assert store.vectors(["demo"], after=last)[0].tolist() == ids.tolist()


def test_an_empty_store_answers_with_nothing(store):
    ids, codes = store.vectors()
    assert ids.shape == (0,)
    assert len(codes) == 0
    assert store.vector_ids().shape == store.vector_ids(locale="en").shape == (0,)
    assert store.packs() == ()
    assert store.items_of([]) == {}
    assert store.items_of([1, 2]) == {}
    assert store.search_text("hammer", limit=5) == []


def test_the_generation_changes_with_packs_and_with_nothing_else(store):
    seen = [store.generation()]
    install(store, ROWS)
    seen.append(store.generation())
    with store.write() as writer:
        writer.set_document("policy", "{}")
        writer.set_slot("index", "index/1", "00")
    seen.append(store.generation())
    with store.write() as writer:
        writer.drop_pack("demo")
    seen.append(store.generation())
    assert seen[0] < seen[1] == seen[2] < seen[3]


def test_vector_ids_pass_by_pack_locale_and_audience(store):
    install(store, ROWS)
    install(store, [PackRow(SOUP, (part(1, 1),))], "food")
    first, second, french, soup = store.vectors()[0].tolist()
    assert store.vector_ids().tolist() == [first, second, french, soup]
    assert store.vector_ids(locale="en").tolist() == [first, second, soup]
    assert store.vector_ids(locale="en-GB").tolist() == [first, second, soup]
    assert store.vector_ids(locale="fr").tolist() == [french, soup]
    assert store.vector_ids(audience="children").tolist() == [first, second, soup]
    assert store.vector_ids(audience="adults").tolist() == [first, second, french, soup]
    assert store.vector_ids(packs=["food"], locale="fr").tolist() == [soup]
    assert store.vector_ids().dtype == np.int64


def test_an_unknown_pack_is_named_beside_the_known_ones(store):
    install(store, ROWS, "tools")
    asks = [
        lambda: store.vectors(["toolz"]),
        lambda: store.vector_ids(packs=["tools", "toolz"]),
        lambda: store.search_text("a", limit=1, packs=["toolz"]),
    ]
    for ask in asks:
        with pytest.raises(UnknownPackError, match="'toolz' is not installed: installed are 'tools'"):
            ask()
    with pytest.raises(UnknownPackError, match="toolz"), store.write() as writer:
        writer.drop_pack("toolz")


def test_a_pack_of_another_embedding_space_is_refused_beside_others_but_may_replace_itself(store):
    install(store, ROWS, "tools")
    with pytest.raises(IncompatibleError, match=r"install packs of one embedder"):
        install(store, ROWS, "rest", space="e2")
    install(store, [PackRow(SOUP, (part(1, 2, 3),))], "tools", space="e2", dim=3)
    assert store.vectors()[1].tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        ([PackRow(SOUP), PackRow(SOUP)], {}, "'soup' of pack 'demo' comes twice"),
        ([PackRow(SOUP, (part(1, 2, 3),))], {}, "zero or not 2 bytes"),
        ([PackRow(SOUP, (part(0, 0),))], {}, "zero or not 2 bytes"),
    ],
)
def test_a_malformed_pack_is_refused_and_the_old_one_stays(store, rows, changes, message):
    install(store, ROWS)
    with pytest.raises(DecodeError, match=message):
        install(store, rows, **changes)
    assert store.stats().items == 3
    assert store.generation() == 1


def test_text_that_is_not_unicode_is_refused(store):
    line = (
        b'{"embeddings":[],"item":{"item_id":"a","kind":"photo","object_type":"tool","title":"\\ud800"},"thumbnail":""}'
    )
    with pytest.raises(DecodeError, match="not Unicode"), store.write() as writer:
        writer.apply(state_header([PackRow(SOUP)]), [parse_change(line, dim=2)])


def test_a_document_is_kept_under_its_name_and_a_missing_one_is_named(store):
    with store.write() as writer:
        writer.set_document("policy", "{}")
        writer.set_document("policy", '{"ü": 1}')
    assert store.document("policy") == '{"ü": 1}'
    with pytest.raises(NotReadyError, match="taxonomy"):
        store.document("taxonomy")


def test_a_slot_switches_and_clears(store):
    with store.write() as writer:
        writer.set_slot("index", "index/a", "aa", {"generation": 3})
        writer.set_slot("model", "models/m", "mm")
    assert store.slot("index") == Slot("index", "index/a", "aa", {"generation": 3})
    with store.write() as writer:
        writer.set_slot("index", "index/b", "bb")
        writer.clear_slot("model")
        writer.clear_slot("nothing")
    assert store.slots() == (Slot("index", "index/b", "bb", {}),)
    assert store.slot("model") is None


@pytest.mark.parametrize("file", ["/etc/passwd", "../x", "a/../../x", "\\\\host\\x", "C:x"])
def test_a_slot_never_leads_out_of_the_data_folder(store, file):
    with pytest.raises(ValueError, match="inside the data folder"), store.write() as writer:
        writer.set_slot("index", file, "")


def test_more_items_than_are_kept_parsed_are_all_answered(store):
    rows = [PackRow(Item(f"i{at}", "photo", "tool", f"Item {at}"), (part(1, 2),)) for at in range(1200)]
    install(store, rows)
    ids = store.vectors()[0].tolist()
    for _ in range(2):
        found = store.items_of(ids)
        assert [found[id].item.item_id for id in ids] == [f"i{at}" for at in range(1200)]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = texts.filter(str.strip)
fractions = st.floats(0, 1)
# As the wire rounds them.
spans = st.integers(0, 99_999).flatmap(lambda low: st.tuples(st.just(low), st.integers(low + 1, 100_000)))
boxes = st.tuples(spans, spans).map(lambda xy: [edge / 100_000 for edge in (xy[0][0], xy[1][0], xy[0][1], xy[1][1])])
items = st.builds(
    Item,
    item_id=names,
    kind=st.sampled_from(KINDS),
    object_type=st.sampled_from(OBJECT_TYPES),
    title=names,
    text=texts,
    annotations=st.dictionaries(texts, fractions, max_size=3),
    locale=texts,
    audience=names,
    quality=fractions,
)
codes = st.binary(min_size=2, max_size=2).filter(any)
embeddings = st.builds(ItemEmbedding, boxes.map(lambda edges: Box(*edges)), codes)
pack_rows = st.builds(PackRow, items, st.lists(embeddings, max_size=3).map(tuple), st.binary(max_size=5))


@settings(max_examples=40, deadline=None)
@given(states=st.lists(st.lists(pack_rows, max_size=6, unique_by=lambda row: row.item.item_id), min_size=1, max_size=3))
def test_whatever_states_a_pack_goes_through_the_last_one_is_what_the_store_holds(tmp_path_factory, states):
    with Store.open(tmp_path_factory.mktemp("store"), create=True) as store:
        for sequence, rows in enumerate(states, start=1):
            install(store, rows, sequence=sequence)
        parts, _ = contents(store)
        expected = [(row.item, entry.box, entry.code) for row in states[-1] for entry in row.embeddings]
        assert parts == sorted(expected, key=repr)
        for found in store.items_of(store.vectors()[0].tolist()).values():
            thumbnail = next(row.thumbnail for row in states[-1] if row.item == found.item)
            assert (store.thumbnail(found.item_key) or b"") == thumbnail
        store.check()


def contents(store):
    ids, stored_codes = store.vectors()
    found = store.items_of(ids.tolist())
    parts = [
        (found[id].item, found[id].box, code.tobytes()) for id, code in zip(ids.tolist(), stored_codes, strict=True)
    ]
    return sorted(parts, key=repr), store.packs()


row_lists = st.lists(pack_rows, max_size=6, unique_by=lambda row: row.item.item_id)


@settings(max_examples=40, deadline=None)
@given(old=row_lists, new=row_lists, by_delta=st.booleans())
def test_going_back_brings_the_former_release_back_row_by_row(tmp_path_factory, old, new, by_delta):
    with Store.open(tmp_path_factory.mktemp("store"), create=True) as store:
        with store.write() as writer:
            writer.apply(state_header(old), upserts(old))
            writer.set_document("release", "old")
        before = contents(store)
        with store.write() as writer:
            writer.remember()
            if by_delta:
                writer.apply(*delta(old, new))
            else:
                writer.apply(state_header(new, sequence=2), upserts(new))
            writer.set_document("release", "new")
        assert store.former_document("release") == "old"
        with store.write() as writer:
            writer.go_back()
        assert contents(store) == before
        assert store.document("release") == "old"
        assert store.former_document("release") is None
        store.check()


def test_going_back_needs_a_former_release(store):
    install(store, ROWS)
    with pytest.raises(NotReadyError, match="no former release"), store.write() as writer:
        writer.go_back()


def test_a_pack_that_came_with_the_release_goes_with_it_and_a_dropped_one_stays_away(store):
    install(store, ROWS[:1], "tools")
    install(store, ROWS[1:2], "food")
    with store.write() as writer:
        writer.set_document("release", "old")
    with store.write() as writer:
        writer.remember()
        writer.drop_pack("food")
        writer.apply(state_header(ROWS[2:], "french"), upserts(ROWS[2:]))
    with store.write() as writer:
        writer.go_back()
    assert [pack.pack for pack in store.packs()] == ["tools"]
