"""Isotonic regression: the rising curve that is nearest to how often something was right.

Pool adjacent violators (Ayer et al., "An empirical distribution function for sampling with incomplete information",
1955), used for confidences by Zadrozny and Elkan ("Transforming classifier scores into accurate multiclass probability
estimates", 2002). The steps are joined by straight lines through their middles, so that a little more belief is always
at least a little more confidence, and small steps are merged, so that no step rests on a handful of photographs.

Use::

    rising_curve(beliefs, truths, weights, least_share=0.02)       # ((belief, confidence), ...)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["rising_curve"]

_DIGITS = 4


@dataclass(slots=True)
class _Step:
    """A run of the sorted beliefs; sums over weights."""

    weight: float
    belief: float
    truth: float

    @property
    def height(self) -> float:
        return self.truth / self.weight

    def add(self, other: _Step) -> None:
        self.weight += other.weight
        self.belief += other.belief
        self.truth += other.truth


def rising_curve(
    beliefs: NDArray[np.float64],
    truths: NDArray[np.bool_],
    weights: NDArray[np.float64],
    *,
    least_share: float = 0.02,
) -> tuple[tuple[float, float], ...]:
    """The knots (belief, confidence) of the curve, rising in both.

    Args:
        beliefs: (n,), 0..1.
        truths: (n,), whether each was right.
        weights: (n,), how much each counts, above 0.
        least_share: Share of all weights that a step has at least.

    Raises:
        ValueError: nothing is given.
    """
    if len(beliefs) == 0:
        raise ValueError("a curve needs at least one belief")
    order = np.argsort(beliefs, kind="stable")
    steps: list[_Step] = []
    least = least_share * float(weights.sum())
    for at in order:
        weight = float(weights[at])
        steps.append(_Step(weight, weight * float(beliefs[at]), weight * float(truths[at])))
        while len(steps) > 1 and (steps[-2].height >= steps[-1].height or steps[-2].weight < least):
            last = steps.pop()
            steps[-1].add(last)
    if len(steps) > 1 and steps[-1].weight < least:
        last = steps.pop()
        steps[-1].add(last)
    return _distinct((round(step.belief / step.weight, _DIGITS), round(step.height, _DIGITS)) for step in steps)


def _distinct(knots: Iterable[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """The knots without those that rounding made equal in belief: of such the highest stays."""
    return tuple(dict(knots).items())
