"""Replay: the estimate is what the policy would have earned, users and their minds being known."""

from __future__ import annotations

import random
import statistics

import pytest
from support.click_log import ITEMS, a_policy, events, offers, worth

from handlens_server.policy_log import LoggedAnswer, read_log
from handlens_server.policy_replay import ReplayError, ReplayRules, compare, estimate, on_policy

LOGGING = a_policy("article", "how_to", "recipe")
NEW = a_policy("recipe", "how_to", "article", version="new")
RULES = ReplayRules()


def a_log(seed: int, count: int, policy=LOGGING):
    drawn = random.Random(seed)
    photos = [offers(drawn) for _ in range(count)]
    return photos, read_log(event.to_json() for event in events(policy, photos, drawn)).answers


def test_the_estimate_is_unbiased_and_its_interval_holds_what_it_promises():
    errors, plain, held = [], [], 0
    for seed in range(30):
        photos, answers = a_log(seed, 600)
        found, truth = estimate(answers, ITEMS, NEW, RULES), worth(NEW, photos)
        errors.append(found.value - truth)
        plain.append(found.by_propensity - truth)
        held += abs(found.value - truth) <= found.margin
    for sample in (errors, plain):
        assert abs(statistics.mean(sample)) <= 3 * statistics.stdev(sample) / len(sample) ** 0.5
    assert held >= 26  # of 30, for a 95 % interval


def test_a_part_of_the_places_left_to_chance_is_enough():
    logging = a_policy("recipe", "how_to", "article", slots=0.67)
    photos, answers = a_log(1, 4000, logging)
    new = a_policy("how_to", "recipe", "article", version="new")
    found = estimate(answers, ITEMS, new, RULES)
    assert abs(found.value - worth(new, photos)) <= 1.5 * found.margin
    assert found.sample < len(answers)


def test_the_policy_of_the_log_itself_earns_what_it_earned():
    photos, answers = a_log(2, 3000, a_policy("recipe", "how_to", "article", answers=0.5))
    mean, margin, count = on_policy(answers)
    found = estimate(answers, ITEMS, a_policy("recipe", "how_to", "article"), RULES)
    truth = worth(NEW, photos)
    assert count == pytest.approx(1500, abs=150)
    assert abs(mean - truth) <= 1.5 * margin
    assert abs(found.value - truth) <= 1.5 * found.margin


def test_the_difference_of_two_policies_is_known_better_than_either():
    photos, answers = a_log(3, 1500)
    first, second, (difference, margin) = compare(answers, ITEMS, (NEW, LOGGING), RULES)
    truth = worth(NEW, photos) - worth(LOGGING, photos)
    assert truth > 0
    assert difference - margin > 0
    assert abs(difference - truth) <= 1.5 * margin
    assert difference == pytest.approx(first.value - second.value)


def test_a_wrong_idea_of_looks_is_not_forgiven_but_told_by_nothing():
    # The estimate stands on the click model: with looks that do not fall, the order of places would not matter.
    _, answers = a_log(4, 1500)
    flat = ReplayRules(position_bias=0.0)
    assert estimate(answers, ITEMS, NEW, flat).value != pytest.approx(estimate(answers, ITEMS, NEW, RULES).value, 0.02)


class TestRefusals:
    def test_a_log_without_exploration(self):
        _, answers = a_log(5, 50, a_policy("recipe", "how_to", answers=0.0))
        with pytest.raises(ReplayError, match="none of 50 answers explored"):
            estimate(answers, ITEMS, NEW, RULES)

    def test_a_log_without_what_answers_were_chosen_from(self):
        _, answers = a_log(5, 50)
        bare = [LoggedAnswer(one.request_id, one.object_type, one.day, one.exposure.without_offers(), one.rewards)
                for one in answers]  # fmt: skip
        with pytest.raises(ReplayError, match="consent `embedding`"):
            estimate(bare, ITEMS, NEW, RULES)

    def test_too_few_answers(self):
        _, answers = a_log(6, 40)
        with pytest.raises(ReplayError, match="100 are needed"):
            estimate(answers, ITEMS, NEW, RULES)

    def test_a_policy_that_shows_what_never_could_be_shown(self):
        _, answers = a_log(7, 1500, a_policy("article", "how_to"))
        with pytest.raises(ReplayError, match="of what this policy shows could have been shown before"):
            estimate(answers, ITEMS, a_policy("recipe", "article"), RULES)

    def test_an_empty_log(self):
        with pytest.raises(ReplayError, match="none of 0 answers"):
            estimate([], ITEMS, NEW, RULES)


class TestLog:
    def test_items_that_are_gone_are_counted(self):
        _, answers = a_log(8, 600)
        kept = {item_id: item for item_id, item in ITEMS.items() if item_id != "article-0"}
        assert estimate(answers, kept, NEW, RULES).missing == 600

    def test_events_that_come_twice_count_once_and_what_was_hidden_is_no_reward(self):
        drawn = random.Random(9)
        lines = [event.to_json() for event in events(LOGGING, [offers(drawn) for _ in range(30)], drawn)]
        once, twice = read_log(lines), read_log(lines + lines)
        assert once == twice
        liked = [line.replace('"kind":"click"', '"kind":"hide"') for line in lines if '"kind":"click"' in line]
        assert sum(one.reward for one in read_log(lines + liked).answers) == 0
        assert sum(one.reward for one in once.answers) == len(liked)

    def test_lines_that_are_no_events_are_counted_and_named(self):
        log = read_log(["", "{}", "no json"])
        assert (log.answers, log.refused) == ((), 2)
        assert log.first_refusal.startswith("line 2: event")
