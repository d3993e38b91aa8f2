"""`blend`: who stands where, by the policy's rules.

In order:

1. Every candidate gets its standing: its score on the common scale, made less by age and language; whom an item is not
   for never sees it (`handlens.blend.standing`).
2. The layouts of the type are tried in the order of the policy's fallbacks. A section whose needs are not met is
   closed; each open one takes the candidates whose source, kind and score it wants.
3. Places are dealt by shares, then to whoever can fill them (`handlens.blend.seats`), the next place of a section to
   what is good and unlike what stands there (`handlens.blend.diversity`). With a refinement, items of the asked kinds
   come first and their sections lead.
4. When no layout wants any candidate, the best stand in the fallback section: an answer is empty only when no source
   has anything that the user may see.
5. In an answer that explores, chance then fills the last places of the sections (`handlens.blend.explore`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from handlens.blend.explore import draw, explores
from handlens.blend.layouts import Rule
from handlens.blend.policy import Policy
from handlens.blend.refine import Refinement
from handlens.blend.seats import Seats, hamilton, rows_of
from handlens.blend.standing import Ask, Standing, standings
from handlens.results import Candidate, Match, Section, Understanding, Why

__all__ = ["Answer", "Place", "answer", "blend"]


def blend(
    candidates: Iterable[Candidate],
    understanding: Understanding,
    policy: Policy,
    *,
    limit: int,
    request_id: str,
    refine: str | None = None,
    as_of: str = "",
    locale: str = "",
    audience: str = "all",
    explore: bool = False,
) -> tuple[Section, ...]:
    """The sections of the answer: at most `limit` matches over all, each item once, no section empty.

    `as_of` is when the release was made (ISO 8601): the day that ages count from; without it nothing ages. `locale` and
    `audience` are the user's. With `explore` the policy's exploration may draw, from the `request_id` and nothing else.

    Raises:
        ValueError: `limit` is below 1.
    """
    ask = Ask(limit, request_id, refine, as_of, locale, audience, explore)
    return answer(candidates, understanding, policy, ask).sections(policy)


@dataclass(frozen=True, slots=True)
class Place:
    """A place of an answer with who stands in it, by chance or not; `propensity` as in `Why`."""

    standing: Standing
    propensity: float = 1.0
    explored: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer in the making, with what `handlens.blend.explain` tells of it.

    `rules`, `rows`, `dealt` and `places` go together: the sections, what each takes, what was dealt to it, and what
    stands in it in the end. `layout` is whose rules they are, "fallback" for the policy's last section; `tried` are the
    layouts before it; `closed` the rules whose needs were not met; `titles` what the sections are called.
    """

    ranked: Sequence[Standing]
    layout: str
    tried: tuple[str, ...]
    closed: tuple[Rule, ...]
    rules: tuple[Rule, ...]
    shares: tuple[int, ...]
    rows: Sequence[Sequence[Standing]]
    dealt: Sequence[Sequence[Standing]]
    places: Sequence[Sequence[Place]]
    titles: tuple[str, ...]
    explored: bool = False

    def sections(self, policy: Policy) -> tuple[Section, ...]:
        """The sections that are not empty."""
        return tuple(
            Section(rule.name, title, tuple(_match(place, rule.rule_id, policy.version) for place in places))
            for rule, title, places in zip(self.rules, self.titles, self.places, strict=True)
            if places
        )


def answer(candidates: Iterable[Candidate], understanding: Understanding, policy: Policy, ask: Ask) -> Answer:
    """Make one answer; raises as `blend`."""
    if ask.limit < 1:
        raise ValueError(f"limit is {ask.limit}: give at least 1")
    ranked = standings(list(candidates), understanding, policy, ask)
    shown = [one for one in ranked if not one.refusal]
    made = _seated(ranked, shown, understanding, policy, ask)
    if ask.explore and not ask.refine and made.layout != "fallback" and explores(policy.exploration, ask.request_id):
        return _explored(made, policy, ask)
    return made


def _seated(
    ranked: Sequence[Standing], shown: Sequence[Standing], understanding: Understanding, policy: Policy, ask: Ask
) -> Answer:
    wish = Refinement.parse(ask.refine)
    tried: list[str] = []
    closed: list[Rule] = []
    for name, rules in policy.chain(understanding.object_type, understanding.type_confidence):
        opened = [rule for rule in rules if _is_open(rule, understanding)]
        closed += [rule for rule in rules if rule not in opened]
        led = _lead(opened, wish.kinds)
        shares = tuple(hamilton([rule.share for rule in led], ask.limit))
        seats = Seats(rows_of(led, shown), ask.limit, policy.diversity)
        if wish.kinds:
            seats.deal([ask.limit] * len(led), lambda one: one.candidate.item.kind in wish.kinds)
        seats.deal(shares)
        seats.deal([ask.limit] * len(led))
        if seats.keys:
            titles = tuple(_title(rule, understanding, policy.gates.annotation) for rule in led)
            return _answer(ranked, name, tried, closed, led, shares, seats, titles)
        tried.append(name)
    last = policy.fallback
    rule = Rule(f"fallback/{last.name}", last.name, last.title, None, (), (), 1.0, 0.0)
    seats = Seats([shown], ask.limit, replace(policy.diversity, trade_off=1.0))
    seats.deal([ask.limit])
    return _answer(ranked, "fallback", tried, closed, [rule], (ask.limit,), seats, (last.title,))


def _answer(
    ranked: Sequence[Standing],
    layout: str,
    tried: Sequence[str],
    closed: Sequence[Rule],
    rules: Sequence[Rule],
    shares: tuple[int, ...],
    seats: Seats,
    titles: tuple[str, ...],
) -> Answer:
    places = [[Place(one) for one in row] for row in seats.placed]
    return Answer(
        ranked, layout, tuple(tried), tuple(closed), tuple(rules), shares, seats.rows, seats.placed, places, titles
    )


def _explored(made: Answer, policy: Policy, ask: Ask) -> Answer:
    drawn = draw(policy.exploration, ask.request_id, made.rows, made.dealt, policy.max_per_group)
    places = [
        [Place(one) for one in stands[: len(stands) - len(chosen)]]
        + [Place(one, 1.0 / len(pool), True) for one in chosen]
        for stands, (chosen, pool) in zip(made.dealt, drawn, strict=True)
    ]
    return replace(made, places=places, explored=True)


def _is_open(rule: Rule, understanding: Understanding) -> bool:
    first = understanding.annotations[0].confidence if understanding.annotations else 0.0
    return understanding.type_confidence >= rule.needs_type and first >= rule.needs_annotation


def _lead(rules: Sequence[Rule], kinds: Sequence[str]) -> list[Rule]:
    """The rules in their order, but those that want an asked kind first, the more they want it alone."""

    def strangers(rule: Rule) -> float:
        return len(set(rule.kinds) - set(kinds)) if set(rule.kinds) & set(kinds) else math.inf

    return sorted(rules, key=strangers) if kinds else list(rules)


def _title(rule: Rule, understanding: Understanding, gate: float) -> str:
    if rule.tagged_title is None or not understanding.annotations or understanding.annotations[0].confidence < gate:
        return rule.title
    return rule.tagged_title.replace("{tag}", understanding.annotations[0].tag)


def _match(place: Place, rule_id: str, version: str) -> Match:
    one = place.standing.candidate
    why = Why(
        source=one.source,
        score=one.score,
        rule=rule_id,
        policy=version,
        reason=one.reason,
        value=place.standing.value,
        propensity=place.propensity,
        explored=place.explored,
    )
    return Match(one.item_key, one.item, place.standing.value, why)
