"""Diversity: the next place of a section goes to what is good and unlike what stands there already.

Maximal marginal relevance (Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering documents
and producing summaries", SIGIR 1998): of the best `window` candidates the one with the greatest
``lambda * rank - (1 - lambda) * likeness`` is next, where likeness is that to the most alike item of the section.

Items are alike by what every item has, since many have no picture and so no embedding: the tags and the title's words
that they share (Jaccard index) and their kind. Items of one group of near-duplicates are wholly alike. Words are kept
as bits of whole numbers, so that a comparison costs two bit counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from handlens.blend.policy import Diversity
from handlens.blend.standing import Standing

__all__ = ["Likeness", "next_best"]

_WORD = re.compile(r"[^\W_]{3,}")


class Likeness:
    """Compares the items of one answer."""

    def __init__(self, diversity: Diversity) -> None:
        self._diversity = diversity
        self._bits: dict[str, int] = {}

    def __call__(self, one: Standing, other: Standing) -> float:
        """How alike two items are, 0..1."""
        if one.key == other.key or (one.group is not None and one.group == other.group):
            return 1.0
        (tags, words), (other_tags, other_words) = self._mask(one), self._mask(other)
        parts = self._diversity
        same_kind = one.candidate.item.kind == other.candidate.item.kind
        return (
            parts.tags * _jaccard(tags, other_tags)
            + parts.title * _jaccard(words, other_words)
            + (parts.kind if same_kind else 0.0)
        )

    def _mask(self, one: Standing) -> tuple[int, int]:
        if one.mask is None:
            item = one.candidate.item
            words = _WORD.findall(item.title.casefold()) if self._diversity.title else ()
            one.mask = (self._set(item.annotations), self._set(words))
        return one.mask

    def _set(self, words: Iterable[str]) -> int:
        mask, bits = 0, self._bits
        for word in words:
            mask |= 1 << bits.setdefault(word, len(bits))
        return mask


def next_best(window: Sequence[Standing], chosen: list[Standing], alike: Likeness, trade_off: float) -> Standing:
    """The candidate of `window` (best first, not empty) that the next place goes to; `chosen` stand there already."""
    if trade_off == 1.0:
        return window[0]
    best, most = window[0], float("-inf")
    for one in window:
        if one.beside is not chosen:
            one.beside, one.seen, one.likeness = chosen, 0, 0.0
        while one.seen < len(chosen):
            one.likeness = max(one.likeness, alike(one, chosen[one.seen]))
            one.seen += 1
        one.penalty = (1.0 - trade_off) * one.likeness
        gain = trade_off * one.rank - one.penalty
        if gain > most:
            best, most = one, gain
    return best


def _jaccard(one: int, other: int) -> float:
    union = (one | other).bit_count()
    return (one & other).bit_count() / union if union else 0.0
