"""Diversity: the next place of a section goes to what is good and unlike what stands there already.

Maximal marginal relevance (Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering documents
and producing summaries", SIGIR 1998): of the best `window` candidates the one with the greatest
``lambda * rank - (1 - lambda) * likeness`` is next, where likeness is that to the most alike item of the section.

Items are alike by what every item has, since many have no picture and so no embedding: the tags and the title's words
that they share (Jaccard index) and their kind. Items of one group of near-duplicates are wholly alike.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from functools import lru_cache

from handlens.blend.policy import Diversity
from handlens.blend.standing import Standing

__all__ = ["likeness", "next_best"]

_WORD = re.compile(r"[^\W_]{3,}")


def likeness(one: Standing, other: Standing, diversity: Diversity) -> float:
    """How alike two items are, 0..1."""
    if one.key == other.key or (one.group is not None and one.group == other.group):
        return 1.0
    item, other_item = one.candidate.item, other.candidate.item
    alike = diversity.tags * _jaccard(item.annotations.keys(), other_item.annotations.keys())
    if diversity.title:
        alike += diversity.title * _jaccard(_words(item.title), _words(other_item.title))
    return alike + (diversity.kind if item.kind == other_item.kind else 0.0)


def next_best(window: Sequence[Standing], chosen: list[Standing], diversity: Diversity) -> Standing:
    """The candidate of `window` (best first, not empty) that the next place goes to; `chosen` stand there already."""
    trade_off = diversity.trade_off
    if trade_off == 1.0:
        return window[0]
    best, most = window[0], float("-inf")
    for one in window:
        if one.beside is not chosen:
            one.beside, one.seen, one.likeness = chosen, 0, 0.0
        while one.seen < len(chosen):
            one.likeness = max(one.likeness, likeness(one, chosen[one.seen], diversity))
            one.seen += 1
        one.penalty = (1.0 - trade_off) * one.likeness
        gain = trade_off * one.rank - one.penalty
        if gain > most:
            best, most = one, gain
    return best


@lru_cache(maxsize=2048)  # an item's title is compared with several others, and again in the next answers
def _words(title: str) -> frozenset[str]:
    return frozenset(_WORD.findall(title.casefold()))


def _jaccard(one: Set[str], other: Set[str]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared) if shared else 0.0
