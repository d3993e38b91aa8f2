"""Curves: the scores of each source become chances that what it offers helps, on one scale 0..1.

Scores of different sources mean different things: a cosine of 0.5 says little, a BM25 share of 0.5 much. Before they
meet in one section or one minimum they are mapped by fixed curves that the policy names:

* ``linear``: ``(score - from) / (to - from)``, cut to 0..1. The min-max normalisation of Fox and Shaw, "Combination of
  multiple searches" (TREC-2, 1994) and Lee, "Analyses of multiple evidence combination" (SIGIR 1997), but with bounds
  that do not depend on the query: the best of a bad lot must not become 1, because gates are absolute.
* ``logistic``: ``1 / (1 + exp(-slope * (score - midpoint)))``, Platt, "Probabilistic outputs for support vector
  machines" (1999), fitted to offers that were judged.
* ``points``: straight lines between points that rise, as quantiles or an isotonic fit give them (Zadrozny and Elkan,
  "Transforming classifier scores into accurate multiclass probability estimates", KDD 2002).

A source without a curve keeps its scores.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from handlens.blend.reading import fraction
from handlens.errors import DecodeError
from handlens.wire.fields import Fields

__all__ = ["SOURCES", "Curve", "Linear", "Logistic", "Points", "highest", "read_curves"]

SOURCES = ("annotation", "curated", "object", "visual")


class Curve(Protocol):
    """Never falls."""

    def __call__(self, score: float) -> float:
        """The chance 0..1 that an offer of this score 0..1 helps."""
        ...


@dataclass(frozen=True, slots=True)
class Linear:
    """A straight line from (`low`, 0) to (`high`, 1)."""

    low: float = 0.0
    high: float = 1.0

    def __call__(self, score: float) -> float:
        return min(max((score - self.low) / (self.high - self.low), 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class Logistic:
    """Half at `midpoint`, there with a quarter of `slope` as its gradient."""

    midpoint: float
    slope: float

    def __call__(self, score: float) -> float:
        return 1.0 / (1.0 + math.exp(-min(max(self.slope * (score - self.midpoint), -60.0), 60.0)))


@dataclass(frozen=True, slots=True)
class Points:
    """Straight lines between (`scores[i]`, `values[i]`); level outside them."""

    scores: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, score: float) -> float:
        at = bisect_right(self.scores, score)
        if at == 0 or at == len(self.scores):
            return self.values[min(at, len(self.values) - 1)]
        (left, right), (low, high) = self.scores[at - 1 : at + 1], self.values[at - 1 : at + 1]
        return low + (high - low) * (score - left) / (right - left)


def read_curves(policy: Fields) -> dict[str, Curve]:
    """The curve of each source that has one.

    Raises:
        DecodeError: an unknown source or curve, or one that falls or is not finite.
    """
    if policy.values.get("scores") is None:
        return {}
    table = policy.mapping("scores")
    for name in table.values:
        if name not in SOURCES:
            raise DecodeError(f"{table.what}.{name} is no source: expected one of {', '.join(SOURCES)}")
    return {name: _curve(table.mapping(name)) for name in table.values}


def _curve(fields: Fields) -> Curve:
    kind = fields.text("curve")
    if kind == "linear":
        return _linear(fields)
    if kind == "logistic":
        if fields.number("slope") <= 0:
            raise fields.wrong("slope", "a number above 0: a better score cannot help less")
        return Logistic(fields.number("midpoint"), fields.number("slope"))
    if kind == "points":
        return _points(fields)
    raise fields.wrong("curve", "linear, logistic or points")


def _linear(fields: Fields) -> Linear:
    line = Linear(fraction(fields, "from", 0.0), fraction(fields, "to", 1.0))
    if line.low >= line.high:
        raise fields.wrong("from", "a number below to")
    return line


def _points(fields: Fields) -> Points:
    points = fields.values.get("points")
    if not isinstance(points, list) or len(points) < 2 or not all(map(_is_point, points)):
        raise fields.wrong("points", "at least two pairs of numbers from 0 to 1")
    scores, values = (tuple(float(one[at]) for one in points) for at in (0, 1))
    if any(right <= left for left, right in pairwise(scores)):
        raise fields.wrong("points", "scores that rise from pair to pair")
    if any(right < left for left, right in pairwise(values)):
        raise fields.wrong("points", "values that never fall")
    return Points(scores, values)


def _is_point(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(one, int | float) and not isinstance(one, bool) and 0.0 <= one <= 1.0 for one in value)
    )


def highest(curves: Mapping[str, Curve], source: str) -> float:
    """The most that an offer of this source can be worth."""
    return curves[source](1.0) if source in curves else 1.0
