"""The softmax temperature of the classifier: fitted so that a probability of 0.8 is right about 8 times in 10.

Temperature scaling (Guo et al., "On calibration of modern neural networks", 2017): the logits are divided by the one
number that minimises the cross-entropy on labelled photographs that the classifier was not trained on. Here these are
the photographs whose label, without its prefix, is a label of the classifier: they were collected apart from ImageNet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Temperature", "calibration_error", "fit_temperature", "named_classes"]

_BINS = 10
_GRID = np.geomspace(0.25, 4.0, 401)  # steps of 0.7 %: finer than a few thousand photographs can tell apart


@dataclass(frozen=True, slots=True)
class Temperature:
    """`temperature` divides the logits. The errors are expected calibration errors, 0..1, before and after."""

    temperature: float
    photos: int
    classes: int
    accuracy: float
    error_before: float
    error_after: float

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object, rounded to four digits."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def named_classes(labels: Sequence[str], classifier: Sequence[str]) -> list[int | None]:
    """For each label (`set:Name_of_it`) the number of the classifier's label of that name, or None."""
    numbers = {name: number for number, name in enumerate(classifier)}
    return [numbers.get(label.split(":")[-1].replace("_", " ").replace("-", " ").lower()) for label in labels]


def fit_temperature(logits: NDArray[np.float32], truth: NDArray[np.intp]) -> Temperature:
    """Fit the temperature of logits (n, classes) to the true class numbers (n,)."""
    losses = [_cross_entropy(logits / temperature, truth) for temperature in _GRID]
    best = float(_GRID[int(np.argmin(losses))])
    return Temperature(
        temperature=round(best, 2),
        photos=len(truth),
        classes=len(set(truth.tolist())),
        accuracy=float((logits.argmax(axis=1) == truth).mean()),
        error_before=calibration_error(logits, truth),
        error_after=calibration_error(logits / best, truth),
    )


def calibration_error(logits: NDArray[np.float32], truth: NDArray[np.intp]) -> float:
    """Expected calibration error in ten bins: how far the confidence is from the accuracy, on average."""
    probabilities = np.exp(_log_softmax(logits))
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = [
        abs(confidence[bins == at].mean() - right[bins == at].mean()) * (bins == at).mean() for at in set(bins.tolist())
    ]
    return float(sum(gaps))


def _cross_entropy(logits: NDArray[np.float32], truth: NDArray[np.intp]) -> float:
    return float(-_log_softmax(logits)[np.arange(len(truth)), truth].mean())


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
