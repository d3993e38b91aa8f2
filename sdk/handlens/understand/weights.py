"""The constants of understanding, each with its reason. Another embedding space wants another set."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FusionWeights"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionWeights:
    """How far each voice is trusted. Measured on photographs that are in no catalogue; see ``docs/blending.md``.

    A neighbour of cosine similarity s casts ``exp((s - anchor) / bandwidth)`` votes when s is at least `floor`.
    """

    floor: float = 0.30  # cosine; 99 of 100 photos of other types are below 0.23: such items do not vote
    anchor: float = 0.50  # cosine at which an item counts as one vote
    bandwidth: float = 0.08  # cosine; an item nearer by this much has e times the votes
    doubt: float = 0.3  # votes for "none of these": what a few far neighbours say stays uncertain

    neighbours: float = 1.25  # exponent of each voice in the log-linear pool of types
    classifier: float = 0.75  # its labels are from web photos and cover few of our things: less than a full voice
    detector: float = 0.5  # 80 labels: an orange is a "sports ball" to it before it is nothing
    slack: float = 0.05  # share of every voice spread over all types, so that no voice can veto

    detector_words: float = 0.7  # how often a word is right when its voice is certain, in the noisy-or of words
    classifier_words: float = 0.8
    neighbour_words: float = 0.9
    broader_words: float = 0.9  # "dog" beside the "beagle" that implies it: the finer word leads at a tie
    least_confidence: float = 0.03  # words below this are dropped
    most_words: int = 10
