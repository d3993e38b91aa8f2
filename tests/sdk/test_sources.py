"""Sources: one suite for all of them, over a real catalogue, and what each does of its own."""

import pytest
from support.packs import state_header, upserts

from handlens.blend import Gates, Pick
from handlens.geometry import WHOLE, Box
from handlens.results import Annotation, Neighbour, Query, Understanding
from handlens.sources import AnnotationSource, CuratedSource, ObjectSource, VisualSource
from handlens.store import Store
from handlens.wire.item import Item
from handlens.wire.pack import ItemEmbedding, PackRow

ITEMS = [
    Item("photo-orange", "photo", "food", "Oranges on a tree", annotations={"orange": 1.0, "fruit": 0.5}),
    Item("photo-lemon", "photo", "food", "A lemon", annotations={"lemon": 1.0, "fruit": 0.5}),
    Item("photo-car", "photo", "vehicle", "An orange car", annotations={"sports car": 1.0, "orange": 0.2}),
    Item("recipe-cake", "recipe", "food", "Orange cake", annotations={"orange": 1.0, "cake": 1.0}, locale="en"),
    Item("recipe-kuchen", "recipe", "food", "Orangenkuchen", annotations={"orange": 1.0}, locale="de"),
    Item("recipe-salad", "recipe", "food", "Winter salad", text="Fennel with slices of orange."),
    Item("how-to-peel", "how_to", "food", "Peel citrus fruit", annotations={"orange": 0.9, "lemon": 0.9}, locale="en"),
    Item("photo-hammer", "photo", "tool", "A hammer", annotations={"hammer": 1.0}),
    Item("how-to-nail", "how_to", "tool", "Drive a nail", annotations={"hammer": 1.0, "nail": 0.9}),
]


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path, create=True) as store:
        install(store, ITEMS)
        yield store


def install(store, items):
    rows = [PackRow(item, (ItemEmbedding(WHOLE, b"\1\2\3\4"),)) for item in items]
    with store.write() as writer:
        writer.apply(state_header(rows, "test", space="test-space", dim=4), upserts(rows))


def neighbours(store, **similarities):
    """The catalogue's items as neighbours, by item_id with _ for -."""
    ids, _ = store.vectors()
    by_id = {item.item_id: (key, item, box) for key, item, box, _ in store.items_of(ids.tolist()).values()}
    found = ((by_id[name.replace("_", "-")], similarity) for name, similarity in similarities.items())
    return tuple(Neighbour(key, item, similarity, box) for (key, item, box), similarity in found)


def understood(object_type="food", confidence=0.9, **words):
    notes = tuple(Annotation(tag.replace("_", " "), value, ("neighbours",)) for tag, value in words.items())
    return Understanding(object_type, confidence, notes)


def asked(store, *, limit=10, locale="", refine=None):
    """A query that every source can answer."""
    near = neighbours(store, photo_orange=0.9, recipe_kuchen=0.8, recipe_cake=0.7, photo_lemon=0.6, photo_car=0.4)
    parts = tuple(one._replace(box=PART) for one in near)
    return Query(
        understood(orange=0.8, lemon=0.3), near + parts, limit, locale, refine, has_object=True, day="2026-06-15"
    )


GATES = Gates(type=0.4, annotation=0.25)
PART = Box(0.1, 0.1, 0.5, 0.5)
PICKS = tuple(
    Pick(item_id, ("food",), ("orange",), "", "")
    for item_id in ("recipe-cake", "recipe-kuchen", "photo-orange", "how-to-peel", "recipe-salad", "not-here")
)


@pytest.fixture(params=["visual", "object", "curated", "annotation"])
def source(request, store):
    return {
        "visual": VisualSource(),
        "object": ObjectSource(),
        "curated": CuratedSource(store, PICKS, GATES),
        "annotation": AnnotationSource(store, gate=0.25),
    }[request.param]


def ids(candidates):
    return [candidate.item.item_id for candidate in candidates]


def test_candidates_carry_the_name_of_their_source_and_a_reason(source, store):
    found = source.candidates(asked(store))
    assert found
    assert all(candidate.source == source.name and candidate.reason for candidate in found)


def test_scores_are_fractions_and_the_best_come_first(source, store):
    scores = [candidate.score for candidate in source.candidates(asked(store))]
    assert scores == sorted(scores, reverse=True)
    assert all(0.0 <= score <= 1.0 for score in scores)


def test_each_item_is_offered_once(source, store):
    found = source.candidates(asked(store))
    assert len({candidate.item.item_id for candidate in found}) == len(found)


def test_nothing_depends_on_the_keys_that_a_catalogue_gave_its_items(source, store, tmp_path):
    with Store.open(tmp_path / "other", create=True) as other:
        install(other, ITEMS[::-1])
        elsewhere = {"curated": CuratedSource(other, PICKS, GATES), "annotation": AnnotationSource(other, gate=0.25)}
        there = elsewhere.get(source.name, source).candidates(asked(other))
    assert [told(one) for one in there] == [told(one) for one in source.candidates(asked(store))]


def told(candidate):
    return candidate.item.item_id, candidate.source, candidate.score, candidate.reason


def test_items_of_another_language_are_left_out_and_items_of_none_are_not(source, store):
    found = ids(source.candidates(asked(store, locale="en")))
    assert "recipe-cake" in found
    assert "photo-orange" in found
    assert "recipe-kuchen" not in found


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_at_most_the_limit_is_offered(source, store, limit):
    assert len(source.candidates(asked(store, limit=limit))) == limit


def test_the_same_query_gives_the_same_candidates(source, store):
    assert source.candidates(asked(store)) == source.candidates(asked(store))


def test_a_query_with_nothing_to_go_by_gets_nothing(source):
    assert source.candidates(Query(understood(), (), 10)) == []


def test_an_item_with_several_similar_parts_is_offered_by_its_most_similar(store):
    far, near = neighbours(store, photo_orange=0.5) + neighbours(store, photo_orange=0.83)
    (only,) = VisualSource().candidates(Query(understood(), (far, near), 10))
    assert (only.score, only.reason) == (0.83, "0.83 similar")


def test_similarities_outside_zero_to_one_are_brought_inside(store):
    near = neighbours(store, photo_orange=1.0000002, photo_car=-0.3)
    assert [candidate.score for candidate in VisualSource().candidates(Query(understood(), near, 10))] == [1.0, 0.0]


def test_scenes_that_contain_the_object_are_offered_by_that_part(store):
    (whole,) = neighbours(store, photo_orange=0.5)
    part = whole._replace(similarity=0.8, box=PART)
    query = Query(understood(orange=0.8), (whole, part), 10, has_object=True)
    (only,) = ObjectSource().candidates(query)
    assert (only.score, only.reason) == (0.8, "contains a similar orange")
    assert [one.score for one in VisualSource().candidates(query)] == [0.5]


def test_without_an_object_no_scene_is_offered(store):
    part = neighbours(store, photo_orange=0.8)[0]._replace(box=PART)
    assert ObjectSource().candidates(Query(understood(orange=0.8), (part,), 10)) == []


def test_a_thing_that_is_not_sure_is_not_named(store):
    part = neighbours(store, photo_orange=0.8)[0]._replace(box=PART)
    (only,) = ObjectSource(gate=0.25).candidates(Query(understood(orange=0.2), (part,), 10, has_object=True))
    assert only.reason == "contains a similar object"


class TestPicks:
    def offered(self, store, pick, *, day="2026-06-15", **words):
        query = Query(understood(**words), (), 10, day=day)
        return [
            (one.item.item_id, one.score, one.reason) for one in CuratedSource(store, [pick], GATES).candidates(query)
        ]

    def test_a_pick_counts_as_far_as_its_tag_or_its_type_is_believed(self, store):
        by_tag = Pick("recipe-cake", (), ("orange",), "", "")
        by_type = Pick("recipe-cake", ("food",), ("lemon",), "", "")
        assert self.offered(store, by_tag, orange=0.8) == [("recipe-cake", 0.8, "picked by the editors for orange")]
        assert self.offered(store, by_type, orange=0.8) == [("recipe-cake", 0.9, "picked by the editors for food")]
        assert self.offered(store, by_tag, lemon=0.8) == []

    def test_what_is_not_believed_enough_brings_no_pick(self, store):
        assert self.offered(store, Pick("recipe-cake", (), ("orange",), "", ""), orange=0.2) == []
        assert self.offered(store, Pick("recipe-cake", ("food",), (), "", ""), confidence=0.3) == []

    def test_a_pick_for_everything_is_always_offered(self, store):
        assert self.offered(store, Pick("recipe-cake", (), (), "", ""), confidence=0.1) == [
            ("recipe-cake", 1.0, "picked by the editors")
        ]

    def test_an_item_that_the_catalogue_has_not_is_passed_over(self, store):
        assert self.offered(store, Pick("nothing", (), (), "", "")) == []

    @pytest.mark.parametrize(
        ("starts", "ends", "is_offered"),
        [
            ("2026-06-15", "2026-06-15", True),
            ("2026-06-16", "", False),
            ("", "2026-06-14", False),
            ("2026-01-01T00:00:00Z", "2026-12-31T00:00:00Z", True),
        ],
    )
    def test_picks_have_their_days(self, store, starts, ends, is_offered):
        assert bool(self.offered(store, Pick("recipe-cake", (), (), starts, ends))) is is_offered

    def test_without_a_day_there_are_no_picks(self, store):
        assert self.offered(store, Pick("recipe-cake", (), (), "", ""), day="") == []


def test_photos_do_not_crowd_out_the_one_recipe(tmp_path):
    photos = [Item(f"photo-{at}", "photo", "food", "Orange", annotations={"orange": 1.0}) for at in range(200)]
    recipe = Item("recipe", "recipe", "food", "A long tale of a cake", text="Orange " + "and more " * 30)
    with Store.open(tmp_path, create=True) as store:
        install(store, [*photos, recipe])
        found = ids(AnnotationSource(store).candidates(Query(understood(orange=0.9), (), 10)))
    assert len(found) == 10
    assert "recipe" in found


def test_weak_words_are_not_searched(store):
    query = Query(understood(orange=0.24), (), 10)
    assert AnnotationSource(store, gate=0.25).candidates(query) == []
    assert AnnotationSource(store, gate=0.2).candidates(query)


def test_an_item_about_the_word_comes_before_one_that_mentions_it(store):
    found = AnnotationSource(store, gate=0.25).candidates(Query(understood(orange=0.8), (), 10, "en"))
    recipes = [(one.item.item_id, one.reason) for one in found if one.item.kind == "recipe"]
    assert recipes == [("recipe-cake", "tagged orange"), ("recipe-salad", "mentions orange")]


def test_the_surer_word_leads(store):
    found = ids(AnnotationSource(store, gate=0.25).candidates(Query(understood(orange=0.3, lemon=0.9), (), 10)))
    assert found.index("photo-lemon") < found.index("photo-orange")


def test_a_word_that_most_of_the_catalogue_carries_still_counts_by_its_confidence(store):
    found = AnnotationSource(store, gate=0.25).candidates(Query(understood(orange=0.9, nail=0.3), (), 10))
    scores = {one.item.item_id: one.score for one in found}
    assert scores["photo-orange"] > 0.5 > scores["how-to-nail"]


def test_items_of_another_type_are_offered_after_those_of_the_type(store):
    found = ids(AnnotationSource(store, gate=0.25).candidates(Query(understood("food", orange=0.8), (), 10)))
    photos = [name for name in found if name.startswith("photo")]
    assert photos == ["photo-orange", "photo-car"]


def test_the_words_of_the_user_are_searched_even_when_nothing_was_understood(store):
    query = Query(understood("other", 0.1), (), 10, refine="hammers please")
    assert ids(AnnotationSource(store, gate=0.25).candidates(query)) == ["photo-hammer", "how-to-nail"]


def test_beside_understood_words_those_of_the_user_do_not_bring_other_things_to_the_top(store):
    found = ids(AnnotationSource(store, gate=0.25).candidates(asked(store, refine="car")))
    assert "photo-car" in found
    assert found.index("photo-orange") < found.index("photo-car")


@pytest.mark.parametrize(
    "text", ['" OR 1', "tags:*", "NEAR(a b)", "a" * 10_000, "'; DROP TABLE items; --", "\x00", "🍊"]
)
def test_what_the_user_types_is_never_taken_for_a_search_command(store, text):
    found = AnnotationSource(store, gate=0.25).candidates(asked(store, refine=text))
    assert "photo-orange" in ids(found)
