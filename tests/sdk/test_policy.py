"""Reading a policy: what is kept, what is refused, and the policy that is shipped."""

import copy
import json

import pytest
from support.paths import MODELS, ROOT

from handlens.blend import Policy
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
    "format": 1,
    "version": "7",
    "gates": {"type": 0.5, "annotation": 0.3},
    "diversity": {"max_per_group": 2},
    "types": {"food": {"sections": [RECIPES, SIMILAR]}},
    "default": {"sections": [{**SIMILAR, "share": 1}]},
    "fallback": {"name": "closest", "title": "The closest we have"},
}


def changed(path, value):
    """The policy with the value at `path` replaced, or removed when it is None."""
    policy = copy.deepcopy(POLICY)
    *parents, last = path
    spot = policy
    for step in parents:
        spot = spot[step]
    if value is None:
        del spot[last]
    else:
        spot[last] = value
    return json.dumps(policy)


def test_a_policy_keeps_order_shares_and_defaults():
    policy = Policy.from_json(json.dumps(POLICY))
    recipes, similar = policy.rules("food", 0.9)
    assert (recipes.rule_id, recipes.share, recipes.min_score) == ("food/recipes", 0.6, 0.0)
    assert (similar.rule_id, similar.min_score) == ("food/similar", 0.3)
    assert policy.version == "7"


def test_a_type_that_is_not_sure_and_one_without_sections_get_the_default():
    policy = Policy.from_json(json.dumps(POLICY))
    assert [rule.rule_id for rule in policy.rules("food", 0.49)] == ["default/similar"]
    assert [rule.rule_id for rule in policy.rules("toy", 0.99)] == ["default/similar"]


def test_fields_of_a_newer_version_are_kept():
    assert Policy.from_json(changed(["season"], "winter")).raw["season"] == "winter"


SECTION = ["types", "food", "sections", 0]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["format"], 2, "upgrade handlens"),
        (["version"], None, "policy lacks the field 'version'"),
        (["version"], " ", "policy.version"),
        (["default"], None, "policy lacks the field 'default'"),
        (["default", "sections"], [], "policy.default.sections"),
        (["types", "fruit"], POLICY["default"], "policy.types.fruit is no object type"),
        (["types", "food", "sections"], "recipes", "policy.types.food.sections"),
        ([*SECTION, "sources"], ["telepathy"], "policy.types.food.sections[0].sources"),
        ([*SECTION, "sources"], [], "policy.types.food.sections[0].sources"),
        ([*SECTION, "kinds"], ["recipe", "poem"], "policy.types.food.sections[0].kinds"),
        ([*SECTION, "kinds"], ["recipe", "recipe"], "policy.types.food.sections[0].kinds"),
        ([*SECTION, "share"], 0.7, "shares that add up to 1.1"),
        ([*SECTION, "share"], -0.6, "policy.types.food.sections[0].share"),
        ([*SECTION, "share"], "much", "policy.types.food.sections[0].share"),
        ([*SECTION, "min_score"], 1.5, "policy.types.food.sections[0].min_score"),
        ([*SECTION, "title"], "", "policy.types.food.sections[0].title"),
        ([*SECTION, "tagged_title"], "Recipes", "policy.types.food.sections[0].tagged_title"),
        ([*SECTION, "name"], "Best Recipes", "policy.types.food.sections[0].name"),
        ([*SECTION, "name"], "similar", "two sections named 'similar'"),
        (["gates", "type"], 2, "policy.gates.type"),
        (["gates", "annotation"], None, "policy.gates lacks the field 'annotation'"),
        (["diversity", "max_per_group"], 0, "policy.diversity.max_per_group"),
        (["fallback", "title"], "", "policy.fallback.title"),
    ],
)
def test_a_policy_that_cannot_be_followed_is_refused_with_the_path_of_the_fault(path, value, message):
    with pytest.raises(DecodeError) as refused:
        Policy.from_json(changed(path, value))
    assert message in str(refused.value)


def test_text_that_is_no_json_object_is_refused():
    for text in ("", "[]", "{", b"\xff\xfe"):
        with pytest.raises(DecodeError, match="policy"):
            Policy.from_json(text)


SHIPPED = (MODELS / "policy.json").read_text()


def test_the_shipped_policy_is_read_and_names_every_type():
    assert set(Policy.from_json(SHIPPED).types) == set(OBJECT_TYPES)


def test_the_shipped_policy_fits_its_json_schema():
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / "sdk/handlens/blend/policy.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert list(validator.iter_errors(json.loads(SHIPPED))) == []
    assert list(validator.iter_errors(POLICY)) == []
    assert list(validator.iter_errors(json.loads(changed([*SECTION, "sources"], ["telepathy"]))))


def test_the_json_schema_knows_the_same_types_and_kinds_as_the_code():
    schema = json.loads((ROOT / "sdk/handlens/blend/policy.schema.json").read_text())
    assert set(schema["properties"]["types"]["properties"]) == set(OBJECT_TYPES)
    assert set(schema["$defs"]["section"]["properties"]["kinds"]["items"]["enum"]) == set(KINDS)


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
    assert Policy.from_json(SHIPPED).rules("food", 0.2)[0].sources == ("visual",)


def test_the_table_in_the_documentation_is_that_of_the_shipped_policy():
    documented = (ROOT / "docs" / "blending.md").read_text()
    for object_type, rules in Policy.from_json(SHIPPED).types.items():
        cells = " · ".join(f"{rule.name} {100 * rule.share:g}" for rule in rules)
        assert f"| {object_type} | {cells} |" in documented, object_type
