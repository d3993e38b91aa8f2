"""What holds for every blend, whatever the candidates, by the shipped policy and by one that explores always."""

import json

from hypothesis import given
from hypothesis import strategies as st
from support.paths import MODELS

from handlens.blend import SOURCES, Policy, blend, explain
from handlens.results import Annotation, Candidate, Understanding
from handlens.wire.item import KINDS, OBJECT_TYPES, Item

SHIPPED = Policy.from_json((MODELS / "policy.json").read_bytes())
EXPLORING = Policy.from_json(
    json.dumps({**SHIPPED.raw, "exploration": {"answers": 1, "slots": 0.6, "pool": 5, "salt": "p"}})
)
# An item's kind, type and group follow from its key: one item has one record, whoever offers it.
ITEMS = [
    Item(
        f"i{key}",
        KINDS[key % 7],
        OBJECT_TYPES[key % 15],
        f"Item {key}",
        annotations={f"tag {key % 4}": 1.0, f"tag {key % 5}": 0.5},
        group_id=[None, "a", "b"][key % 3],
        locale=["", "en"][key % 2],
        created_at=["", "2026-01-01T00:00:00Z", "2020-01-01"][key % 3],
    )
    for key in range(30)
]
CANDIDATES = st.lists(
    st.builds(
        lambda key, source, score: Candidate(key, ITEMS[key], source, score, f"{source} {score:.2f}"),
        st.integers(0, 29),
        st.sampled_from(SOURCES),
        st.floats(0.0, 1.0),
    ),
    max_size=40,
)
UNDERSTANDINGS = st.builds(
    lambda kind, confidence, word: Understanding(kind, confidence, (Annotation("orange", word),)),
    st.sampled_from(OBJECT_TYPES),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
)
LIMITS = st.integers(1, 20)
WISHES = st.none() | st.sampled_from(["recipe", "how to", "item", "places", "photo 3"])


def matches(sections):
    return [match for section in sections for match in section.matches]


@given(CANDIDATES, UNDERSTANDINGS, LIMITS, WISHES)
def test_each_item_stands_once_within_the_limit_and_no_section_is_empty(candidates, understanding, limit, wish):
    sections = blend(candidates, understanding, SHIPPED, limit=limit, request_id="r", refine=wish)
    keys = [match.item_key for match in matches(sections)]
    assert len(keys) == len(set(keys)) <= limit
    assert all(section.matches for section in sections)
    assert len({section.name for section in sections}) == len(sections)


@given(CANDIDATES, UNDERSTANDINGS, LIMITS, WISHES)
def test_the_answer_is_empty_only_when_there_is_no_candidate(candidates, understanding, limit, wish):
    assert bool(blend(candidates, understanding, SHIPPED, limit=limit, request_id="r", refine=wish)) == bool(candidates)


@given(CANDIDATES, UNDERSTANDINGS, LIMITS, WISHES, st.randoms())
def test_the_order_of_the_candidates_does_not_matter(candidates, understanding, limit, wish, random):
    shuffled = random.sample(candidates, len(candidates))
    first, second = (
        blend(given_order, understanding, SHIPPED, limit=limit, request_id="r", refine=wish)
        for given_order in (candidates, shuffled)
    )
    assert first == second


@given(CANDIDATES, UNDERSTANDINGS, LIMITS)
def test_every_match_keeps_to_the_rule_that_it_names(candidates, understanding, limit):
    rules = {rule.rule_id: rule for rules in (*SHIPPED.types.values(), SHIPPED.default) for rule in rules}
    for match in matches(blend(candidates, understanding, SHIPPED, limit=limit, request_id="r")):
        rule = rules.get(match.why.rule)
        if rule is None:
            assert match.why.rule == "fallback/closest"
        else:
            assert match.why.source in rule.sources
            assert match.kind in rule.kinds
            assert match.score >= rule.min_score
            assert match.score == match.why.value


@given(CANDIDATES, UNDERSTANDINGS, LIMITS)
def test_no_group_of_near_duplicates_has_more_than_its_fill(candidates, understanding, limit):
    groups = [
        match.item.group_id for match in matches(blend(candidates, understanding, SHIPPED, limit=limit, request_id="r"))
    ]
    assert all(groups.count(group) <= SHIPPED.max_per_group for group in set(groups) - {None})


@given(CANDIDATES, UNDERSTANDINGS)
def test_sections_stand_in_the_order_of_the_policy(candidates, understanding):
    shown = [section.name for section in blend(candidates, understanding, SHIPPED, limit=12, request_id="r")]
    layouts = SHIPPED.chain(understanding.object_type, understanding.type_confidence)
    orders = [[rule.name for rule in rules] for _, rules in layouts]
    assert shown == ["closest"] or any(shown == [name for name in order if name in shown] for order in orders)


REQUESTS = st.text(max_size=8)
SETTINGS = {"limit": 12, "as_of": "2026-02-01T00:00:00Z", "locale": "en", "explore": True}


@given(CANDIDATES, UNDERSTANDINGS, REQUESTS, st.randoms())
def test_chance_depends_on_the_request_alone(candidates, understanding, request, random):
    shuffled = random.sample(candidates, len(candidates))
    first, second = (
        blend(given_order, understanding, EXPLORING, request_id=request, **SETTINGS)
        for given_order in (candidates, shuffled)
    )
    assert first == second


@given(CANDIDATES, UNDERSTANDINGS, REQUESTS)
def test_what_chance_does_keeps_every_rule(candidates, understanding, request):
    plain = blend(candidates, understanding, EXPLORING, request_id=request, **{**SETTINGS, "explore": False})
    found = blend(candidates, understanding, EXPLORING, request_id=request, **SETTINGS)
    rules = {rule.rule_id: rule for rules in (*SHIPPED.types.values(), SHIPPED.default) for rule in rules}
    assert [(one.name, len(one.matches)) for one in found] == [(one.name, len(one.matches)) for one in plain]
    assert len({match.item_key for match in matches(found)}) == len(matches(found))
    groups = [match.item.group_id for match in matches(found)]
    assert all(groups.count(group) <= EXPLORING.max_per_group for group in set(groups) - {None})
    for match in matches(found):
        assert 0.0 < match.why.propensity <= 1.0
        assert match.why.explored or match.why.propensity == 1.0
        rule = rules.get(match.why.rule)
        assert rule is None or (match.kind in rule.kinds and match.why.source in rule.sources)
        assert rule is None or match.score >= rule.min_score


@given(CANDIDATES, UNDERSTANDINGS, LIMITS, WISHES, REQUESTS)
def test_an_explanation_gives_the_same_answer_and_leaves_nobody_out(candidates, understanding, limit, wish, request):
    settings = {**SETTINGS, "limit": limit, "refine": wish, "request_id": request}
    decision = explain(candidates, understanding, EXPLORING, **settings)
    placed = {(one.section, one.place): (one.item_id, one.propensity) for one in decision.verdicts if one.section}
    assert placed == {
        (match.why.rule, at): (match.item.item_id, match.why.propensity)
        for section in blend(candidates, understanding, EXPLORING, **settings)
        for at, match in enumerate(section.matches, start=1)
    }
    assert len(decision.verdicts) == len(candidates)
    assert all(bool(one.section) != bool(one.left_out) for one in decision.verdicts)
