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
    return [hit.item.item_id for term in terms for hit in store.search_text(term, limit=10, **options)]


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


def test_scores_do_not_depend_on_what_else_is_held(store, tmp_path):
    def scores(opened):
        return {hit.item.item_id: hit.score for hit in opened.search_text("avocado", limit=10)}

    alone = scores(store)
    others = [Item(f"other-{at}", "article", "food", "Avocado oil " * at, text="long " * at) for at in range(1, 40)]
    with Store.open(tmp_path, create=True) as larger:
        with larger.write() as writer:
            rows = [PackRow(item) for item in (*ITEMS, *others)]
            writer.apply(state_header(rows), upserts(rows))
        assert {name: score for name, score in scores(larger).items() if name in alone} == alone


def test_scores_are_bm25_with_an_average_of_24_words(store):
    hits = {hit.item.item_id: hit.score for hit in store.search_text("avocado", limit=10)}
    # "Ripe avocado" | avocado, fruit (a word stands between two tags) | its kind: once in the title, once in a tag.
    assert hits["avocado"] == pytest.approx(10 * 2.2 / (10 + 1.2 * (0.25 + 0.75 * 6 / 24)))
    assert hits["guacamole"] == pytest.approx(1 * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 8 / 24)))


def test_of_a_word_that_many_carry_every_kind_is_answered_and_tagged_items_lead(tmp_path):
    photos = [Item(f"photo-{at}", "photo", "food", "Food on a table", text="food") for at in range(800)]
    tagged = Item("tagged", "photo", "food", "A dish", annotations={"food": 1.0})
    recipe = Item("recipe", "recipe", "food", "A long tale", text="of food")
    with Store.open(tmp_path, create=True) as store:
        with store.write() as writer:
            rows = [PackRow(item) for item in (tagged, recipe, *photos)]
            writer.apply(state_header(rows), upserts(rows))
        hits = [hit.item.item_id for hit in store.search_text("food", limit=4)]
    assert len(hits) == 4
    assert hits[0] == "tagged"
    assert "recipe" in hits


def test_a_hit_from_the_sample_of_a_frequent_word_is_not_far_behind_the_best_of_all(tmp_path):
    # The oldest are the best: their one word is the one asked for. Only newer ones are in the sample.
    best = [Item(f"best-{at}", "photo", "food", "food food food", annotations={"food": 1.0}) for at in range(40)]
    plain = [
        Item(
            f"plain-{at}",
            "photo",
            "food",
            f"A dish of the house {at}",
            text="long " * (at % 30),
            annotations={"food": 1.0},
        )
        for at in range(700)
    ]
    with Store.open(tmp_path, create=True) as store:
        with store.write() as writer:
            rows = [PackRow(item) for item in (*best, *plain)]
            writer.apply(state_header(rows), upserts(rows))
        hits = store.search_text("food", limit=40)
    # Rule 3: f >= 6 in a tag, an item of 40 words at most, and 2.2 is more than any score.
    assert min(hit.score for hit in hits) >= 2.2 * 6 / (6 + 1.2 * (0.25 + 0.75 * 40 / 24))


def test_of_a_frequent_word_items_that_carry_it_in_tag_and_title_are_in_the_sample(tmp_path):
    both = [Item(f"both-{at}", "photo", "food", f"Food {at}", annotations={"food": 1.0}) for at in range(10)]
    tagged = [Item(f"tag-{at}", "photo", "food", f"Dish {at}", annotations={"food": 1.0}) for at in range(700)]
    with Store.open(tmp_path, create=True) as store:
        with store.write() as writer:
            rows = [PackRow(item) for item in (*both, *tagged)]
            writer.apply(state_header(rows), upserts(rows))
        hits = store.search_text("food", limit=10)
    assert {hit.item.item_id for hit in hits} == {item.item_id for item in both}


def test_hits_are_filtered_by_locale_audience_and_kind(store):
    assert found(store, "dessert", locale="en") == []
    assert found(store, "dessert", locale="fr-CA") == ["creme"]
    assert found(store, "avocado", locale="fr") == ["guacamole"]
    assert found(store, "hammer", audience="children") == []
    assert found(store, "hammer", audience="adults") == ["hammers"]
    assert found(store, "avocado", packs=["demo"]) == ["avocado", "guacamole"]


def test_no_more_are_answered_than_asked_for(store):
    assert len(store.search_text("avocado", limit=1)) == 1
    with pytest.raises(ValueError, match="limit is 0"):
        store.search_text("avocado", limit=0)


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
@given(term=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_term_gives_an_answer(store, term):
    hits = store.search_text(term, limit=3)
    assert all(hit.score > 0 for hit in hits)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_lone_surrogates_find_nothing(store):
    assert found(store, "\ud800") == []
