"""The rules of policies of format 2, each with a policy that has little else."""

import json

from handlens.blend import Policy, blend, explain
from handlens.results import Annotation, Candidate, Understanding
from handlens.wire.item import Item

ALL = ["article", "how_to", "idea", "photo", "place", "product", "recipe"]


def policy(*sections, **more):
    values = {
        "format": 2,
        "version": "test",
        "gates": {"annotation": 0.3},
        "diversity": {"max_per_group": 2},
        "types": {},
        "default": {"sections": list(sections or [section("all", ALL, 1.0, "annotation", "visual", "curated")])},
        "fallback": {"name": "closest", "title": "The closest we have"},
    }
    return Policy.from_json(json.dumps({**values, **more}))


def section(name, kinds, share, *sources, **more):
    return {"name": name, "title": name.title(), "sources": list(sources or ["annotation"]), "kinds": kinds,
            "share": share, **more}  # fmt: skip


def offer(key, score, source="annotation", *, kind="recipe", tags=(), **fields):
    item = Item(f"i{key}", kind, fields.pop("object_type", "food"), fields.pop("title", f"Thing {key}"),
                annotations=dict.fromkeys(tags, 1.0), **fields)  # fmt: skip
    return Candidate(key, item, source, score, f"{source} {score}")


def understood(object_type="food", confidence=0.95, **words):
    return Understanding(object_type, confidence, tuple(Annotation(tag, value) for tag, value in words.items()))


def shown(offers, rules, understanding=None, **settings):
    sections = blend(offers, understanding or understood(), rules, **{"limit": 8, "request_id": "r", **settings})
    return [(one.name, [match.item_key for match in one.matches]) for one in sections]


class TestScores:
    CURVES = {
        "visual": {"curve": "logistic", "midpoint": 0.8, "slope": 20},
        "annotation": {"curve": "points", "points": [[0, 0], [0.3, 0.6], [1, 1]]},
    }

    def test_sources_meet_on_the_common_scale(self):
        offers = [offer(1, 0.7, "visual"), offer(2, 0.4)]
        assert shown(offers, policy()) == [("all", [1, 2])]
        assert shown(offers, policy(scores=self.CURVES)) == [("all", [2, 1])]

    def test_a_match_tells_the_sources_score_and_its_value(self):
        (one,) = blend([offer(1, 0.3)], understood(), policy(scores=self.CURVES), limit=1, request_id="r")
        why = one.matches[0].why
        assert (why.score, why.value, one.matches[0].score) == (0.3, 0.6, 0.6)

    def test_minima_are_on_the_common_scale(self):
        rules = policy(section("all", ALL, 1.0, min_score=0.5), scores=self.CURVES)
        assert shown([offer(1, 0.3), offer(2, 0.2)], rules) == [("all", [1])]

    def test_likeness_to_things_of_another_type_counts_less_as_far_as_the_type_is_sure(self):
        offers = [offer(1, 0.7, "visual", object_type="sport"), offer(2, 0.6, "visual")]
        rules = policy(other_type={"visual": 0.5})
        assert shown(offers, rules) == [("all", [2, 1])]
        assert shown(offers, rules, understood("food", 0.1)) == [("all", [1, 2])]


class TestVariety:
    OFFERS = [
        offer(1, 0.9, tags=["orange", "cake"]),
        offer(2, 0.8, tags=["orange", "cake"]),
        offer(3, 0.7, tags=["orange", "salad"]),
    ]

    def test_the_next_place_goes_to_what_is_unlike_what_stands_there(self):
        varied = policy(diversity={"max_per_group": 2, "lambda": 0.6, "alike": {"tags": 1.0, "title": 0.0}})
        assert shown(self.OFFERS, varied) == [("all", [1, 3, 2])]

    def test_with_lambda_1_only_the_score_counts(self):
        assert shown(self.OFFERS, policy(diversity={"max_per_group": 2, "lambda": 1})) == [("all", [1, 2, 3])]

    def test_only_the_best_so_many_compete_for_a_place(self):
        narrow = {"max_per_group": 2, "lambda": 0.6, "window": 1, "alike": {"tags": 1.0, "title": 0.0}}
        assert shown(self.OFFERS, policy(diversity=narrow)) == [("all", [1, 2, 3])]

    def test_words_of_titles_and_kinds_make_alike_too(self):
        titles = [
            offer(1, 0.9, title="Orange cake"),
            offer(2, 0.8, title="Orange cake again"),
            offer(3, 0.7, title="Jam"),
        ]
        by_title = {"max_per_group": 2, "lambda": 0.6, "alike": {"tags": 0, "title": 1}}
        assert shown(titles, policy(diversity=by_title)) == [("all", [1, 3, 2])]
        kinds = [offer(1, 0.9), offer(2, 0.8), offer(3, 0.7, kind="idea")]
        by_kind = {"max_per_group": 2, "lambda": 0.6, "alike": {"tags": 0, "title": 0, "kind": 1}}
        assert shown(kinds, policy(diversity=by_kind)) == [("all", [1, 3, 2])]

    def test_a_section_is_compared_with_itself_only(self):
        rules = policy(
            section("recipes", ["recipe"], 0.5),
            section("ideas", ["idea"], 0.5),
            diversity={"max_per_group": 2, "lambda": 0.6, "alike": {"tags": 1.0, "title": 0.0}},
        )
        offers = [*self.OFFERS[:1], offer(4, 0.8, kind="idea", tags=["orange", "cake"]), offer(5, 0.7, kind="idea")]
        assert shown(offers, rules) == [("recipes", [1]), ("ideas", [4, 5])]


class TestAge:
    OFFERS = [offer(1, 0.6, kind="product", created_at="2024-01-01T00:00:00Z"),
              offer(2, 0.5, kind="product", created_at="2026-01-01T00:00:00Z")]  # fmt: skip
    RULES = policy(freshness={"half_life_days": {"product": 365}, "floor": 0.2})

    def test_what_is_younger_stands_before_what_is_a_little_better(self):
        assert shown(self.OFFERS, self.RULES, as_of="2026-01-02T00:00:00Z") == [("all", [2, 1])]

    def test_ages_count_from_the_release_and_without_one_nothing_ages(self):
        assert shown(self.OFFERS, self.RULES) == [("all", [1, 2])]
        assert shown(self.OFFERS, self.RULES, as_of="2024-01-01T00:00:00Z") == [("all", [1, 2])]

    def test_kinds_without_a_half_life_never_age(self):
        old = offer(3, 0.55, kind="recipe", created_at="1990-01-01T00:00:00Z")
        assert shown([*self.OFFERS, old], self.RULES, as_of="2026-01-02") == [("all", [3, 2, 1])]

    def test_an_item_of_unknown_age_is_one_half_life_old(self):
        rules = policy(freshness={"half_life_days": {"product": 365}, "floor": 0.0})
        decision = explain(
            [offer(1, 0.8, kind="product", created_at="soon")], understood(), rules, limit=1, request_id="r",
            as_of="2026-01-01",
        )  # fmt: skip
        assert decision.verdicts[0].rank == 0.4

    def test_age_hides_nothing(self):
        rules = policy(
            section("all", ALL, 1.0, min_score=0.5), freshness={"half_life_days": {"product": 100}, "floor": 0}
        )
        assert shown(self.OFFERS, rules, as_of="2030-01-01") == [("all", [2, 1])]


class TestWhoItIsFor:
    def test_another_language_is_left_out_and_none_counts_less(self):
        offers = [offer(1, 0.62, locale=""), offer(2, 0.6, locale="en"), offer(3, 0.9, locale="de")]
        rules = policy(locale={"unmarked": 0.9, "other": 0})
        assert shown(offers, rules, locale="en-GB") == [("all", [2, 1])]
        assert shown(offers, rules) == [("all", [3, 1, 2])]

    def test_items_for_other_audiences_are_never_shown(self):
        offers = [offer(1, 0.9, audience="adult"), offer(2, 0.5)]
        rules = policy(audiences={"all": ["all"]})
        assert shown(offers, rules) == [("all", [2])]
        assert shown(offers, rules, audience="adult") == [("all", [1, 2])]
        assert shown(offers[:1], rules) == []
        assert shown([offer(1, 0.9, audience="")], rules) == [("all", [1])]
        assert shown(offers, policy()) == [("all", [1, 2])]


class TestSections:
    def test_a_section_stays_closed_while_type_or_word_are_less_sure_than_it_needs(self):
        rules = policy(
            section("recipes", ["recipe"], 0.5, needs={"annotation": 0.6, "type": 0.8}), section("rest", ALL, 0.5)
        )
        offers = [offer(1, 0.9), offer(2, 0.8)]
        assert shown(offers, rules, understood(orange=0.7)) == [("recipes", [1, 2])]
        assert shown(offers, rules, understood(orange=0.5)) == [("rest", [1, 2])]
        assert shown(offers, rules, understood("food", 0.7, orange=0.7)) == [("rest", [1, 2])]

    def test_shares_of_closed_sections_go_to_the_open_ones_in_proportion(self):
        rules = policy(
            section("recipes", ["recipe"], 0.5, needs={"annotation": 0.6}),
            section("ideas", ["idea"], 0.3),
            section("places", ["place"], 0.2),
        )
        plenty = [offer(100 * at + n, 0.5, kind=kind) for at, kind in enumerate(("idea", "place")) for n in range(20)]
        sections = blend(plenty, understood(), rules, limit=10, request_id="r")
        assert [len(one.matches) for one in sections] == [6, 4]

    def test_when_a_types_sections_want_nothing_its_fallbacks_are_asked_in_turn(self):
        types = {
            "food": {"sections": [section("recipes", ["recipe"], 1.0)], "fallback": "plant"},
            "plant": {"sections": [section("care", ["how_to"], 1.0)], "fallback": None},
        }
        rules = policy(types=types)
        (one,) = blend([offer(1, 0.5, kind="how_to")], understood(), rules, limit=1, request_id="r")
        assert one.matches[0].why.rule == "plant/care"
        assert shown([offer(1, 0.5, kind="place")], rules) == [("closest", [1])]

    def test_bands_change_the_shares(self):
        lists = [section("recipes", ["recipe"], 0.75), section("ideas", ["idea"], 0.25)]
        types = {"food": {"sections": lists, "bands": {"likely": {"shares": {"recipes": 0.25, "ideas": 0.75}}}}}
        bands = [{"name": "sure", "from": 0.8}, {"name": "likely", "from": 0}]
        plenty = [offer(100 * at + n, 0.5, kind=kind) for at, kind in enumerate(("recipe", "idea")) for n in range(20)]
        for confidence, counts in ((0.9, [3, 1]), (0.5, [1, 3])):
            sections = blend(
                plenty, understood("food", confidence), policy(types=types, bands=bands), limit=4, request_id="r"
            )
            assert [len(one.matches) for one in sections] == counts
