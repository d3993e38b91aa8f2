"""Seats: who is placed where while one answer is made, by one layout.

Places are dealt in passes over the sections, in the order of the answer: first, with a refinement, to items of the
asked kinds without regard to shares; then each section fills its share of the `limit` (largest remainder method); then
sections take what others left. An item already placed, or one whose group of near-duplicates has its fill, is passed
over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice

from handlens.blend.diversity import next_best
from handlens.blend.layouts import Rule
from handlens.blend.policy import Diversity
from handlens.blend.standing import Standing

__all__ = ["Seats", "hamilton", "rows_of"]


class Seats:
    """The places of one answer: `rows` are what each section takes, best first; `placed` what stands in it."""

    def __init__(self, rows: Sequence[Sequence[Standing]], limit: int, diversity: Diversity) -> None:
        self.rows = rows
        self.placed: list[list[Standing]] = [[] for _ in rows]
        self.keys: set[int] = set()
        self.groups: Counter[str] = Counter()
        self._free = limit
        self._diversity = diversity

    def deal(self, most: Sequence[int], suits: Callable[[Standing], bool] | None = None) -> None:
        """One pass: each section is filled up to its number in `most`, with those that suit where that is asked."""
        for section, row in enumerate(self.rows):
            if self._free and len(self.placed[section]) < most[section]:
                self._fill(section, row if suits is None else [one for one in row if suits(one)], most[section])

    def _fill(self, section: int, row: Sequence[Standing], most: int) -> None:
        chosen, coming = self.placed[section], (one for one in row if self._is_open(one))
        window: list[Standing] = []
        size = 1 if self._diversity.trade_off == 1.0 else self._diversity.window
        while self._free and len(chosen) < most:
            window = [one for one in window if self._is_open(one)]
            window += islice(coming, size - len(window))
            if not window:
                return
            self._place(chosen, next_best(window, chosen, self._diversity))

    def _is_open(self, one: Standing) -> bool:
        if one.key in self.keys:
            return False
        return one.group is None or self.groups.get(one.group, 0) < self._diversity.max_per_group

    def _place(self, chosen: list[Standing], one: Standing) -> None:
        chosen.append(one)
        self.keys.add(one.key)
        self._free -= 1
        if one.group is not None:
            self.groups[one.group] += 1


def rows_of(rules: Sequence[Rule], ranked: Sequence[Standing]) -> list[list[Standing]]:
    """The candidates that each rule takes, best first: its sources, its kinds, at least its minimum or asked for."""
    rows: list[list[Standing]] = [[] for _ in rules]
    takers: dict[tuple[str, str], list[tuple[float, list[Standing]]]] = {}
    for rule, row in zip(rules, rows, strict=True):
        for source in rule.sources:
            for kind in rule.kinds:
                takers.setdefault((source, kind), []).append((rule.min_score, row))
    for one in ranked:
        offer = one.candidate
        for least, row in takers.get((offer.source, offer.item.kind), ()):
            if one.value >= least or one.is_asked:
                row.append(one)
    return rows


def hamilton(shares: Sequence[float], limit: int) -> list[int]:
    """Whole places by share: largest remainder (Hamilton's method), ties to the earlier section.

    Shares that do not add up to 1, because sections are closed, count in proportion.
    """
    total = sum(shares) or 1.0
    exact = [share * limit / total for share in shares]
    places = [int(value + 1e-9) for value in exact]
    left = limit - sum(places)
    by_remainder = sorted(range(len(exact)), key=lambda at: (round(places[at] - exact[at], 9), at))
    for at in by_remainder[:left]:
        places[at] += 1
    return places
