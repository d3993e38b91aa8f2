"""Fusing the voices of detector, classifier and neighbours. How it was found and fitted: ``docs/understanding.md``.

*Types.* Each voice v gives a distribution p_v over the object types; the fused one is the log-linear pool
``p(t) ~ prod_v p_v(t) ** w_v`` (Genest and Zidek, "Combining Probability Distributions", 1986). Voices that agree
become surer together, and a voice that spreads itself evenly changes nothing; in a weighted mean each voice that knows
nothing would pull the answer towards "do not know". No voice can veto, because each is mixed with a little of the even
distribution first: a detector that calls an orange a "sports ball" moves the answer, and two others move it back.

*Words.* A word said by several voices is believed by noisy-or, ``1 - prod_v (1 - r_v c_v)`` (Pearl, "Probabilistic
Reasoning in Intelligent Systems", 1988), where c_v is how sure voice v is and r_v how often it is right when sure. What
a label says counts only as far as its type is believed: with food at 0.95, "sports ball" is worth at most 0.05 of
itself. Neighbours vote with their items' annotations, so they name what no label list holds; and the more familiar the
catalogue is with the thing, the less the labels are heard, because it has more words than they. A rising curve then
turns belief into confidence (`handlens.understand.words`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from handlens.results import Annotation, Evidence, Neighbour, Understanding
from handlens.understand.weights import FusionWeights
from handlens.understand.words import confidence_at, finer_first, same_words
from handlens.wire.item import OBJECT_TYPES
from handlens.wire.taxonomy import Taxonomy

__all__ = ["type_confidences", "understand"]

_DEFAULT = FusionWeights()


def understand(evidence: Evidence, taxonomy: Taxonomy, *, weights: FusionWeights = _DEFAULT) -> Understanding:
    """What the object is: the likeliest type with its confidence, and the annotations, best first: the surest, but a
    finer word ("grapefruit") before the broader ones that go with it ("citrus", "fruit").

    Labels that the taxonomy does not know still become words but say nothing about the type. With no evidence at all
    the type is "other" with the confidence of a blind guess.
    """
    votes = _votes(evidence.neighbours, weights)
    types = _pooled(evidence, taxonomy, votes, weights)
    best = max(OBJECT_TYPES, key=lambda name: (types[name], name == "other"))
    annotations = _annotations(evidence, taxonomy, votes, types, weights)
    return Understanding(best, types[best], annotations, evidence.colours)


def type_confidences(evidence: Evidence, taxonomy: Taxonomy, *, weights: FusionWeights = _DEFAULT) -> dict[str, float]:
    """The confidence 0..1 of every object type; they add up to 1."""
    return _pooled(evidence, taxonomy, _votes(evidence.neighbours, weights), weights)


@dataclass(frozen=True, slots=True)
class _Votes:
    """Each item that is near enough with the votes it casts, and all votes together."""

    cast: tuple[tuple[Neighbour, float], ...]
    total: float

    def shares(self, doubt: float) -> list[tuple[Neighbour, float]]:
        """Each item's share of all votes, those for none of the items among them."""
        return [(one, votes / (self.total + doubt)) for one, votes in self.cast]


def _votes(neighbours: Iterable[Neighbour], weights: FusionWeights) -> _Votes:
    """Each item near enough, once, by its most similar part."""
    nearest: dict[int, Neighbour] = {}
    for neighbour in neighbours:
        known = nearest.get(neighbour.item_key)
        if neighbour.similarity >= weights.floor and (known is None or neighbour.similarity > known.similarity):
            nearest[neighbour.item_key] = neighbour
    ordered = sorted(nearest.values(), key=lambda one: (-one.similarity, one.item_key))
    cast = tuple((one, math.exp((one.similarity - weights.anchor) / weights.bandwidth)) for one in ordered)
    return _Votes(cast, sum(votes for _, votes in cast))


def _pooled(evidence: Evidence, taxonomy: Taxonomy, votes: _Votes, weights: FusionWeights) -> dict[str, float]:
    detections = () if evidence.detection is None else (evidence.detection,)
    voices = (
        (weights.neighbours, ((one.item.object_type, share) for one, share in votes.shares(weights.doubt))),
        (weights.classifier, _typed(evidence.label_scores, taxonomy.classifier)),
        (weights.detector, _typed(detections, taxonomy.detector)),
    )
    scores = dict.fromkeys(OBJECT_TYPES, 0.0)
    for exponent, said in voices:
        for name, share in _distribution(said, weights.slack).items():
            scores[name] += exponent * math.log(share)
    return _normalised(scores)


def _typed(scores: Iterable[tuple[str, float]], table: Mapping[str, str]) -> Iterable[tuple[str, float]]:
    return ((table[label], score) for label, score in scores if label in table)


def _distribution(said: Iterable[tuple[str, float]], slack: float) -> dict[str, float]:
    """Shares by type that add up to 1: what a voice left unsaid is spread evenly, and `slack` of what it said too."""
    shares = dict.fromkeys(OBJECT_TYPES, 0.0)
    for name, share in said:
        shares[name] += share
    total = sum(shares.values())
    scale = (1.0 - slack) / max(total, 1.0)
    rest = (1.0 - scale * total) / len(shares)
    return {name: scale * share + rest for name, share in shares.items()}


def _normalised(logs: Mapping[str, float]) -> dict[str, float]:
    peak = max(logs.values())
    odds = {name: math.exp(value - peak) for name, value in logs.items()}
    total = sum(odds.values())
    return {name: value / total for name, value in odds.items()}


def _annotations(
    evidence: Evidence,
    taxonomy: Taxonomy,
    votes: _Votes,
    types: Mapping[str, float],
    weights: FusionWeights,
) -> tuple[Annotation, ...]:
    voices = _voices(evidence, taxonomy, votes, types, weights)
    said = tuple(voices.values())
    groups = same_words(_all_words(said), taxonomy.synonyms)
    beliefs = [(-_belief(forms, said), forms) for forms in groups]
    beliefs.sort(key=_order)
    kept = [
        (forms, confidence)
        for belief, forms in beliefs[: weights.most_words]
        if (confidence := confidence_at(-belief, weights.word_curve)) >= weights.least_confidence
    ]
    bearers = _bearers([forms for forms, _ in kept], votes)
    order = finer_first(bearers, least=weights.finer, least_alone=weights.finer_alone)
    return tuple(
        Annotation(forms[0], confidence, _speakers(forms, voices), is_broad)
        for (forms, confidence), is_broad in ((kept[at], is_broad) for at, is_broad in order)
    )


def _voices(
    evidence: Evidence, taxonomy: Taxonomy, votes: _Votes, types: Mapping[str, float], weights: FusionWeights
) -> dict[str, dict[str, float]]:
    """What each voice says: how far it is to be believed of each word."""
    detections = () if evidence.detection is None else (evidence.detection,)
    heard = 1.0 - weights.yielding * votes.total / (votes.total + weights.familiar)

    def labels(scores: Iterable[tuple[str, float]], table: Mapping[str, str]) -> dict[str, float]:
        return _label_words(scores, table, taxonomy.broader, types, weights)

    return {
        "neighbours": _scaled(_neighbour_words(votes.shares(weights.familiar), types), weights.neighbour_words),
        "classifier": _scaled(labels(evidence.label_scores, taxonomy.classifier), weights.classifier_words * heard),
        "detector": _scaled(labels(detections, taxonomy.detector), weights.detector_words * heard),
    }


def _order(believed: tuple[float, Sequence[str]]) -> tuple[float, str]:
    return believed[0], believed[1][0]


def _bearers(groups: Sequence[Sequence[str]], votes: _Votes) -> list[dict[int, tuple[float, float]]]:
    """For each word the items that bear it in any of its forms, by their number, with votes and weight."""
    found: list[dict[int, tuple[float, float]]] = [{} for _ in groups]
    bearers_of = {form: bearers for forms, bearers in zip(groups, found, strict=True) for form in forms}
    for number, (neighbour, cast) in enumerate(votes.cast):
        for tag, weight in neighbour.item.annotations.items():
            if tag in bearers_of and weight > 0.0:
                bearers_of[tag][number] = (cast, weight)
    return found


def _neighbour_words(votes: Iterable[tuple[Neighbour, float]], types: Mapping[str, float]) -> dict[str, float]:
    """Share of the votes for each tag: an item votes by the tag's weight, as far as the item's own type is believed."""
    words: defaultdict[str, float] = defaultdict(float)
    for neighbour, share in votes:
        believed = share * types[neighbour.item.object_type]
        for tag, weight in neighbour.item.annotations.items():
            words[tag] += believed * weight
    return words


def _label_words(
    scores: Iterable[tuple[str, float]],
    table: Mapping[str, str],
    broader: Mapping[str, str],
    types: Mapping[str, float],
    weights: FusionWeights,
) -> dict[str, float]:
    """What labels say as words, as far as their types are believed; breeds of one broader word say it together."""
    words: defaultdict[str, float] = defaultdict(float)
    for label, score in scores:
        believed = min(score, 1.0) * types.get(table.get(label, ""), 1.0)
        words[label] += believed
        if label in broader:
            words[broader[label]] += weights.broader_words * believed
    return words


def _scaled(words: Mapping[str, float], factor: float) -> dict[str, float]:
    return {tag: min(min(confidence, 1.0) * factor, 1.0) for tag, confidence in words.items()}


def _all_words(voices: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Every word that is said, with how strongly the voice says it that says it most."""
    most: dict[str, float] = {}
    for words in voices:
        for tag, belief in words.items():
            if belief > most.get(tag, -1.0):
                most[tag] = belief
    return most


def _belief(forms: Sequence[str], voices: Iterable[Mapping[str, float]]) -> float:
    """How far a word is believed in all its forms together."""
    doubt = 1.0
    for words in voices:
        doubt *= 1.0 - (words.get(forms[0], 0.0) if len(forms) == 1 else _said(forms, words))
    return 1.0 - doubt


def _speakers(forms: Sequence[str], voices: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    """Who says a word, the surest first."""
    said = {source: _said(forms, words) for source, words in voices.items()}
    return tuple(sorted((source for source in said if said[source] > 0.0), key=lambda source: (-said[source], source)))


def _said(forms: Sequence[str], words: Mapping[str, float]) -> float:
    """How far one voice is believed of a word in all its forms."""
    return min(sum([words.get(form, 0.0) for form in forms]), 1.0)
