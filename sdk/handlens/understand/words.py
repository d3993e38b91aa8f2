"""Words: which are the same, which finer, and how sure a word is that is believed so far.

Rules:

* Words are the same when the taxonomy's table says so ("eggplant", "aubergine"), or when one is the plain English
  plural of the other and both are said. Of the forms the one that is said most stands for all: the catalogue's own,
  where it is the catalogue that says it, so that its items are found by it.
* A finer word stands before a broader one, though the broader is surer: whoever photographs a grapefruit knows that it
  is fruit. Which is broader is seen from the items near the query (Sanderson and Croft, "Deriving concept hierarchies
  from text", 1999): one word subsumes another when nearly all items that bear the other bear it too, and further ones
  besides. The finer must hold some part of the broader one's votes, or it is a guess.
* Confidence is a rising curve over belief, straight between knots. It is fitted so that of the words of confidence 0.8
  eight in ten are right (isotonic regression: Zadrozny and Elkan, "Transforming classifier scores into accurate
  multiclass probability estimates", 2002), and comes with the model.

>>> same_words({"carrot": 0.2, "carrots": 0.6, "eggplant": 0.1}, {"eggplant": "aubergine"})
[('carrots', 'carrot'), ('eggplant',)]
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence

__all__ = ["confidence_at", "finer_first", "same_words", "word_key"]

_NEARLY_ALL = 0.8  # of a finer word's votes are for the broader one too, as in the paper
_SEVERAL = 3  # items that bear a word make it a kind of thing; fewer may be one thing's own name


def word_key(word: str, synonyms: Mapping[str, str]) -> str:
    """What two spellings or names of one thing have in common, plurals aside."""
    plain = word.replace("-", " ")
    return synonyms.get(plain, plain)


def same_words(words: Mapping[str, float], synonyms: Mapping[str, str]) -> list[tuple[str, ...]]:
    """The words in groups that mean the same, in each the one that is said most first; `words` maps to how strongly."""
    groups: dict[str, list[str]] = {}
    for word in words:
        groups.setdefault(word_key(word, synonyms), []).append(word)
    for key in sorted(key for key in groups if key.endswith("s")):
        one = _singular(key, groups)
        if one is not None:
            groups[one] += groups.pop(key)
    return [
        tuple(forms) if len(forms) == 1 else tuple(sorted(forms, key=lambda form: (-words[form], form)))
        for forms in groups.values()
    ]


def finer_first(
    bearers: Sequence[Mapping[int, tuple[float, float]]], *, least: float, least_alone: float
) -> list[tuple[int, bool]]:
    """The order of words that come best first, with finer ones before what subsumes them; and which do subsume one.

    `bearers` has, for each word, the items that bear it, with their votes and how far each is about the word (0..1). A
    finer word goes before a broader one when the items are about it at least as much ("steel" is no finer word for the
    Eiffel Tower), and it holds `least` of the broader one's votes, or `least_alone` where it has one or two bearers.
    """
    votes = [sum(cast for cast, _ in items.values()) for items in bearers]
    weighted = [sum(cast * about for cast, about in items.values()) for items in bearers]

    def precedes(finer: int, broader: int) -> bool:
        if not 0.0 < votes[finer] < votes[broader]:
            return False
        others = bearers[broader]
        shared = [(cast, about, others[item][1]) for item, (cast, about) in bearers[finer].items() if item in others]
        if not shared:
            return False
        said = sum(cast * about for cast, about, _ in shared)
        part = least if len(bearers[finer]) >= _SEVERAL else least_alone
        return (
            sum(cast for cast, _, _ in shared) >= _NEARLY_ALL * votes[finer]
            and said >= sum(cast * about for cast, _, about in shared)
            and said >= part * weighted[broader]
        )

    numbers = range(len(bearers))
    waits = {broader: {finer for finer in numbers if precedes(finer, broader)} for broader in numbers}
    order: list[tuple[int, bool]] = []
    while waits:  # a subsuming word has more votes than the subsumed, so there is no circle
        first = next(number for number, others in waits.items() if others.isdisjoint(waits))
        order.append((first, bool(waits.pop(first))))
    return order


def confidence_at(belief: float, curve: Sequence[tuple[float, float]]) -> float:
    """The height of the curve at `belief`; level beyond its ends, and the belief itself where there is no curve."""
    if not curve:
        return belief
    at = bisect_right(curve, belief, key=lambda knot: knot[0])
    if at == 0 or at == len(curve):
        return curve[min(at, len(curve) - 1)][1]
    (left, low), (right, high) = curve[at - 1], curve[at]
    return low + (high - low) * (belief - left) / (right - left)


def _singular(key: str, known: Mapping[str, object]) -> str | None:
    for ending in ("s", "es"):
        if key.endswith(ending) and key.removesuffix(ending) in known:
            return key.removesuffix(ending)
    return None
