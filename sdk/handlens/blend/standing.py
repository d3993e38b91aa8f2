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
from functools import lru_cache

from handlens.blend.curves import Linear
from handlens.blend.policy import Policy
from handlens.blend.refine import Refinement
from handlens.results import Candidate, Understanding
from handlens.wire.item import Item

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
    """A candidate with its worth; `penalty` is what likeness to its section took from it when last looked at."""

    __slots__ = (
        *("beside", "candidate", "group", "key", "likeness", "mask"),
        *("penalty", "rank", "refusal", "seen", "value"),
    )

    def __init__(self, candidate: Candidate, value: float, rank: float, refusal: str) -> None:
        self.candidate = candidate
        self.key = candidate.item_key
        self.group = candidate.item.group_id
        self.value = value
        self.rank = rank
        self.refusal = refusal
        self.penalty = 0.0
        self.beside: list[Standing] | None = None  # the section that it was last compared with,
        self.seen = 0  # as far as so many of its items,
        self.likeness = 0.0  # and its likeness to the most alike of them
        self.mask: tuple[int, int] | None = None  # tags and title words as bits, see `handlens.blend.diversity`


def standings(
    candidates: Iterable[Candidate], understanding: Understanding, policy: Policy, ask: Ask
) -> list[Standing]:
    """All candidates, best first, those that are refused among them."""
    wish = Refinement.parse(ask.refine)
    object_type, confidence = understanding.object_type, understanding.type_confidence
    strange = {
        source: 1.0 - (1.0 - policy.other_type.get(source, 1.0)) * confidence
        for source in {one.source for one in candidates}
    }
    curves = {source: policy.curves.get(source, _AS_IT_IS) for source in {one.source for one in candidates}}
    factor, refusal = _aging(policy, ask.as_of), _refusals(policy, ask)
    found = []
    for one in candidates:
        value = curves[one.source](one.score)
        rank = value * factor(one.item) * _language(one.item, policy, ask.locale)
        if one.item.object_type != object_type:
            rank *= strange[one.source]
        if wish.words or wish.colours:
            rank *= _WISH ** wish.hits(one.item)
        found.append(Standing(one, value, rank, refusal(one.item)))
    found.sort(key=_order)
    return found


def _order(one: Standing) -> tuple[float, float, str, str, float, str]:
    offer = one.candidate
    return (-one.rank, -offer.item.quality, offer.item.item_id, offer.source, -offer.score, offer.reason)


def _aging(policy: Policy, as_of: str) -> Callable[[Item], float]:
    lives, floor, today = policy.freshness.half_life_days, policy.freshness.floor, _day_number(as_of)
    if not lives or today is None:
        return lambda item: 1.0

    def factor(item: Item) -> float:
        life = lives.get(item.kind)
        if life is None:
            return 1.0
        made = _day_number(item.created_at)
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


def _language(item: Item, policy: Policy, locale: str) -> float:
    if not locale or item.locale == locale:
        return 1.0
    if not item.locale:
        return policy.languages.unmarked
    return 1.0 if locale.startswith(f"{item.locale}-") else policy.languages.other


def _refusals(policy: Policy, ask: Ask) -> Callable[[Item], str]:
    shown = None if policy.audiences is None else policy.audiences.get(ask.audience, ("all", ask.audience))

    def refusal(item: Item) -> str:
        if shown is not None and (item.audience or "all") not in shown:
            return f"for the audience {item.audience!r}, not for {ask.audience!r}"
        if policy.languages.other == 0.0 and _language(item, policy, ask.locale) == 0.0:
            return f"in the language {item.locale!r}, not in {ask.locale!r}"
        return ""

    return refusal
