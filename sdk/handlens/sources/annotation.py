"""The annotation source: items that are tagged with, or speak of, what the object was understood to be.

Rules:

* Only words of at least the gate's confidence are searched: a search on a weak guess fills the answer with other
  things. Words that the user typed pass the gate, but beside understood words with half weight: "red" on the photo of
  an apple asks for red apples, not for red tractors.
* No kind of item crowds out another. Photos outnumber recipes in any catalogue; in one common list of the best forty
  there would be no recipe left. So hits of a word, and then candidates, are taken from all kinds in turn.
* Every word is asked for by itself. How much a word counts is its confidence; BM25 compares the items of one word, as a
  share of the best.
* A broader word ("fruit" behind "grapefruit") finds more, and is not what is meant: it counts half of the finer one.
* Two facts that BM25 does not see lower a score: the item carries the word only lightly or in its text alone, and the
  item is of another type (a crane is a bird or a machine).
* What several words say of an item adds up by noisy-or: ``1 - prod (1 - score)``.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from handlens.blend.refine import Refinement
from handlens.results import Annotation, Candidate, Query, Understanding
from handlens.sources.base import TextHit, TextSearch, best_first, suits_locale
from handlens.wire.item import Item, in_turn

__all__ = ["AnnotationSource"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Factors:
    mention: float = 0.5  # an item that carries the word in its text alone, beside one whose tag it is
    broader: float = 0.5  # a broad word, beside the finer ones that go with it
    wish: float = 0.5  # a word of `refine`, beside words that were understood
    other_type: float = 0.5  # an item of another type than the object's, when that is certain
    most_terms: int = 8  # words searched: the surest; each costs one search


_FACTORS = _Factors()
_CACHED_TERMS = 64  # words whose hits are kept: a camera shows the same things again; at most some 10 MB


class AnnotationSource:
    """Offers items found by the annotations of at least `gate` confidence, and by the words of ``query.refine``.

    The hits of the words searched last are kept: make a new source when the catalogue changes.
    """

    name = "annotation"

    def __init__(self, catalogue: TextSearch, *, gate: float = 0.25) -> None:
        self._catalogue = catalogue
        self._gate = gate
        self._hits = functools.lru_cache(_CACHED_TERMS)(self._find_hits)

    def candidates(self, query: Query) -> list[Candidate]:
        """The hits as candidates, best first."""
        found: defaultdict[str, list[Candidate]] = defaultdict(list)
        for term, weight in self._terms(query).items():
            for one in self._offers(term, weight, query):
                found[one.item.item_id].append(one)
        return in_turn(best_first(map(_joined, found.values())), lambda one: one.item.kind, query.limit)

    def _terms(self, query: Query) -> dict[str, float]:
        wished = Refinement.parse(query.refine).terms
        notes = query.understanding.annotations
        understood = _weights([note for note in notes if note.confidence >= self._gate])
        terms = {**dict.fromkeys(wished, _FACTORS.wish if understood else 1.0), **understood}
        return dict(sorted(terms.items(), key=lambda term: -term[1])[: _FACTORS.most_terms])

    def _offers(self, term: str, weight: float, query: Query) -> Iterable[Candidate]:
        hits = self._hits(term, query.limit, query.locale)
        best = max((hit.score for hit in hits), default=1.0)
        return (_candidate(hit, term, weight * hit.score / best, query) for hit in hits)

    def _find_hits(self, term: str, limit: int, locale: str) -> list[TextHit]:
        hits = self._catalogue.search_text(term, limit=limit, locale=locale)
        return [hit for hit in hits if suits_locale(hit.item, locale)]


def _weights(notes: Sequence[Annotation]) -> dict[str, float]:
    """How much each understood word counts: its confidence, but a broad word less than any finer one."""
    finer = min((note.confidence for note in notes if not note.is_broad), default=1.0)
    return {
        note.tag: min(note.confidence, finer) * _FACTORS.broader if note.is_broad else note.confidence for note in notes
    }


def _candidate(hit: TextHit, term: str, share: float, query: Query) -> Candidate:
    tagged = hit.item.annotations.get(term, 0.0)
    about = _FACTORS.mention + (1.0 - _FACTORS.mention) * tagged
    reason = f"tagged {term}" if tagged > 0 else f"mentions {term}"
    score = min(share * about * _type_factor(hit.item, query.understanding), 1.0)
    return Candidate(hit.item_key, hit.item, AnnotationSource.name, score, reason)


def _type_factor(item: Item, understanding: Understanding) -> float:
    if item.object_type == understanding.object_type:
        return 1.0
    return 1.0 - (1.0 - _FACTORS.other_type) * understanding.type_confidence


def _joined(offers: Sequence[Candidate]) -> Candidate:
    """One candidate for what several words say of an item; the reason is that of the strongest."""
    if len(offers) == 1:
        return offers[0]
    strongest = min(offers, key=lambda one: (-one.score, one.reason))
    return strongest._replace(score=1.0 - math.prod([1.0 - one.score for one in offers]))
