"""Text search over titles, texts and tags."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.packs import state_header, upserts

from handlens.store import Store
from handlens.wire.item import Item
from handlens.wire.pack import PackRow

ITEMS = [
    Item("avocado", "photo", "food", "Ripe avocado", annotations={"avocado": 1.0, "fruit": 0.6}, locale="en"),
    Item("guacamole", "recipe", "food", "Guacamole", text="Mash two avocados with lime.", annotations={"dip": 0.9}),
    Item("juice", "recipe", "food", "Squeezed", annotations={"orange": 0.9, "juice bottle": 0.4}, locale="en"),
    Item("creme", "recipe", "food", "Crème brûlée", annotations={"dessert": 0.8}, locale="fr"),
    Item("hammers", "how_to", "tool", "Choosing hammers", annotations={"claw hammer": 1.0}, audience="adults"),
    Item("saw", "how_to", "tool", "Sawing", text="Measure twice."),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with Store.open(tmp_path_factory.mktemp("store"), create=True) as opened:
        with opened.write() as writer:
            rows = [PackRow(item) for item in ITEMS]
            writer.apply(state_header(rows), upserts(rows))
        yield opened


def found(store, *terms, **options):
    return [hit.item.item_id for hit in store.search_text(dict.fromkeys(terms, 1.0), limit=10, **options)]


def test_a_tag_counts_more_than_a_word_of_the_text(store):
    assert found(store, "avocado") == ["avocado", "guacamole"]


def test_words_match_by_stem_without_case_and_accents(store):
    assert found(store, "HAMMER") == ["hammers"]
    assert found(store, "creme brulee") == ["creme"]
    assert found(store, "saws") == ["saw"]


def test_a_phrase_matches_as_a_phrase_and_never_across_two_tags(store):
    assert found(store, "claw hammer") == ["hammers"]
    assert found(store, "hammer claw") == []
    assert found(store, "juice bottle") == ["juice"]
    assert found(store, "orange juice") == []


def test_a_weight_moves_an_item_and_the_strongest_term_is_named(store):
    light = store.search_text({"avocado": 0.1, "orange": 1.0}, limit=10)
    heavy = store.search_text({"avocado": 1.0, "orange": 0.1}, limit=10)
    assert (light[0].item.item_id, light[0].tag) == ("juice", "orange")
    assert (heavy[0].item.item_id, heavy[0].tag) == ("avocado", "avocado")
    assert all(hit.score > 0 for hit in light + heavy)


def test_two_terms_that_one_item_holds_add_up(store):
    (one,) = store.search_text({"fruit": 1.0}, limit=10)
    both = store.search_text({"fruit": 1.0, "avocado": 1.0}, limit=10)
    assert both[0].item.item_id == "avocado"
    assert both[0].score > one.score


def test_hits_are_filtered_by_locale_audience_and_kind(store):
    assert found(store, "dessert", locale="en") == []
    assert found(store, "dessert", locale="fr-CA") == ["creme"]
    assert found(store, "avocado", locale="fr") == ["guacamole"]
    assert found(store, "avocado", kinds=["recipe"]) == ["guacamole"]
    assert found(store, "avocado", kinds=["recipe", "photo"]) == ["avocado", "guacamole"]
    assert found(store, "hammer", audience="children") == []
    assert found(store, "hammer", audience="adults") == ["hammers"]
    assert found(store, "avocado", packs=["demo"]) == ["avocado", "guacamole"]


def test_no_more_than_the_limit_are_answered(store):
    assert len(store.search_text({"avocado": 1.0, "orange": 1.0, "dip": 1.0}, limit=2)) == 2
    with pytest.raises(ValueError, match="limit is 0"):
        store.search_text({"avocado": 1.0}, limit=0)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_ranks_nothing_is_refused(store, weight):
    with pytest.raises(ValueError, match="weight"):
        store.search_text({"avocado": weight}, limit=1)


def test_a_term_of_no_weight_finds_nothing(store):
    assert store.search_text({"avocado": 0.0}, limit=5) == []


@pytest.mark.parametrize(
    "term",
    [
        "", " ", '"', '""', '" OR "avocado', '" OR 1 --', "avocado OR hammer", "NOT avocado", "avoc*", "title:avocado",
        "{title text}: avocado", "^avocado", "NEAR(avocado lime)", "a AND (b", "\0", "avo\0cado",
        "'; DROP TABLE items; --",
        "-", "\ufffe", "🥑", "\u202e", "(" * 5000, '"' * 5001, "x" * 10_240, "avocado " * 1_280,
    ],
)  # fmt: skip
def test_no_term_is_read_as_a_query_language(store, term):
    # Punctuation separates words: what is left is one phrase, never a query.
    assert found(store, term) == (["avocado", "guacamole"] if term == "^avocado" else [])
    assert "hammers" in found(store, term, "claw hammer")


@settings(max_examples=200, deadline=None)
@given(terms=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.floats(0, 1), max_size=4))
def test_any_terms_give_an_answer(store, terms):
    hits = store.search_text(terms, limit=3)
    assert all(hit.tag in terms and hit.score > 0 for hit in hits)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_lone_surrogates_find_nothing(store):
    assert found(store, "\ud800") == []
