"""Fits the parameters of understanding: the exponents and kernel of the types, the beliefs and the curve of the words.

What is fitted is what a device runs: `handlens.understand` itself is called with each candidate set of parameters.

1. *Types.* Exponents, kernel and slack minimise the log loss of the right type. Scaling all exponents together is
   temperature scaling (Guo et al., "On calibration of modern neural networks", 2017), so no temperature is kept beside
   them.
2. *Words.* The beliefs of the voices maximise how often the first word is right, less the log loss of the first words
   after a curve was fitted to them.
3. *The curve* of the words: isotonic regression of truth on belief (Zadrozny and Elkan, 2002).
4. *Temperature* of the classifier: as in `embedder_temperature`, on the photographs that bear a label's name.

How much each catalogue counts is a choice. Of words the catalogue that lacks the thing is left out: no score tells
whether a catalogue has grapefruits, and a confidence that allows for their absence would be too low for all catalogues
that have them. How far it is off then is in the report.

Use::

    fit = fit_understanding(examples, taxonomy, logits, rows, labels)
    fit.weights.word_curve
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from handlens.errors import ModelError
from handlens.understand import FusionWeights, type_confidences, understand
from handlens.wire.taxonomy import Taxonomy
from handlens_conversion.embedder_temperature import fit_temperature, named_classes
from handlens_conversion.isotonic import rising_curve
from handlens_conversion.retrieval_data import Row
from handlens_conversion.retrieval_words import Judge, type_of
from handlens_conversion.understanding_examples import Example

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Fit", "FitOptions", "calibration_error", "fit_understanding"]

Loss = Callable[[FusionWeights], float]
_TYPES = ("neighbours", "classifier", "detector", "slack", "bandwidth", "doubt")
_WORDS = ("familiar", "yielding", "neighbour_words", "classifier_words", "detector_words", "broader_words")
_SHARES = frozenset({"slack", "yielding", "neighbour_words", "classifier_words", "detector_words", "broader_words"})
_DIGITS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """How it is fitted. The mixtures say how much each catalogue counts; they add up to 1."""

    type_mixture: tuple[tuple[str, float], ...] = (("all", 0.5), ("sparse", 0.3), ("unknown", 0.2))
    word_mixture: tuple[tuple[str, float], ...] = (("all", 0.7), ("sparse", 0.3))
    sample: int = 900  # examples of each catalogue that the search looks at; the curve is fitted on all
    rounds: int = 6
    step: float = 1.25  # a parameter is tried so many times as large and as small; its root when nothing helps
    first_words: int = 3  # of each example count for the curve: a search asks for a few
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Fit:
    """The parameters, the classifier's temperature, and what they give by catalogue on the examples themselves."""

    weights: FusionWeights
    temperature: float
    report: Mapping[str, Any]


def fit_understanding(
    examples: Mapping[str, Sequence[Example]],
    taxonomy: Taxonomy,
    *,
    logits: NDArray[np.float32],
    rows: Sequence[Row],
    labels: Sequence[str],
    options: FitOptions | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> Fit:
    """Fit to examples by catalogue, and the temperature to the classifier's `logits` (n, labels) of `rows`.

    Raises:
        ModelError: a catalogue has no examples, or no photograph bears a label's name.
    """
    chosen = options or FitOptions()
    judge = Judge(taxonomy)
    wanted = {name for name, _ in (*chosen.type_mixture, *chosen.word_mixture)}
    if any(not examples.get(name) for name in wanted):
        raise ModelError(f"understanding is fitted on catalogues {', '.join(sorted(wanted))}: one has no examples")
    random = np.random.default_rng(chosen.seed)
    few = {name: _sample(examples[name], chosen.sample, random) for name in sorted(wanted)}
    weights = _search(
        FusionWeights(), _TYPES, lambda one: _type_loss(one, few, taxonomy, chosen.type_mixture), chosen, tell
    )
    weights = _search(weights, _WORDS, lambda one: _word_loss(one, few, taxonomy, judge, chosen), chosen, tell)
    beliefs = _beliefs(weights, examples, taxonomy, judge, chosen)
    weights = replace(_rounded(weights), word_curve=rising_curve(*beliefs))
    return Fit(weights, _temperature(logits, rows, labels), report_of(weights, examples, taxonomy, judge))


def report_of(
    weights: FusionWeights, examples: Mapping[str, Sequence[Example]], taxonomy: Taxonomy, judge: Judge
) -> dict[str, Any]:
    """For each catalogue how often type and first word are right, and how far their confidence is off (ECE)."""
    report = {}
    for name, found in examples.items():
        answers = [understand(one.evidence, taxonomy, weights=weights) for one in found]
        notes = [answer.annotations[0] if answer.annotations else None for answer in answers]
        typed = [answer.object_type == type_of(one.row) for answer, one in zip(answers, found, strict=True)]
        named = [note is not None and judge.is_right(note.tag, one.row) for note, one in zip(notes, found, strict=True)]
        report[name] = {
            "photos": len(found),
            "type_right": _share(typed),
            "type_error": calibration_error([answer.type_confidence for answer in answers], typed),
            "word_right": _share(named),
            "word_error": calibration_error([0.0 if note is None else note.confidence for note in notes], named),
        }
    return report


def calibration_error(confidences: Sequence[float], right: Sequence[bool], *, bins: int = 10) -> float:
    """Expected calibration error (Guo et al., 2017): how far confidence is from being right, on average, 0..1."""
    confidence, truth = np.array(confidences), np.array(right, dtype=float)
    at = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[at == one].mean() - truth[at == one].mean()) * (at == one).mean() for one in set(at.tolist())
    ]
    return round(float(sum(gaps)), 4)


def _share(right: Sequence[bool]) -> float:
    return round(float(np.mean(right)), 4)


def _sample(examples: Sequence[Example], count: int, random: np.random.Generator) -> list[Example]:
    at = random.permutation(len(examples))[:count]
    return [examples[int(number)] for number in sorted(at)]


def _search(
    weights: FusionWeights, names: Sequence[str], loss: Loss, options: FitOptions, tell: Callable[[str], object]
) -> FusionWeights:
    """Coordinate descent by factors: each parameter in turn a step up and down, smaller steps when nothing helps."""
    best, step = loss(weights), options.step
    for number in range(options.rounds):
        before = best
        for name in names:
            for factor in (step, 1 / step):
                tried = _moved(weights, name, factor)
                found = loss(tried)
                if found < best - 1e-5:
                    weights, best = tried, found
        tell(f"round {number + 1}: loss {best:.4f}")
        step = math.sqrt(step) if best == before else step
    return weights


def _moved(weights: FusionWeights, name: str, factor: float) -> FusionWeights:
    value = getattr(weights, name) * factor
    return replace(weights, **{name: min(value, 1.0) if name in _SHARES else value})


def _type_loss(
    weights: FusionWeights,
    examples: Mapping[str, Sequence[Example]],
    taxonomy: Taxonomy,
    mixture: Sequence[tuple[str, float]],
) -> float:
    """Mean of -ln(confidence of the right type)."""

    def mean(found: Sequence[Example]) -> float:
        given = [type_confidences(one.evidence, taxonomy, weights=weights)[type_of(one.row)] for one in found]
        return -float(np.log(np.maximum(given, 1e-9)).mean())

    return sum(part * mean(examples[name]) for name, part in mixture)


def _word_loss(
    weights: FusionWeights,
    examples: Mapping[str, Sequence[Example]],
    taxonomy: Taxonomy,
    judge: Judge,
    options: FitOptions,
) -> float:
    """Log loss of the first words by the curve that fits them best, less how often the first word is right."""
    beliefs, truths, counts = _beliefs(weights, examples, taxonomy, judge, replace(options, first_words=1))
    curve = np.array(rising_curve(beliefs, truths, counts))
    given = np.clip(np.interp(beliefs, curve[:, 0], curve[:, 1]), 0.01, 0.99)
    loss = -float((counts * np.where(truths, np.log(given), np.log(1 - given))).sum())
    return loss - float(counts[truths].sum())


def _beliefs(
    weights: FusionWeights,
    examples: Mapping[str, Sequence[Example]],
    taxonomy: Taxonomy,
    judge: Judge,
    options: FitOptions,
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Belief, truth and weight of the first words of each example, every example alike within its catalogue."""
    plain = replace(weights, word_curve=(), least_confidence=0.0)
    said: list[tuple[float, bool, float]] = []
    for name, part in options.word_mixture:
        for one in examples[name]:
            notes = understand(one.evidence, taxonomy, weights=plain).annotations[: options.first_words]
            said += [(note.confidence, judge.is_true(note.tag, one.row), part / len(examples[name])) for note in notes]
    beliefs, truths, counts = zip(*said, strict=True)
    return np.array(beliefs), np.array(truths, dtype=bool), np.array(counts)


def _rounded(weights: FusionWeights) -> FusionWeights:
    """Three digits: more than the photographs can tell apart."""
    return replace(weights, **{name: round(getattr(weights, name), _DIGITS) for name in (*_TYPES, *_WORDS)})


def _temperature(logits: NDArray[np.float32], rows: Sequence[Row], labels: Sequence[str]) -> float:
    classes = named_classes([row.label for row in rows], labels)
    at = [row for row, number in enumerate(classes) if number is not None]
    if not at:
        raise ModelError("no photograph bears the name of a label of the classifier: its temperature cannot be fitted")
    return fit_temperature(logits[at], np.array([classes[row] for row in at])).temperature
