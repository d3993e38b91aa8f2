"""Replay: what a policy would have earned on a log, before anybody sees it. Pure.

*The question.* How many items of an answer would its user open or save, on average, if the new policy answered?

*The data.* Answers that explored (`handlens.blend.explore`): a fair sample of all answers, in which some places were
given by chance with a known propensity, together with all that the sources had offered. The new policy blends the
same offers; the log tells what happened to those items that were really shown.

*The estimator.* Inverse propensity scoring (Horvitz and Thompson, "A generalization of sampling without replacement
from a finite universe", 1952; replaying logs for ranking systems: Li, Chu, Langford and Wang, "Unbiased offline
evaluation of contextual-bandit-based news article recommendation algorithms", WSDM 2011), for items in places under
the position-based click model (Li, Abbasi-Yadkori, Kveton et al., "Offline evaluation of ranking policies with click
models", KDD 2018): an item in place k is looked at with the chance ``p_k = k ** -bias`` (Joachims, Swaminathan and
Schnabel, "Unbiased learning-to-rank with biased feedback", WSDM 2017) and opened by its own merit. An item that the
log showed, and that the new policy shows in place k, is weighted by ``p_k / q``, where q is the chance that the log's
policy had it looked at: the sum of ``p_j`` times its propensity over the places j that chance could have put it in.
Unbiased where the model holds and every item that the new policy shows had some chance to be shown.

*Self-normalised* (Swaminathan and Joachims, "The self-normalized estimator for counterfactual learning", NIPS 2015):
the weighted rewards are divided by the weighted looks that the log really gave, in place of those it gave on average,
which takes most of the variance away. The interval is that of a ratio of means (delta method; Owen, "Monte Carlo
theory, methods and examples", ch. 9). `covered` is the share of the new policy's looks that fell on items the log
could show: what it shows beyond that, no log can judge.

*Refusals.* No answers that explored, or none with offers; an effective sample (Kish, "Survey sampling", 1965) below
`least_sample`; less than `least_covered` of the looks covered.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handlens.blend import Policy, blend
from handlens.errors import HandlensError
from handlens.results import Annotation, Candidate, Understanding
from handlens.wire.item import Item
from handlens_server.policy_log import LoggedAnswer

__all__ = ["Estimate", "ReplayError", "ReplayRules", "compare", "estimate", "on_policy"]

_NORMAL = 1.959964  # of a 95 % interval


class ReplayError(HandlensError):
    """The log cannot say what the policy is worth."""


@dataclass(frozen=True, slots=True)
class ReplayRules:
    """`position_bias`: how steeply looks fall from place to place; the rest says what is too little to speak of."""

    position_bias: float = 1.0
    least_sample: float = 100.0
    least_covered: float = 0.8
    locale: str = ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Rewarded items an answer, with the half-width of its 95 % interval.

    `by_propensity` is the plain estimate, not self-normalised. `answers` explored; `sample` is how many answers given
    all by chance would say as much as their places by chance do; `missing` counts offers of items that the catalogue
    has no more.
    """

    value: float
    margin: float
    by_propensity: float
    answers: int
    sample: float
    covered: float
    missing: int

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {name: round(getattr(self, name), 6) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class _Row:
    """One answer: weighted rewards, weighted looks (of those, by chance), and the looks that the policy asks for."""

    rewards: float
    looks: float
    by_chance: float
    asked: float
    missing: int


def estimate(
    answers: Sequence[LoggedAnswer], items: Mapping[str, Item], policy: Policy, rules: ReplayRules
) -> Estimate:
    """What `policy` would earn; `items` are the catalogue's, by id.

    Raises:
        ReplayError: the log says too little.
    """
    return _estimate(_rows(answers, items, policy, rules), rules)


def compare(
    answers: Sequence[LoggedAnswer], items: Mapping[str, Item], policies: tuple[Policy, Policy], rules: ReplayRules
) -> tuple[Estimate, Estimate, tuple[float, float]]:
    """What each of two policies would earn, and by how much the first earns more, with the margin of that.

    The same answers stand on both sides, so the difference is known better than either.

    Raises:
        ReplayError: the log says too little about one of them.
    """
    first, second = (_rows(answers, items, policy, rules) for policy in policies)
    found = _estimate(first, rules), _estimate(second, rules)
    pairs = [one - other for one, other in zip(_influences(first), _influences(second), strict=True)]
    return *found, (found[0].value - found[1].value, _margin(pairs))


def on_policy(answers: Sequence[LoggedAnswer]) -> tuple[float, float, int]:
    """What the answers that did not explore earned: the mean, its margin, and how many they are."""
    rewards = [float(one.reward) for one in answers if not one.exposure.explores]
    return (_mean(rewards), _margin(rewards), len(rewards)) if rewards else (0.0, 0.0, 0)


def _rows(answers: Sequence[LoggedAnswer], items: Mapping[str, Item], policy: Policy, rules: ReplayRules) -> list[_Row]:
    explored = [one for one in answers if one.exposure.explores]
    if not explored:
        raise ReplayError(
            f"none of {len(answers)} answers explored: publish a policy with `exploration`, and wait for its events"
        )
    told = [one for one in explored if one.exposure.offers]
    if not told:
        raise ReplayError(
            f"none of {len(explored)} answers that explored says what it was chosen from: "
            "offers are sent only with the consent `embedding`"
        )
    return [_row(one, items, policy, rules) for one in told]


def _row(answer: LoggedAnswer, items: Mapping[str, Item], policy: Policy, rules: ReplayRules) -> _Row:
    exposure = answer.exposure
    offers = [one for one in exposure.offers if one.item_id in items]
    wanted = _looks_by_item(_shown(answer, offers_of(answer, items), policy, rules), rules)
    rewards = looks = by_chance = 0.0
    for at, place in enumerate(exposure.places, start=1):
        share = wanted.get(place.item_id, 0.0) / _chance_of_looks(answer, at, rules)
        rewards += share * (place.item_id in answer.rewards)
        looks += share * _look(at, rules)
        by_chance += share * _look(at, rules) * place.explored
    return _Row(rewards, looks, by_chance, sum(wanted.values()), len(exposure.offers) - len(offers))


def offers_of(answer: LoggedAnswer, items: Mapping[str, Item]) -> list[Candidate]:
    """The candidates that the answer was chosen from, as far as the catalogue still has them."""
    keys: dict[str, int] = {}
    return [
        Candidate(keys.setdefault(one.item_id, len(keys)), items[one.item_id], one.source, one.score, "")
        for one in answer.exposure.offers
        if one.item_id in items
    ]


def _shown(answer: LoggedAnswer, candidates: list[Candidate], policy: Policy, rules: ReplayRules) -> list[str]:
    exposure = answer.exposure
    notes = tuple(Annotation(tag, confidence) for tag, confidence in exposure.words)
    understanding = Understanding(answer.object_type or "other", exposure.type_confidence, notes)
    sections = blend(
        candidates,
        understanding,
        policy,
        limit=exposure.limit,
        request_id=answer.request_id,
        as_of=answer.day,
        locale=rules.locale,
    )
    return [match.item.item_id for section in sections for match in section.matches]


def _looks_by_item(shown: Sequence[str], rules: ReplayRules) -> dict[str, float]:
    return {item_id: _look(at, rules) for at, item_id in enumerate(shown, start=1)}


def _chance_of_looks(answer: LoggedAnswer, at: int, rules: ReplayRules) -> float:
    """How likely the log's policy had the item in place `at` looked at, given that the answer explores."""
    places = answer.exposure.places
    place = places[at - 1]
    if not place.explored:
        return _look(at, rules)
    section = (n for n, one in enumerate(places, start=1) if one.explored and one.rule == place.rule)
    return place.propensity * sum(_look(n, rules) for n in section)


def _look(at: int, rules: ReplayRules) -> float:
    return float(at**-rules.position_bias)


def _estimate(rows: Sequence[_Row], rules: ReplayRules) -> Estimate:
    sample = _sample([row.by_chance for row in rows])
    if sample < rules.least_sample:
        raise ReplayError(
            f"{len(rows)} answers that explored are worth {sample:.0f} of them for this policy, "
            f"{rules.least_sample:g} are needed: wait for more events, or let more places explore"
        )
    rewards, looks, asked = (_mean([getattr(row, name) for row in rows]) for name in ("rewards", "looks", "asked"))
    covered = looks / asked
    if covered < rules.least_covered:
        raise ReplayError(
            f"only {covered:.0%} of what this policy shows could have been shown before ({rules.least_covered:.0%} are "
            "needed): let a policy that shows some of it explore first"
        )
    return Estimate(
        value=rewards / looks * asked,
        margin=_margin(_influences(rows)),
        by_propensity=rewards,
        answers=len(rows),
        sample=sample,
        covered=covered,
        missing=sum(row.missing for row in rows),
    )


def _influences(rows: Sequence[_Row]) -> list[float]:
    """How much each answer moves ``rewards / looks * asked`` (of means), to first order."""
    rewards, looks, asked = (_mean([getattr(row, name) for row in rows]) for name in ("rewards", "looks", "asked"))
    if looks == 0.0:
        return [0.0 for _ in rows]
    return [
        asked / looks * row.rewards - rewards * asked / looks**2 * row.looks + rewards / looks * row.asked
        for row in rows
    ]


def _sample(weights: Sequence[float]) -> float:
    squares = sum(weight * weight for weight in weights)
    return sum(weights) ** 2 / squares if squares else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _margin(values: Sequence[float]) -> float:
    """Half the width of the 95 % interval of a mean."""
    if len(values) < 2:
        return math.inf
    mean = _mean(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return _NORMAL * math.sqrt(variance / len(values))
