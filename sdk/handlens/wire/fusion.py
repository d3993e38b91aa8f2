"""The parameters of understanding, as `model.json` carries them: they belong to one embedding space.

Rules:

* What is left out of the file has the default below, so a model without a fit can be used: its confidences are then
  guesses, and `calibration.understanding` says nothing.
* Unknown names are passed over: a newer fit may say more.

`handlens-convert fit understanding` writes them; ``docs/understanding.md`` says how they are found.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

from handlens.wire.fields import Fields

__all__ = ["FusionWeights"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionWeights:
    """How far each voice is trusted.

    A neighbour of cosine similarity s casts ``exp((s - anchor) / bandwidth)`` votes when s is at least `floor`.
    `word_curve` are the knots (belief, confidence) of a rising curve, linear between them: how often a word that the
    noisy-or believes so far is right. Without knots the belief itself is the confidence.
    """

    floor: float = 0.30  # cosine; items below it are of other things and do not vote
    anchor: float = 0.50  # cosine at which an item counts as one vote
    bandwidth: float = 0.08  # cosine; an item nearer by this much has e times the votes
    doubt: float = 0.3  # votes for "none of these": what a few far neighbours say stays uncertain

    neighbours: float = 1.25  # exponent of each voice in the log-linear pool of types
    classifier: float = 0.75
    detector: float = 0.5
    slack: float = 0.05  # share of every voice spread over all types, so that no voice can veto

    neighbour_words: float = 0.9  # how far a word is believed when its voice is certain, in the noisy-or of words
    classifier_words: float = 0.8
    detector_words: float = 0.7
    broader_words: float = 0.9  # "dog" beside the "beagle" that implies it: the finer word leads at a tie

    familiar: float = 3.0  # votes at which the catalogue is half familiar with the thing, and half able to name it
    yielding: float = 0.5  # part of the labels' say that is lost where the catalogue is wholly familiar with the thing

    finer: float = 0.25  # part of a broader word's votes from which on a finer one stands before it,
    finer_alone: float = 0.5  # and where only one or two items bear the finer word: they may be all that is like it

    word_curve: tuple[tuple[float, float], ...] = ()
    least_confidence: float = 0.03  # words below this are dropped
    most_words: int = 10

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name != "word_curve" and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{one.name} is {value}: give a finite number, at least 0")
        if self.bandwidth == 0 or self.slack == 0 or self.slack > 1:
            raise ValueError(f"bandwidth is {self.bandwidth} and slack {self.slack}: give more than 0, slack at most 1")
        _check_curve(self.word_curve)

    @classmethod
    def from_fields(cls, values: Fields) -> FusionWeights:
        """Read the object `calibration.understanding`.

        Raises:
            DecodeError: a parameter is no number, out of range, or the curve does not rise.
        """
        known: dict[str, Any] = {
            one.name: values.number(one.name) for one in fields(cls) if one.name in values.values and one.name in _PLAIN
        }
        if "most_words" in values.values:
            known["most_words"] = values.integer("most_words")
        if "word_curve" in values.values:
            known["word_curve"] = _curve(values)
        try:
            return cls(**known)
        except ValueError as error:
            raise values.wrong("understanding", f"parameters that go together ({error})") from error

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {**asdict(self), "word_curve": [list(knot) for knot in self.word_curve]}


_PLAIN = frozenset(one.name for one in fields(FusionWeights)) - {"most_words", "word_curve"}


def _curve(values: Fields) -> tuple[tuple[float, float], ...]:
    knots = values.values["word_curve"]
    wrong = values.wrong("word_curve", "a list of pairs of numbers")
    if not isinstance(knots, list):
        raise wrong
    for knot in knots:
        if not isinstance(knot, list) or len(knot) != 2 or not all(type(one) in (int, float) for one in knot):
            raise wrong
    return tuple((float(belief), float(confidence)) for belief, confidence in knots)


def _check_curve(curve: tuple[tuple[float, float], ...]) -> None:
    numbers = [number for knot in curve for number in knot]
    if not all(0.0 <= number <= 1.0 for number in numbers):  # NaN is in no range
        raise ValueError("the numbers of word_curve are not all from 0 to 1")
    for (left, low), (right, high) in pairwise(curve):
        if not (left < right and low <= high):
            raise ValueError(f"word_curve does not rise from ({left}, {low}) to ({right}, {high})")
