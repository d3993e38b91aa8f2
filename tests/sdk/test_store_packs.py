"""What goes into the store comes out: packs, items, vectors, thumbnails, documents, slots, filters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlens.errors import DecodeError, IncompatibleError, NotReadyError, UnknownPackError
from handlens.geometry import WHOLE, Box
from handlens.store import Slot, Store
from handlens.wire.item import KINDS, OBJECT_TYPES, Item
from handlens.wire.pack import ItemEmbedding, PackHeader, PackRow

HAMMER = Item("hammer", "photo", "tool", "Claw hammer", annotations={"hammer": 1.0, "hand tool": 0.5}, locale="en")
SOUP = Item("soup", "recipe", "food", "Pumpkin soup", text="Warm, with ginger.", annotations={"pumpkin": 0.9})
MARTEAU = Item("marteau", "article", "tool", "Le marteau", locale="fr", audience="adults")


def part(*values, box=WHOLE):
    return ItemEmbedding(box, np.array(values, np.int8).tobytes())


def header(rows, pack="demo", **changes):
    vectors = sum(len(row.embeddings) for row in rows)
    fields = {"sequence": 1, "as_of": "2026-01-01T00:00:00Z", "space": "e1", "dim": 2, "items": len(rows)}
    return PackHeader(pack=pack, **{**fields, "vectors": vectors, **changes})


def install(store, rows, pack="demo", **changes):
    with store.write() as writer:
        writer.replace_pack(header(rows, pack, **changes), rows)


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
    assert store.packs() == (header(ROWS),)


def test_replacing_a_pack_leaves_no_row_of_the_old_state_and_uses_no_key_again(store):
    install(store, ROWS)
    old_ids = store.vectors()[0]
    old_keys = {found.item_key for found in store.items_of(old_ids.tolist()).values()}
    install(store, ROWS[:1], sequence=2)
    ids, _ = store.vectors()
    assert not set(ids) & set(old_ids)
    assert not {found.item_key for found in store.items_of(ids.tolist()).values()} & old_keys
    assert store.items_of(old_ids.tolist()) == {}
    assert [hit.item for hit in store.search_text({"pumpkin": 1.0, "hammer": 1.0}, limit=9)] == [HAMMER]
    assert store.stats().items == 1
    assert store.stats().vectors == 2
    assert store.stats().thumbnails == 1


def test_packs_stand_beside_each_other_and_one_can_be_dropped(store):
    install(store, ROWS[:1], "tools")
    install(store, ROWS[1:], "rest")
    assert [pack.pack for pack in store.packs()] == ["rest", "tools"]
    assert store.vectors(["rest"])[1].tolist() == [[-127, 1]]
    with store.write() as writer:
        writer.drop_pack("tools")
    assert store.vectors()[1].tolist() == [[-127, 1]]
    assert store.search_text({"hammer": 1.0}, limit=5) == []


def test_an_empty_store_answers_with_nothing(store):
    ids, codes = store.vectors()
    assert ids.shape == (0,)
    assert len(codes) == 0
    assert store.packs() == ()
    assert store.items_of([]) == {}
    assert store.items_of([1, 2]) == {}
    assert store.search_text({"hammer": 1.0}, limit=5) == []
    assert store.search_text({}, limit=5) == []


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
        lambda: store.search_text({"a": 1.0}, limit=1, packs=["toolz"]),
    ]
    for ask in asks:
        with pytest.raises(UnknownPackError, match="'toolz' is not installed: installed are 'tools'"):
            ask()
    with pytest.raises(UnknownPackError, match="toolz"), store.write() as writer:
        writer.drop_pack("toolz")


def test_a_pack_of_another_embedding_space_is_refused_beside_others_but_may_replace_itself(store):
    install(store, ROWS, "tools")
    with pytest.raises(IncompatibleError, match=r"'e2' \(2\), the installed pack 'tools' of 'e1' \(2\)"):
        install(store, ROWS, "rest", space="e2")
    install(store, [PackRow(SOUP, (part(1, 2, 3),))], "tools", space="e2", dim=3)
    assert store.vectors()[1].tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        ([PackRow(SOUP), PackRow(SOUP)], {}, "'soup' of pack 'demo' comes twice"),
        ([PackRow(SOUP, (part(1, 2, 3),))], {}, "zero or not 2 bytes"),
        ([PackRow(SOUP, (part(0, 0),))], {}, "zero or not 2 bytes"),
        ([PackRow(SOUP)], {"items": 2}, "1 items and 0 vectors, its header promises 2 and 0"),
        ([PackRow(Item("a", "photo", "tool", "\ud800"))], {}, "not Unicode"),
    ],
)
def test_a_malformed_pack_is_refused_and_the_old_one_stays(store, rows, changes, message):
    install(store, ROWS)
    with pytest.raises(DecodeError, match=message):
        install(store, rows, **changes)
    assert store.stats().items == 3
    assert store.generation() == 1


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
boxes = st.tuples(fractions, fractions, fractions, fractions).filter(lambda e: e[0] < e[2] and e[1] < e[3])
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
        for rows in states:
            install(store, rows)
        ids, stored_codes = store.vectors()
        found = store.items_of(ids.tolist())
        expected = [(row.item, entry.box, entry.code) for row in states[-1] for entry in row.embeddings]
        assert [
            (found[id].item, found[id].box, code.tobytes()) for id, code in zip(ids, stored_codes, strict=True)
        ] == expected
        for id in ids.tolist():
            thumbnail = next(row.thumbnail for row in states[-1] if row.item == found[id].item)
            assert (store.thumbnail(found[id].item_key) or b"") == thumbnail
        store.check()
