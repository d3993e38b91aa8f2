"""Exploration: what is left to chance, and that the chance is the one that is written down."""

from collections import Counter

import pytest
from test_blend_rules import offer, policy, section, understood

from handlens.blend import blend, explain, explores

ANSWERS, REQUESTS = 0.3, [f"request-{n}" for n in range(4000)]


def rules(answers=1.0, slots=0.5, **more):
    return policy(
        section("recipes", ["recipe"], 0.5),
        section("ideas", ["idea"], 0.5),
        exploration={"answers": answers, "slots": slots, "pool": 6, "salt": "x", **more},
    )


OFFERS = [offer(n, 0.9 - n / 100, kind=kind) for n, kind in enumerate(["recipe", "idea"] * 12)]


def matches(request_id, of, offers=OFFERS, **more):
    settings = {"limit": 8, "request_id": request_id, "explore": True, **more}
    return [match for one in blend(offers, understood(), of, **settings) for match in one.matches]


def test_so_many_answers_explore_as_the_policy_says():
    share = sum(explores(rules(ANSWERS).exploration, one) for one in REQUESTS) / len(REQUESTS)
    assert share == pytest.approx(ANSWERS, abs=0.03)


def test_the_request_id_alone_decides():
    for request_id in REQUESTS[:50]:
        first = matches(request_id, rules(ANSWERS))
        assert first == matches(request_id, rules(ANSWERS), OFFERS[::-1])
        explored = any(match.why.explored for match in first)
        assert explored == explores(rules(ANSWERS).exploration, request_id)


def test_another_salt_draws_other_answers():
    one, other = ({r for r in REQUESTS if explores(rules(ANSWERS, salt=salt).exploration, r)} for salt in ("a", "b"))
    assert one != other


def test_the_first_places_of_each_section_stay():
    plain = [match.item_key for match in matches("r", rules(0.0))]
    for request_id in REQUESTS[:50]:
        keys = [match.item_key for match in matches(request_id, rules())]
        assert (keys[:2], keys[4:6]) == (plain[:2], plain[4:6])


def test_every_item_of_the_pool_stands_in_every_drawn_place_as_often_as_is_written_down():
    drawn = Counter()
    for request_id in REQUESTS:
        found = matches(request_id, rules())
        drawn.update((at, match.item_key) for at, match in enumerate(found) if match.why.explored)
        assert {match.why.propensity for match in found if match.why.explored} == {1 / 6}
        assert {match.why.propensity for match in found if not match.why.explored} == {1.0}
    assert {at for at, _ in drawn} == {2, 3, 6, 7}
    assert len(drawn) == 4 * 6
    expected = len(REQUESTS) / 6
    # Chi-square of 24 cells with 20 degrees of freedom: above 45 once in a thousand such samples; the sample is fixed.
    assert sum((count - expected) ** 2 / expected for count in drawn.values()) < 45


def test_what_is_drawn_keeps_to_its_section_and_comes_once():
    for request_id in REQUESTS[:200]:
        found = matches(request_id, rules(slots=1.0))
        assert [match.kind for match in found] == ["recipe"] * 4 + ["idea"] * 4
        assert len({match.item_key for match in found}) == 8


def test_chance_never_passes_the_limit_of_a_group():
    twins = [offer(n, 0.9 - n / 100, kind=kind, group_id="g" if n % 3 else None)
             for n, kind in enumerate(["recipe", "idea"] * 12)]  # fmt: skip
    for request_id in REQUESTS[:200]:
        found = matches(request_id, rules(slots=1.0), twins)
        assert sum(match.item.group_id == "g" for match in found) <= 2


def test_a_pool_with_nothing_else_in_it_is_only_shuffled():
    few = OFFERS[:8]
    orders = {tuple(match.item_key for match in matches(request_id, rules(), few)) for request_id in REQUESTS[:60]}
    assert len(orders) == 4
    assert {frozenset(order) for order in orders} == {frozenset(range(8))}


@pytest.mark.parametrize("settings", [{"explore": False}, {"refine": "recipe"}])
def test_nothing_is_left_to_chance_unasked_or_when_the_user_refined(settings):
    plain = blend(OFFERS, understood(), rules(0.0), limit=8, request_id="r", **{"refine": None, **settings})
    found = blend(OFFERS, understood(), rules(), **{"limit": 8, "request_id": "r", "explore": True, **settings})
    assert found == plain


def test_the_decision_says_what_chance_did():
    decision = explain(OFFERS, understood(), rules(), limit=8, request_id="request-7", explore=True)
    assert decision.explored
    by_chance = [one for one in decision.verdicts if one.explored]
    assert len(by_chance) == 4
    assert all(one.propensity == 1 / 6 for one in by_chance)
    displaced = [one for one in decision.verdicts if one.left_out == "gave its place to chance"]
    assert len(displaced) == 4 - sum(one.item_id in {"i4", "i5", "i6", "i7"} for one in by_chance)
