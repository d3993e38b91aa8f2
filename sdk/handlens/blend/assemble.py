"""`blend`: who stands where, by the policy's rules.

In order:

1. The rules are those of the object's type, or the default's when the type is not sure.
2. Each rule takes the candidates whose source, kind and score it wants, best first. Ties go to the item of better
   quality, then to the lower item id, so that the order of the candidates never matters.
3. Places are dealt twice. First each section, in the order of the answer, fills its share of the `limit` (largest
   remainder method); then sections in the same order take what others left. An item already placed, or one whose group
   of near-duplicates has its fill, is passed over.
4. With a refinement, items of the asked kinds are dealt first and without shares, and their sections lead.
5. When no rule wants any candidate, the best of them stand in the fallback section: a result is never empty if any
   source has something.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from handlens.blend.policy import Policy, Rule
from handlens.blend.refine import Refinement
from handlens.results import Candidate, Match, Section, Understanding, Why

__all__ = ["blend"]

_WISH = 2.0  # an item that carries a wished word ranks as if its score were so many times as large
Rank = Callable[[Candidate], tuple[object, ...]]


def blend(
    candidates: Iterable[Candidate],
    understanding: Understanding,
    policy: Policy,
    *,
    limit: int,
    request_id: str,
    refine: str | None = None,
) -> tuple[Section, ...]:
    """The sections of the answer: at most `limit` matches over all, each item once, no section empty.

    `request_id` is the only chance that a policy may draw from; this format of the policy has no rule that draws, so
    two requests with the same candidates get the same answer.

    Raises:
        ValueError: `limit` is below 1.
    """
    if limit < 1:
        raise ValueError(f"limit is {limit}: give at least 1")
    wish = Refinement.parse(refine)
    rules = _lead(policy.rules(understanding.object_type, understanding.type_confidence), wish.kinds)
    ranked = sorted(candidates, key=_ranking(wish))
    table = _Table(limit, policy.max_per_group)
    _seat(table, rules, ranked, wish)
    if not table.placed:
        return _fallback(ranked, policy, limit)
    return tuple(
        _section(rule, taken, understanding, policy)
        for rule, taken in zip(rules, table.sections(ranked, len(rules)), strict=True)
        if taken
    )


def _seat(table: _Table, rules: Sequence[Rule], ranked: Sequence[Candidate], wish: Refinement) -> None:
    wanted = [_wanted(rule, ranked) for rule in rules]
    everything = [table.limit] * len(rules)
    if wish.kinds:
        _deal(table, [[one for one in row if one.item.kind in wish.kinds] for row in wanted], everything)
    _deal(table, wanted, _places([rule.share for rule in rules], table.limit))
    _deal(table, wanted, everything)


@dataclass(slots=True)
class _Table:
    """Who has been placed where: one answer in the making."""

    limit: int
    max_per_group: int
    placed: dict[int, tuple[int, Candidate]] = field(default_factory=dict)  # item key -> (section, candidate)
    groups: Counter[str] = field(default_factory=Counter)
    filled: Counter[int] = field(default_factory=Counter)

    def offer(self, section: int, candidate: Candidate) -> None:
        """Place a candidate, unless the answer is full, the item is placed, or its group has its fill."""
        group = candidate.item.group_id
        full = len(self.placed) == self.limit or (group is not None and self.groups[group] == self.max_per_group)
        if full or candidate.item_key in self.placed:
            return
        self.placed[candidate.item_key] = (section, candidate)
        self.filled[section] += 1
        if group is not None:
            self.groups[group] += 1

    def sections(self, ranked: Iterable[Candidate], count: int) -> list[list[Candidate]]:
        """The candidates placed in each of `count` sections, in the order of `ranked`."""
        rows: list[list[Candidate]] = [[] for _ in range(count)]
        for one in ranked:
            section, placed = self.placed.get(one.item_key, (0, None))
            if placed is one:
                rows[section].append(one)
        return rows


def _deal(table: _Table, wanted: Sequence[Sequence[Candidate]], places: Sequence[int]) -> None:
    for section, (row, most) in enumerate(zip(wanted, places, strict=True)):
        for candidate in row:
            if table.filled[section] >= most:
                break
            table.offer(section, candidate)


def _ranking(wish: Refinement) -> Rank:
    """Best first, and total: no two different candidates rank alike."""

    def rank(one: Candidate) -> tuple[object, ...]:
        return (
            -one.score * _WISH ** wish.hits(one.item),
            -one.item.quality,
            one.item.item_id,
            one.item_key,
            one.source,
            one.reason,
        )

    return rank


def _lead(rules: Sequence[Rule], kinds: Sequence[str]) -> list[Rule]:
    """The rules in their order, but those that want an asked kind first, the more they want it alone."""

    def strangers(rule: Rule) -> float:
        return len(set(rule.kinds) - set(kinds)) if set(rule.kinds) & set(kinds) else math.inf

    return sorted(rules, key=strangers) if kinds else list(rules)


def _wanted(rule: Rule, ranked: Iterable[Candidate]) -> list[Candidate]:
    return [
        one
        for one in ranked
        if one.source in rule.sources and one.item.kind in rule.kinds and one.score >= rule.min_score
    ]


def _places(shares: Sequence[float], limit: int) -> list[int]:
    """Whole places by share: largest remainder (Hamilton's method), ties to the earlier section."""
    exact = [share * limit for share in shares]
    places = [int(value + 1e-9) for value in exact]
    left = limit - sum(places)
    by_remainder = sorted(range(len(exact)), key=lambda at: (round(places[at] - exact[at], 9), at))
    for at in by_remainder[:left]:
        places[at] += 1
    return places


def _section(rule: Rule, taken: Iterable[Candidate], understanding: Understanding, policy: Policy) -> Section:
    title = _title(rule, understanding, policy.gates.annotation)
    return Section(rule.name, title, tuple(_match(one, rule.rule_id, policy.version) for one in taken))


def _title(rule: Rule, understanding: Understanding, gate: float) -> str:
    if rule.tagged_title is None or not understanding.annotations or understanding.annotations[0].confidence < gate:
        return rule.title
    return rule.tagged_title.replace("{tag}", understanding.annotations[0].tag)


def _match(one: Candidate, rule_id: str, version: str) -> Match:
    return Match(one.item_key, one.item, one.score, Why(one.source, one.score, rule_id, version, one.reason))


def _fallback(ranked: Iterable[Candidate], policy: Policy, limit: int) -> tuple[Section, ...]:
    table = _Table(limit, policy.max_per_group)
    _deal(table, [list(ranked)], [limit])
    matches = tuple(_match(one, f"fallback/{policy.fallback.name}", policy.version) for _, one in table.placed.values())
    return (Section(policy.fallback.name, policy.fallback.title, matches),) if matches else ()
