"""Reading a policy: what is kept, what is refused, former formats, the JSON Schema, and the policy that is shipped."""

import copy
import json
from pathlib import Path

import pytest
from support.paths import MODELS, ROOT

from handlens.blend import SOURCES, Pick, Policy
from handlens.errors import DecodeError
from handlens.wire.item import KINDS, OBJECT_TYPES

SIMILAR = {
    "name": "similar", "title": "Similar", "sources": ["visual"], "kinds": ["photo"], "share": 0.4, "min_score": 0.3
}  # fmt: skip
RECIPES = {
    "name": "recipes", "title": "Recipes", "tagged_title": "Recipes with {tag}", "sources": ["annotation"],
    "kinds": ["recipe"], "share": 0.6,
}  # fmt: skip
POLICY = {
    "format": 2,
    "version": "7",
    "bands": [
        {"name": "sure", "from": 0.7},
        {"name": "likely", "from": 0.5},
        {"name": "unsure", "from": 0, "use": "default"},
    ],
    "gates": {"annotation": 0.3},
    "scores": {
        "visual": {"curve": "logistic", "midpoint": 0.6, "slope": 8},
        "annotation": {"curve": "points", "points": [[0, 0], [0.5, 0.8], [1, 0.9]]},
        "curated": {"curve": "linear", "from": 0.2, "to": 0.8},
    },
    "other_type": {"visual": 0.5},
    "diversity": {"max_per_group": 2, "lambda": 0.8, "window": 10, "alike": {"tags": 0.5, "title": 0.3, "kind": 0.2}},
    "freshness": {"half_life_days": {"product": 100}, "floor": 0.5},
    "locale": {"unmarked": 0.9, "other": 0},
    "audiences": {"all": ["all"]},
    "exploration": {"answers": 0.1, "slots": 0.5, "pool": 8, "salt": "s"},
    "types": {
        "food": {
            "sections": [RECIPES, SIMILAR],
            "bands": {"likely": {"shares": {"recipes": 0.5, "similar": 0.5}}},
            "fallback": "plant",
        },
        "plant": {"sections": [{**SIMILAR, "share": 1}], "bands": {"likely": {"sections": [{**RECIPES, "share": 1}]}}},
    },
    "default": {"sections": [{**SIMILAR, "share": 1}]},
    "fallback": {"name": "closest", "title": "The closest we have"},
    "picks": [{"item_id": "pie", "types": ["food"], "tags": ["pi"], "from": "2026-03-14", "until": None}],
}
FORMAT_1 = (Path(__file__).parent / "policies" / "format-1.json").read_text()
SHIPPED = (MODELS / "policy.json").read_text()


def changed(*changes):
    """The policy with the value at each path replaced, or removed when it is None."""
    policy = copy.deepcopy(POLICY)
    for path, value in changes:
        *parents, last = path
        spot = policy
        for step in parents:
            spot = spot[step]
        if value is None:
            del spot[last]
        else:
            spot[last] = value
    return json.dumps(policy)


def read(*changes):
    return Policy.from_json(changed(*changes))


def test_a_policy_keeps_order_shares_and_defaults():
    recipes, similar = read().rules("food", 0.9)
    assert (recipes.rule_id, recipes.share, recipes.min_score) == ("food/recipes", 0.6, 0.0)
    assert (similar.rule_id, similar.min_score) == ("food/similar", 0.3)
    assert read().version == "7"


def test_the_band_of_the_confidence_decides_shares_and_sections():
    policy = read()
    assert [rule.share for rule in policy.rules("food", 0.7)] == [0.6, 0.4]
    assert [rule.share for rule in policy.rules("food", 0.69)] == [0.5, 0.5]
    assert [rule.rule_id for rule in policy.rules("food", 0.49)] == ["default/similar"]
    assert [rule.rule_id for rule in policy.rules("plant", 0.6)] == ["plant/recipes"]
    assert [rule.rule_id for rule in policy.rules("toy", 0.99)] == ["default/similar"]
    assert policy.gates.type == 0.5


def test_a_band_of_its_own_goes_before_the_layout_that_the_band_uses():
    own = {"sections": [{**RECIPES, "share": 1}]}
    assert [rule.rule_id for rule in read((["types", "food", "bands", "unsure"], own)).rules("food", 0.1)] == [
        "food/recipes"
    ]


def test_fallbacks_are_walked_to_the_end_of_their_chain():
    assert [name for name, _ in read().chain("food", 0.9)] == ["food", "plant", "default"]
    assert [name for name, _ in read((["types", "plant", "fallback"], "default")).chain("food", 0.9)][-1] == "default"
    closed = json.loads(changed())
    closed["types"]["food"]["fallback"] = None
    assert [name for name, _ in Policy.from_json(json.dumps(closed)).chain("food", 0.9)] == ["food"]


def test_curves_map_the_scores_of_each_source_to_one_scale():
    curves = read().curves
    assert curves["visual"](0.6) == pytest.approx(0.5)
    assert curves["visual"](0.0) < 0.01 < 0.9 < curves["visual"](1.0)
    assert [curves["annotation"](score) for score in (0.0, 0.25, 0.5, 0.75, 1.0)] == pytest.approx(
        [0.0, 0.4, 0.8, 0.85, 0.9]
    )
    assert [curves["curated"](score) for score in (0.0, 0.2, 0.5, 1.0)] == pytest.approx([0.0, 0.0, 0.5, 1.0])


def test_picks_are_read_with_their_days():
    assert read().picks == (Pick("pie", ("food",), ("pi",), "2026-03-14", ""),)
    assert read((["picks"], None)).picks == ()


def test_what_is_optional_may_be_left_out():
    optional = ("bands", "scores", "other_type", "freshness", "locale", "audiences", "exploration", "picks")
    plain = {"sections": [RECIPES, SIMILAR]}
    policy = read(
        *(([name], None) for name in optional), (["types"], {"food": plain}), (["diversity"], {"max_per_group": 1})
    )
    assert [rule.name for rule in policy.rules("food", 0.0)] == ["recipes", "similar"]
    assert (policy.diversity.trade_off, policy.exploration.answers, policy.audiences) == (1.0, 0.0, None)


def test_fields_of_a_newer_version_are_kept():
    policy = read((["season"], "winter"), (["types", "food", "mood"], "good"))
    assert (policy.raw["season"], policy.raw["types"]["food"]["mood"]) == ("winter", "good")


FOOD = ["types", "food"]
SECTION = [*FOOD, "sections", 0]
CURVE = ["scores", "visual"]
# What is refused: where, what stands there, and what the error says; None is taken away.
REFUSED = [
    (["format"], 3, "upgrade handlens"),
    (["version"], None, "policy lacks the field 'version'"),
    (["version"], " ", "policy.version"),
    (["default"], None, "policy lacks the field 'default'"),
    (["default", "sections"], [], "policy.default.sections"),
    (["types", "fruit"], POLICY["default"], "policy.types.fruit is no object type"),
    ([*FOOD, "sections"], "recipes", "policy.types.food.sections"),
    ([*SECTION, "sources"], ["telepathy"], "policy.types.food.sections[0].sources"),
    ([*SECTION, "sources"], [], "policy.types.food.sections[0].sources"),
    ([*SECTION, "kinds"], ["recipe", "poem"], "policy.types.food.sections[0].kinds"),
    ([*SECTION, "kinds"], ["recipe", "recipe"], "policy.types.food.sections[0].kinds"),
    ([*SECTION, "share"], 0.7, "policy.types.food.sections have shares that add up to 1.1"),
    ([*SECTION, "share"], -0.6, "policy.types.food.sections[0].share"),
    ([*SECTION, "share"], "much", "policy.types.food.sections[0].share"),
    ([*SECTION, "min_score"], 1.5, "policy.types.food.sections[0].min_score"),
    ([*SECTION, "title"], "", "policy.types.food.sections[0].title"),
    ([*SECTION, "tagged_title"], "Recipes", "policy.types.food.sections[0].tagged_title"),
    ([*SECTION, "name"], "Best Recipes", "policy.types.food.sections[0].name"),
    ([*SECTION, "name"], "similar", "policy.types.food.sections has two sections named 'similar'"),
    ([*SECTION, "needs"], {"type": 2}, "policy.types.food.sections[0].needs.type"),
    (["gates", "annotation"], None, "policy.gates lacks the field 'annotation'"),
    (["diversity", "max_per_group"], 0, "policy.diversity.max_per_group"),
    (["diversity", "lambda"], 1.2, "policy.diversity.lambda"),
    (["diversity", "alike", "tags"], 0.9, "policy.diversity.alike has parts that add up to 1.4"),
    (["fallback", "title"], "", "policy.fallback.title"),
    (["bands"], [], "policy.bands"),
    (["bands", 2, "from"], 0.2, "policy.bands[2].from"),
    (["bands", 1, "from"], 0.8, "policy.bands[1].from is 0.8: expected less than the 0.7 of the band before"),
    (["bands", 1, "name"], "sure", "policy.bands has two bands named 'sure'"),
    (["bands", 2, "use"], "toy", "policy.bands[2].use"),
    ([*FOOD, "bands", "doubtful"], {"shares": {}}, "policy.types.food.bands.doubtful is no band"),
    ([*FOOD, "bands", "likely", "shares", "similar"], None, "policy.types.food.bands.likely.shares"),
    ([*FOOD, "bands", "likely", "shares", "similar"], 0.6, "bands.likely.shares have shares that add up"),
    ([*FOOD, "bands", "likely"], {}, "policy.types.food.bands.likely has neither shares nor sections"),
    ([*FOOD, "bands", "likely", "sections"], [SIMILAR], "policy.types.food.bands.likely has both shares"),
    (["scores", "telepathy"], {"curve": "linear"}, "policy.scores.telepathy is no source"),
    ([*CURVE, "curve"], "wavy", "policy.scores.visual.curve"),
    ([*CURVE, "slope"], -1, "policy.scores.visual.slope"),
    ([*CURVE, "midpoint"], None, "policy.scores.visual lacks the field 'midpoint'"),
    (["scores", "curated", "from"], 0.9, "policy.scores.curated.from"),
    (["scores", "annotation", "points"], [[0, 0]], "policy.scores.annotation.points"),
    (["scores", "annotation", "points"], [[0, 0.5], [1, 0.4]], "policy.scores.annotation.points"),
    (["scores", "annotation", "points"], [[0.5, 0], [0.5, 1]], "policy.scores.annotation.points"),
    (["other_type", "visual"], 2, "policy.other_type.visual"),
    (["other_type", "telepathy"], 1, "policy.other_type.telepathy is no source"),
    (["freshness", "half_life_days", "poem"], 3, "policy.freshness.half_life_days.poem is no kind"),
    (["freshness", "half_life_days", "product"], 0, "policy.freshness.half_life_days.product"),
    (["freshness", "floor"], 2, "policy.freshness.floor"),
    (["locale", "unmarked"], 2, "policy.locale.unmarked"),
    (["audiences", "all"], [], "policy.audiences.all"),
    (["exploration", "answers"], 1.5, "policy.exploration.answers"),
    (["exploration", "pool"], 0, "policy.exploration.pool"),
    (["picks", 0, "item_id"], "", "policy.picks[0].item_id"),
    (["picks", 0, "types"], ["fruit"], "policy.picks[0].types.fruit is no object type"),
    (["picks", 0, "from"], "tomorrow", "policy.picks[0].from"),
    (["picks", 0, "from"], "2026-02-30", "policy.picks[0].from"),
    (["picks", 0, "until"], "2026-03-13", "policy.picks[0].until is before policy.picks[0].from"),
    # One part contradicts another.
    (["gates", "type"], 0.5, "policy.gates.type belongs to format 1 and contradicts policy.bands"),
    ([*FOOD, "bands", "sure"], {"sections": [SIMILAR]}, "policy.types.food.bands.sure contradicts policy.types.food"),
    ([*SECTION, "min_score"], 0.95, "policy.types.food.sections[0].min_score is 0.95, but no score of its sources"),
    ([*SECTION, "needs"], {"annotation": 0.2}, "needs.annotation is 0.2, below policy.gates.annotation (0.3)"),
    ([*SECTION, "needs"], {"type": 0.8}, "policy.types.food.bands.likely.sections[0].needs.type is 0.8"),
    (["locale", "other"], 0.95, "policy.locale.other is 0.95, more than unmarked"),
    # Fallbacks.
    ([*FOOD, "fallback"], "fruit", "policy.types.food.fallback"),
    ([*FOOD, "fallback"], "food", "policy.types.food.fallback goes in a circle: food -> food"),
    (["types", "plant", "fallback"], "food", "fallback goes in a circle: food -> plant -> food"),
    (["default", "fallback"], "food", "fallback goes in a circle: food -> plant -> default -> food"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "message"), REFUSED)
def test_a_policy_that_cannot_be_followed_is_refused_with_the_path_of_the_fault(path, value, message):
    with pytest.raises(DecodeError) as refused:
        read((path, value))
    assert message in str(refused.value)


def test_text_that_is_no_json_object_is_refused():
    for text in ("", "[]", "{", b"\xff\xfe"):
        with pytest.raises(DecodeError, match="policy"):
            Policy.from_json(text)


class TestFormat1:
    def test_its_gate_is_a_band_that_uses_the_default(self):
        policy = Policy.from_json(FORMAT_1)
        assert policy.rules("food", 0.4)[0].rule_id == "food/recipes"
        assert policy.rules("food", 0.39)[0].rule_id == "default/similar"
        assert (policy.gates.type, policy.gates.annotation) == (0.4, 0.25)

    def test_its_scores_stay_and_it_draws_nothing(self):
        policy = Policy.from_json(FORMAT_1)
        assert (dict(policy.curves), policy.exploration.answers, policy.diversity.trade_off) == ({}, 0.0, 1.0)

    def test_its_types_end_in_its_own_fallback(self):
        assert [name for name, _ in Policy.from_json(FORMAT_1).chain("food", 0.9)] == ["food"]

    def test_a_fault_is_told_by_its_path(self):
        broken = json.loads(FORMAT_1)
        broken["gates"]["type"] = 2
        with pytest.raises(DecodeError, match=r"policy\.gates\.type"):
            Policy.from_json(json.dumps(broken))


def schema_validator():
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / "sdk/handlens/blend/policy.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_policies_that_are_read_fit_the_json_schema():
    from handlens.blend.migrate import migrated

    validator = schema_validator()
    for policy in (POLICY, json.loads(SHIPPED), migrated(json.loads(FORMAT_1))):
        assert list(validator.iter_errors(policy)) == []


# What only reading can find, because one part speaks of another.
BEYOND_A_SCHEMA = (
    "add up", "contradicts", "goes in a circle", "before", "two ", "is no band", "no score of its sources", "below",
    "the band ends", "more than unmarked", "[0].from is '2026", "points", "scores.curated.from", "bands.likely.shares",
    "[2].use", "expected 0", "bands[2].from", "needs.type is 0.8",
)  # fmt: skip


@pytest.mark.parametrize(("path", "value", "message"), REFUSED)
def test_the_json_schema_refuses_what_it_can_see(path, value, message):
    found = list(schema_validator().iter_errors(json.loads(changed((path, value)))))
    assert found or any(part in message for part in BEYOND_A_SCHEMA) or value == "2026-02-30"


def test_the_json_schema_knows_the_same_words_as_the_code():
    schema = json.loads((ROOT / "sdk/handlens/blend/policy.schema.json").read_text())
    section = schema["$defs"]["section"]["properties"]
    assert set(schema["properties"]["types"]["properties"]) == set(OBJECT_TYPES)
    assert set(section["kinds"]["items"]["enum"]) == set(KINDS)
    assert set(section["sources"]["items"]["enum"]) == set(SOURCES)


def test_the_shipped_policy_is_read_and_names_every_type():
    assert set(Policy.from_json(SHIPPED).types) == set(OBJECT_TYPES)


@pytest.mark.parametrize("object_type", OBJECT_TYPES)
def test_the_shipped_policy_gives_likeness_more_room_where_the_type_is_only_likely(object_type):
    policy = Policy.from_json(SHIPPED)
    sure, likely = (
        {rule.name: rule.share for rule in policy.rules(object_type, confidence)} for confidence in (0.9, 0.5)
    )
    assert list(sure) == list(likely)
    assert likely["similar"] > sure["similar"] or object_type == "other"


@pytest.mark.parametrize(
    ("object_type", "first", "before_similar"),
    [
        ("food", "recipes", {"recipes", "how_to"}),
        ("animal", "read", {"read", "visit"}),
        ("place", "story", {"story", "visit"}),
        ("tool", "how_to", {"how_to", "shop"}),
        ("art", "story", {"story", "museums"}),
        ("home", "ideas", {"ideas", "shop"}),
        ("fashion", "shop", {"shop", "outfits"}),
        ("other", "similar", set()),
    ],
)
def test_the_shipped_policy_puts_first_what_helps_most_for_the_type(object_type, first, before_similar):
    names = [rule.name for rule in Policy.from_json(SHIPPED).rules(object_type, 1.0)]
    assert names[0] == first
    assert before_similar <= set(names[: names.index("similar")])


def test_an_unsure_type_is_answered_by_likeness_first():
    assert Policy.from_json(SHIPPED).rules("food", 0.2)[0].sources == ("visual", "object")


def table_rows():
    """The ratio table of the documentation, from the shipped policy: sure, and likely where it differs."""
    policy = Policy.from_json(SHIPPED)
    for name in (*OBJECT_TYPES, "default"):
        layout, object_type = policy.layouts[name], f"*{name}*" if name == "default" else name
        sure = " · ".join(f"{rule.name} {100 * rule.share:g}" for rule in layout.sections)
        likely = " · ".join(f"{100 * rule.share:g}" for rule in layout.bands.get("likely", ())) or "the same"
        yield f"| {object_type} | {sure} | {likely} | {layout.reason} |"


def test_the_table_in_the_documentation_is_that_of_the_shipped_policy():
    documented = (ROOT / "docs" / "blending.md").read_text()
    for row in table_rows():
        assert row in documented, row
