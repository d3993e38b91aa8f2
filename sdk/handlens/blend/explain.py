"""`explain`: the whole decision of a blend, each candidate with its place or the reason why it has none.

It makes the same answer as `blend`, by the same code, and reads the reasons off what that left behind.
"""

from __future__ import annotations

from collections.abc import Iterable

from handlens.blend.assemble import Answer, answer
from handlens.blend.layouts import Rule
from handlens.blend.policy import Policy
from handlens.blend.standing import Ask, Standing
from handlens.decision import Considered, Decision, SectionDecision, Verdict
from handlens.results import Candidate, Understanding

__all__ = ["explain"]


def explain(
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
) -> Decision:
    """What `blend` decides for the same arguments, and why; candidates stand best first.

    Raises:
        ValueError: `limit` is below 1.
    """
    ask = Ask(limit, request_id, refine, as_of, locale, audience, explore)
    made = answer(candidates, understanding, policy, ask)
    verdicts = _Verdicts(made, policy)
    return Decision(
        request_id=request_id,
        policy=policy.version,
        object_type=understanding.object_type,
        type_confidence=understanding.type_confidence,
        words=tuple((note.tag, note.confidence) for note in understanding.annotations),
        band=policy.band(understanding.type_confidence).name,
        layout=made.layout,
        tried=made.tried,
        limit=limit,
        explored=made.explored,
        sections=tuple(_sections(made, understanding)),
        verdicts=tuple(verdicts.of(one) for one in made.ranked),
    )


def _sections(made: Answer, understanding: Understanding) -> Iterable[SectionDecision]:
    for rule, title, places, row, stands in zip(
        made.rules, made.titles, made.shares, made.rows, made.places, strict=True
    ):
        yield SectionDecision(rule.rule_id, title, rule.share, places, len(row), len(stands))
    for rule in made.closed:
        yield SectionDecision(rule.rule_id, rule.title, rule.share, 0, 0, 0, _unmet(rule, understanding))


def _unmet(rule: Rule, understanding: Understanding) -> str:
    if understanding.type_confidence < rule.needs_type:
        return f"the type is sure to {understanding.type_confidence:.2f}, it needs {rule.needs_type:g}"
    first = understanding.annotations[0].confidence if understanding.annotations else 0.0
    return f"the first word is sure to {first:.2f}, it needs {rule.needs_annotation:g}"


class _Verdicts:
    """Reads one answer."""

    def __init__(self, made: Answer, policy: Policy) -> None:
        self._made = made
        self._most = policy.max_per_group
        self._places = {
            id(place.standing): (rule, at, place)
            for rule, places in zip(made.rules, made.places, strict=True)
            for at, place in enumerate(places, start=1)
        }
        self._by_key = {place.standing.key: (rule, place) for rule, _, place in self._places.values()}
        self._dealt = {one.key for stands in made.dealt for one in stands}
        self._groups = [place.standing.group for _, _, place in self._places.values()]

    def of(self, one: Standing) -> Verdict:
        offer, found = one.candidate, self._places.get(id(one))
        considered = () if one.refusal else tuple(self._considered(one))
        return Verdict(
            item_id=offer.item.item_id,
            title=offer.item.title,
            kind=offer.item.kind,
            source=offer.source,
            reason=offer.reason,
            score=offer.score,
            value=one.value,
            rank=one.rank,
            penalty=one.penalty,
            considered=considered,
            section="" if found is None else found[0].rule_id,
            place=0 if found is None else found[1],
            propensity=1.0 if found is None else found[2].propensity,
            explored=found is not None and found[2].explored,
            left_out="" if found is not None else self._left_out(one, considered),
        )

    def _considered(self, one: Standing) -> Iterable[Considered]:
        offer = one.candidate
        for rule in self._made.rules if self._made.layout != "fallback" else ():
            if offer.source not in rule.sources:
                outcome = f"takes nothing from {offer.source}"
            elif offer.item.kind not in rule.kinds:
                outcome = f"takes no {offer.item.kind}"
            elif one.value < rule.min_score:
                outcome = f"{one.value:.2f} is below its {rule.min_score:g}"
            else:
                outcome = "taken"
            yield Considered(rule.rule_id, outcome)

    def _left_out(self, one: Standing, considered: tuple[Considered, ...]) -> str:
        if one.refusal:
            return one.refusal
        if one.key in self._by_key:
            rule, place = self._by_key[one.key]
            return f"stands in {rule.rule_id} by {place.standing.candidate.source}"
        takers = [entry.rule for entry in considered if entry.outcome == "taken"]
        if considered and not takers:
            return "no section takes it"
        if one.key in self._dealt:
            return "gave its place to chance"
        if one.group is not None and self._groups.count(one.group) >= self._most:
            return f"its group {one.group!r} has its {self._most}"
        if one.penalty > 0 and self._is_better_than_a_match(one, takers):
            return "too much like what stands there already"
        return "no place was left"

    def _is_better_than_a_match(self, one: Standing, takers: list[str]) -> bool:
        shown = self._places.values()
        return any(rule.rule_id in takers and place.standing.rank < one.rank for rule, _, place in shown)
