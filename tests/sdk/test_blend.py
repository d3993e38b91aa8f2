"""Blending: golden cases by type with the shipped policy, and each rule with a small one."""

import json

import pytest
from support.paths import MODELS

from handlens.blend import Policy, Refinement, blend
from handlens.results import Annotation, Candidate, Understanding
from handlens.wire.item import Item

SHIPPED = Policy.from_json((MODELS / "policy.json").read_bytes())
ALL_KINDS = ["article", "how_to", "idea", "photo", "place", "product", "recipe"]


def candidate(key, kind, score, source="annotation", *, group=None, title=None, quality=0.5, **tags):
    title = title or f"{kind} {key}"
    item = Item(f"i{key}", kind, "food", title, annotations=tags, group_id=group, quality=quality)
    return Candidate(key, item, source, score, f"{source} {score}")


def understood(object_type, confidence=0.95, **words):
    return Understanding(object_type, confidence, tuple(Annotation(tag, value) for tag, value in words.items()))


def section(name, kinds, share, source="annotation", **more):
    return {"name": name, "title": name.title(), "sources": [source], "kinds": kinds, "share": share, **more}


def small_policy(*sections, max_per_group=2):
    return Policy.from_json(
        json.dumps(
            {
                "format": 1,
                "version": "test",
                "gates": {"type": 0.5, "annotation": 0.3},
                "diversity": {"max_per_group": max_per_group},
                "types": {},
                "default": {"sections": list(sections)},
                "fallback": {"name": "closest", "title": "The closest we have"},
            }
        )
    )


RECIPES_THEN_PHOTOS = small_policy(section("recipes", ["recipe"], 0.5), section("similar", ["photo"], 0.5, "visual"))


def names(sections):
    return [(one.name, [match.item_key for match in one.matches]) for one in sections]


def mixed():
    """Two items of each kind by annotation, and six photos by likeness: more likeness than words."""
    by_words = [candidate(10 * at + n, kind, 0.6 - n / 10) for at, kind in enumerate(ALL_KINDS, 1) for n in (0, 1)]
    return [*by_words, *(candidate(100 + n, "photo", 0.9 - n / 100, "visual") for n in range(6))]


GOLDEN = {
    "food": ["recipes", "how_to", "read", "shop", "similar"],
    "fashion": ["shop", "outfits", "similar", "care"],
    "beauty": ["shop", "how_to", "ideas", "similar"],
    "home": ["ideas", "shop", "how_to", "similar"],
    "plant": ["care", "read", "similar", "visit", "ideas"],
    "animal": ["read", "visit", "similar", "ideas"],
    "vehicle": ["read", "similar", "visit", "how_to", "shop"],
    "electronics": ["how_to", "shop", "read", "similar"],
    "tool": ["how_to", "shop", "ideas", "similar"],
    "art": ["story", "museums", "similar", "ideas"],
    "place": ["story", "visit", "similar", "ideas"],
    "media": ["how_to", "read", "shop", "similar"],
    "toy": ["shop", "ideas", "read", "similar"],
    "sport": ["how_to", "shop", "visit", "similar"],
    "other": ["similar", "more"],
}


@pytest.mark.parametrize(("object_type", "order"), GOLDEN.items())
def test_each_type_has_its_own_order_of_sections(object_type, order):
    sections = blend(mixed(), understood(object_type), SHIPPED, limit=12, request_id="r")
    assert [one.name for one in sections] == order
    assert sum(len(one.matches) for one in sections) == 12


def test_food_answers_with_recipes_named_by_its_word():
    sections = blend(mixed(), understood("food", grapefruit=0.8), SHIPPED, limit=12, request_id="r")
    assert (sections[0].title, sections[1].title) == ("Recipes with grapefruit", "How to")
    assert names(sections) == [
        ("recipes", [70, 71]),
        ("how_to", [20, 30, 21, 31]),
        ("read", [10, 50, 11]),
        ("shop", [60]),
        ("similar", [100, 101]),
    ]


def test_a_title_does_not_name_a_word_that_is_not_sure():
    sections = blend(mixed(), understood("food", grapefruit=0.2), SHIPPED, limit=12, request_id="r")
    assert sections[0].title == "Recipes"


def test_an_unsure_type_is_answered_by_likeness_first():
    sections = blend(mixed(), understood("food", confidence=0.3), SHIPPED, limit=12, request_id="r")
    assert [one.name for one in sections] == ["similar", "more"]
    assert sections[0].matches[0].why.rule == "default/similar"


def test_every_match_says_why_it_stands_there():
    (one,) = blend([candidate(1, "recipe", 0.7)], understood("food"), SHIPPED, limit=12, request_id="r")
    why = one.matches[0].why
    assert (why.source, why.score, why.rule, why.policy) == ("annotation", 0.7, "food/recipes", SHIPPED.version)
    assert why.reason == "annotation 0.7"


def test_an_item_that_two_sections_want_stands_in_the_first():
    policy = small_policy(section("best", ["photo"], 0.5, "visual"), section("more", ["photo"], 0.5, "visual"))
    sections = blend([candidate(1, "photo", 0.9, "visual")], understood("toy"), policy, limit=4, request_id="r")
    assert names(sections) == [("best", [1])]


def test_an_item_that_two_sources_offer_stands_once_by_its_better_score():
    policy = small_policy({**section("all", ["photo"], 1.0), "sources": ["visual", "annotation"]})
    offers = [candidate(1, "photo", 0.4, "visual"), candidate(1, "photo", 0.7)]
    (one,) = blend(offers, understood("toy"), policy, limit=4, request_id="r")
    assert [(match.item_key, match.why.source) for match in one.matches] == [(1, "annotation")]


def test_places_that_a_section_cannot_fill_go_to_the_others():
    photos = [candidate(key, "photo", 0.9, "visual") for key in range(20)]
    sections = blend(
        [candidate(50, "recipe", 0.5), *photos], understood("food"), RECIPES_THEN_PHOTOS, limit=8, request_id="r"
    )
    assert [len(one.matches) for one in sections] == [1, 7]


def test_shares_are_kept_where_there_is_enough_of_everything():
    policy = small_policy(
        section("recipes", ["recipe"], 0.5), section("reading", ["article"], 0.3), section("places", ["place"], 0.2)
    )
    plenty = [
        candidate(100 * at + n, kind, 0.5) for at, kind in enumerate(("recipe", "article", "place")) for n in range(20)
    ]
    for limit, counts in ((10, [5, 3, 2]), (7, [4, 2, 1]), (2, [1, 1]), (1, [1])):
        sections = blend(plenty, understood("food"), policy, limit=limit, request_id="r")
        assert [len(one.matches) for one in sections] == counts, limit


def test_what_scores_too_little_is_left_out():
    policy = small_policy(section("recipes", ["recipe"], 1.0, min_score=0.5))
    offers = [candidate(1, "recipe", 0.49), candidate(2, "recipe", 0.5)]
    assert names(blend(offers, understood("food"), policy, limit=4, request_id="r")) == [("recipes", [2])]


def test_of_near_duplicates_only_so_many_are_shown_over_all_sections():
    offers = [candidate(key, "recipe", 0.9, group="pie") for key in range(5)]
    offers += [candidate(key, "photo", 0.9, "visual", group="pie") for key in range(5, 9)]
    offers += [candidate(9, "photo", 0.1, "visual")]
    sections = blend(offers, understood("food"), RECIPES_THEN_PHOTOS, limit=8, request_id="r")
    assert names(sections) == [("recipes", [0, 1]), ("similar", [9])]


def test_when_no_rule_wants_anything_the_best_candidates_are_shown_all_the_same():
    offers = [candidate(1, "place", 0.2), candidate(2, "article", 0.3)]
    (one,) = blend(offers, understood("food"), RECIPES_THEN_PHOTOS, limit=8, request_id="r")
    assert (one.name, one.title) == ("closest", "The closest we have")
    assert [(match.item_key, match.why.rule) for match in one.matches] == [
        (2, "fallback/closest"),
        (1, "fallback/closest"),
    ]


def test_without_candidates_there_is_no_section():
    assert blend([], understood("food"), SHIPPED, limit=8, request_id="r") == ()


def test_ties_go_to_the_better_item_then_to_the_lower_key():
    offers = [candidate(3, "recipe", 0.5), candidate(1, "recipe", 0.5), candidate(2, "recipe", 0.5, quality=0.9)]
    assert names(blend(offers, understood("food"), RECIPES_THEN_PHOTOS, limit=8, request_id="r")) == [
        ("recipes", [2, 1, 3])
    ]


def test_a_limit_below_one_is_a_programmers_mistake():
    with pytest.raises(ValueError, match="limit is 0"):
        blend([], understood("food"), SHIPPED, limit=0, request_id="r")


def test_asking_for_a_kind_brings_its_section_to_the_front_with_all_its_items():
    photos = [candidate(key, "photo", 0.9, "visual") for key in range(20)]
    guides = [candidate(50 + key, "how_to", 0.5) for key in range(5)]
    sections = blend([*photos, *guides], understood("food"), SHIPPED, limit=8, request_id="r", refine="how to")
    assert [(one.name, len(one.matches)) for one in sections] == [("how_to", 5), ("similar", 3)]


def test_asking_for_a_kind_that_nobody_offers_leaves_the_rest_of_the_answer():
    photos = [candidate(key, "photo", 0.9, "visual") for key in range(3)]
    assert names(blend(photos, understood("food"), SHIPPED, limit=8, request_id="r", refine="recipes")) == [
        ("similar", [0, 1, 2])
    ]


def test_a_wished_colour_brings_whatever_has_it_to_the_front_of_its_section():
    offers = [
        candidate(1, "photo", 0.8, "visual", title="Blue dress"),
        candidate(2, "photo", 0.6, "visual", title="Red dress"),
        candidate(3, "photo", 0.3, "visual", red=1.0),
    ]
    sections = blend(offers, understood("fashion", 0.2), RECIPES_THEN_PHOTOS, limit=8, request_id="r", refine="red")
    assert names(sections) == [("similar", [2, 3, 1])]
    assert sections[0].matches[0].score == 0.6


@pytest.mark.parametrize(
    ("text", "kinds", "words", "colours"),
    [
        (None, (), (), ()),
        ("", (), (), ()),
        ("  ,;! ", (), (), ()),
        ("recipe", ("recipe",), (), ()),
        ("Recipes with tomatoes and basil", ("recipe",), ("tomatoes", "basil"), ()),
        ("how to", ("how_to",), (), ()),
        ("HOW-TO: sharpen", ("how_to",), ("sharpen",), ()),
        ("places to visit", ("place",), (), ()),
        ("buy a red one", ("product",), ("one",), ("red",)),
        ("ideas or stories", ("idea", "article"), (), ()),
        ("red red crimson", (), (), ("red",)),
        ("Straße", (), ("strasse",), ()),
    ],
)
def test_free_text_is_read_as_kinds_and_words(text, kinds, words, colours):
    assert Refinement.parse(text) == Refinement(kinds, words, colours)


def test_a_long_text_is_cut():
    assert len(Refinement.parse("word " * 10_000 + "last").words) == 1
    assert sum(map(len, Refinement.parse("".join(f"w{n} " for n in range(5_000))).words)) <= 200


@pytest.mark.parametrize(
    ("word", "title"), [("tomato", "Two tomatoes"), ("cherries", "Cherries"), ("dress", "A dress")]
)
def test_a_word_is_carried_in_singular_and_plural(word, title):
    assert Refinement.parse(word).hits(Item("i", "photo", "food", title)) == 1


def test_a_word_is_not_carried_by_a_longer_word():
    assert Refinement.parse("red").hits(Item("i", "photo", "food", "A shredded thing")) == 0
