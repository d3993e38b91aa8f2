"""What holds for every blend, whatever the candidates."""

from hypothesis import given
from hypothesis import strategies as st
from support.paths import MODELS

from handlens.blend import SOURCES, Policy, blend
from handlens.results import Annotation, Candidate, Understanding
from handlens.wire.item import KINDS, OBJECT_TYPES, Item

SHIPPED = Policy.from_json((MODELS / "policy.json").read_bytes())
# An item's kind, type and group follow from its key: one item has one record, whoever offers it.
ITEMS = [
    Item(f"i{key}", KINDS[key % 7], OBJECT_TYPES[key % 15], f"Item {key}", group_id=[None, "a", "b"][key % 3])
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


@given(CANDIDATES, UNDERSTANDINGS, LIMITS)
def test_no_group_of_near_duplicates_has_more_than_its_fill(candidates, understanding, limit):
    groups = [
        match.item.group_id for match in matches(blend(candidates, understanding, SHIPPED, limit=limit, request_id="r"))
    ]
    assert all(groups.count(group) <= SHIPPED.max_per_group for group in set(groups) - {None})


@given(CANDIDATES, UNDERSTANDINGS)
def test_sections_stand_in_the_order_of_the_policy(candidates, understanding):
    order = [rule.name for rule in SHIPPED.rules(understanding.object_type, understanding.type_confidence)]
    shown = [section.name for section in blend(candidates, understanding, SHIPPED, limit=12, request_id="r")]
    assert shown == ["closest"] or shown == [name for name in order if name in shown]
