"""What each candidate is worth before any section looks at it: its standing.

* `value` is the score on the common scale 0..1, by the curve of its source.
* `rank` is the value, made less for an item of another type (as far as the object's type is sure), by age
  (``floor + (1 - floor) * 2 ** (-age / half-life)``, the exponential decay of Li and Croft, "Time-based language
  models", CIKM 2003) and by language, and made more by wished words. Age counts from the release's `as_of`, never from
  the clock on the wall: the same release answers alike for ever. An item that does not say when it was made counts as
  one half-life old.
* `refusal` says why the user may not see the item at all: it is for another audience, or in another language.

Ranking is total: ties go to the better item, then to the lower item id, which device and server share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from functools import cache, lru_cache

from handlens.blend.curves import Linear
from handlens.blend.policy import Policy
from handlens.blend.refine import Refinement
from handlens.results import Candidate, Understanding

__all__ = ["Ask", "Standing", "standings"]

_WISH = 2.0  # an item that carries a wished word ranks as if its score were so many times as large
_AS_IT_IS = Linear()


@dataclass(frozen=True, slots=True)
class Ask:
    """What one answer is made for; the fields are those of `handlens.blend.blend`."""

    limit: int
    request_id: str
    refine: str | None = None
    as_of: str = ""
    locale: str = ""
    audience: str = "all"
    explore: bool = False


class Standing:
    """A candidate with its worth; `penalty` is what likeness to its section took from it when last looked at.

    `is_asked` says that the user asked for its colour: a section takes it however small its value is.
    """

    # Hundreds are made for an answer, and few are ever compared: what comparing notes has its start here.
    penalty = 0.0
    beside: list[Standing] | None = None  # the section that it was last compared with,
    seen = 0  # as far as so many of its items,
    likeness = 0.0  # and its likeness to the most alike of them

    def __init__(self, candidate: Candidate, value: float, rank: float, refusal: str, is_asked: bool) -> None:
        self.candidate = candidate
        self.key = candidate.item_key
        self.group = candidate.item.group_id
        self.value = value
        self.rank = rank
        self.refusal = refusal
        self.is_asked = is_asked


def standings(
    candidates: Iterable[Candidate], understanding: Understanding, policy: Policy, ask: Ask
) -> list[Standing]:
    """All candidates, best first, those that are refused among them."""
    wish = Refinement.parse(ask.refine)
    is_wish = bool(wish.words or wish.colours)
    object_type, confidence = understanding.object_type, understanding.type_confidence
    sources = {one.source for one in candidates}
    strange = {source: 1.0 - (1.0 - policy.other_type.get(source, 1.0)) * confidence for source in sources}
    curves = {source: policy.curves.get(source, _AS_IT_IS) for source in sources}
    factor, language, refusal = _aging(policy, ask.as_of), _languages(policy, ask), _refusals(policy, ask)
    found, places = [], []
    for one in candidates:
        item, source = one.item, one.source
        value = curves[source](one.score)
        rank = value * factor(item.kind, item.created_at) * language(item.locale)
        is_asked = False
        if item.object_type != object_type:
            rank *= strange[source]
        if is_wish:
            rank *= _WISH ** wish.hits(item)
            is_asked = item.object_type == object_type and wish.suits(item)
        found.append(Standing(one, value, rank, refusal(item.audience, item.locale), is_asked))
        places.append((-rank, -item.quality, item.item_id, source, -one.score, one.reason))
    return [found[at] for at in sorted(range(len(found)), key=places.__getitem__)]


# An answer has hundreds of candidates, but few kinds, days, languages and audiences: each is judged once.


def _aging(policy: Policy, as_of: str) -> Callable[[str, str], float]:
    """The factor of an item's rank by its kind and the day that it was made."""
    lives, floor, today = policy.freshness.half_life_days, policy.freshness.floor, _day_number(as_of)

    @cache
    def factor(kind: str, created_at: str) -> float:
        life = lives.get(kind)
        if life is None or today is None:
            return 1.0
        made = _day_number(created_at)
        lived = 1.0 if made is None else max(today - made, 0) / life
        return float(floor + (1.0 - floor) * 2.0**-lived)

    return factor


@lru_cache(maxsize=4096)
def _day_number(text: str) -> int | None:
    """The day of an ISO 8601 time as a number, or None where there is none."""
    try:
        return date.fromisoformat(text[:10]).toordinal()
    except ValueError:
        return None


def _languages(policy: Policy, ask: Ask) -> Callable[[str], float]:
    """The factor of an item's rank by its language."""

    @cache
    def factor(locale: str) -> float:
        if not ask.locale or locale == ask.locale:
            return 1.0
        if not locale:
            return policy.languages.unmarked
        return 1.0 if ask.locale.startswith(f"{locale}-") else policy.languages.other

    return factor


def _refusals(policy: Policy, ask: Ask) -> Callable[[str, str], str]:
    """Why the user may not see items for an audience in a language, or nothing."""
    shown = None if policy.audiences is None else policy.audiences.get(ask.audience, ("all", ask.audience))
    language = _languages(policy, ask)

    @cache
    def refusal(audience: str, locale: str) -> str:
        if shown is not None and (audience or "all") not in shown:
            return f"for the audience {audience!r}, not for {ask.audience!r}"
        if policy.languages.other == 0.0 and language(locale) == 0.0:
            return f"in the language {locale!r}, not in {ask.locale!r}"
        return ""

    return refusal
