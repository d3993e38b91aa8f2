"""Answering: neighbours are compared alike whatever found them, and what takes no part is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.paths import MODELS

from handlens.answering import Answerer, Ask, Near, Nearby, Seen, Stopwatch, could_improve, neighbours_of
from handlens.blend import Policy
from handlens.errors import HandlensError
from handlens.geometry import WHOLE, Box
from handlens.options import Options
from handlens.results import Coverage, Region
from handlens.understand import FusionWeights
from handlens.wire.item import Item
from handlens.wire.taxonomy import Taxonomy

POLICY = Policy.from_json((MODELS / "policy.json").read_text("utf-8"))
TAXONOMY = Taxonomy.from_json((MODELS / "taxonomy.json").read_text("utf-8"))
ORANGE = Item("orange", "photo", "food", "An orange", annotations={"orange": 1.0})
CAKE = Item("cake", "recipe", "food", "Orange cake", annotations={"orange": 1.0})


class DownError(HandlensError):
    """What this catalogue asks is down."""


class Hit:
    def __init__(self, key: int, item: Item, score: float = 1.0) -> None:
        self.item_key, self.item, self.score = key, item, score


class Memory:
    """A catalogue in memory, parts of which may be down. An index that finds in any order, but for the last ones."""

    def __init__(self, parts: Sequence[Near], texts: Sequence[Hit] = (), *, down: Sequence[str] = ()) -> None:
        self.parts, self.texts, self.down = list(parts), texts, down
        self.asked: list[int] = []

    def nearest(self, vector: NDArray[np.float32], k: int) -> Nearby:
        self.asked.append(k)
        if "index" in self.down:
            raise DownError("the index is down")
        return Nearby(self.parts[:k], is_all=len(self.parts) < k)

    def search_text(self, term: str, *, limit: int, locale: str = "") -> Sequence[Hit]:
        if "texts" in self.down:
            raise DownError("the texts are down")
        return [hit for hit in self.texts if term in hit.item.annotations][:limit]

    def items_by_id(self, item_ids: Sequence[str]) -> Mapping[str, tuple[int, Item]]:
        return {}


def part(item: Item, code: Sequence[int], *, key: int = 1, box: Box = WHOLE) -> Near:
    return Near(key, item, box, np.array(code, np.int8).tobytes())


def vector(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def named(name: str) -> Item:
    return replace(ORANGE, item_id=name)


class TestNeighbours:
    def test_similarities_come_from_the_codes_and_the_order_from_them_and_the_ids(self) -> None:
        parts = [part(named("b"), [0, 3]), part(named("a"), [0, 2]), part(named("c"), [4, 3])]
        found = neighbours_of(Memory(parts), vector(0, 5), 9)
        assert [(one.item.item_id, one.similarity) for one in found] == [("a", 1.0), ("b", 1.0), ("c", 0.6)]

    def test_an_item_that_two_packs_hold_counts_once(self) -> None:
        parts = [part(ORANGE, [1, 1], key=7), part(ORANGE, [1, 1], key=2), part(ORANGE, [1, 0], box=Box(0, 0, 0.5, 1))]
        found = neighbours_of(Memory(parts), vector(1, 1), 9)
        assert [(one.item_key, one.box) for one in found] == [(2, WHOLE), (1, Box(0, 0, 0.5, 1))]

    def test_more_is_asked_for_until_there_are_enough(self) -> None:
        copies = [part(named("same"), [1, 1], key=key) for key in range(100)]
        catalogue = Memory([*copies, *(part(named(f"other-{at}"), [1, 0]) for at in range(5))])
        found = neighbours_of(catalogue, vector(1, 1), 3)
        assert [one.item.item_id for one in found] == ["same", "other-0", "other-1"]
        assert len(catalogue.asked) > 1

    def test_an_empty_catalogue_has_no_neighbours(self) -> None:
        assert neighbours_of(Memory([]), vector(1, 1), 3) == ()


def answered(catalogue: Memory, *, label: str | None = "orange", now: Any = None, **ask: Any) -> Any:
    region = Region(Box(0.1, 0.1, 0.9, 0.9), "detector", label, 0.95)
    seen = Seen(region, vector(1, 0), () if label is None else ((label, 0.9),))
    clock = Stopwatch() if now is None else Stopwatch(now)
    answerer = Answerer(catalogue, TAXONOMY, POLICY, Options(locale=""), weights=FusionWeights())
    return answerer.answer([seen], Ask("r", 12, **ask), clock)


def shown(answer: Any) -> set[str]:
    return {match.item.item_id for found in answer.objects for one in found.sections for match in one.matches}


class TestLeftOut:
    def test_nothing_is_left_out_where_everything_answers(self) -> None:
        answer = answered(Memory([part(ORANGE, [1, 0])], [Hit(2, CAKE)]))
        assert answer.left_out == ()
        assert shown(answer) == {"orange", "cake"}
        assert answer.objects[0].code == bytes([127, 0])

    @pytest.mark.parametrize(
        ("down", "left_out", "still"),
        [("index", {"visual", "object"}, {"cake"}), ("texts", {"annotation"}, {"orange"})],
    )
    def test_a_source_that_fails_is_named_and_the_others_answer(
        self, down: str, left_out: set[str], still: set[str]
    ) -> None:
        answer = answered(Memory([part(ORANGE, [1, 0])], [Hit(2, CAKE)], down=[down]))
        assert {one.source for one in answer.left_out} == left_out
        assert all(one.reason == f"the {down} {'is' if down == 'index' else 'are'} down" for one in answer.left_out)
        assert shown(answer) == still

    def test_a_failure_comes_out_when_nothing_else_was_offered(self) -> None:
        with pytest.raises(DownError, match="the index is down"):
            answered(Memory([], down=["index", "texts"]))

    def test_after_the_deadline_only_the_first_source_is_asked(self) -> None:
        ticks = iter(range(10_000))
        answer = answered(
            Memory([part(ORANGE, [1, 0])], [Hit(2, CAKE)]), now=lambda: float(next(ticks)), deadline_ms=1500
        )
        assert {one.source for one in answer.left_out} == {"object", "curated", "annotation"}
        assert shown(answer) == {"orange"}


class TestAsks:
    def test_an_item_of_another_kind_is_not_offered_and_still_says_what_it_is_like(self) -> None:
        catalogue = Memory([part(ORANGE, [1, 0])], [Hit(2, CAKE)])
        answer = answered(catalogue, label=None, kinds=("recipe",))
        assert shown(answer) == {"cake"}
        assert [note.tag for note in answer.objects[0].annotations] == ["orange"]

    def test_an_item_of_another_audience_is_shown_to_that_audience_alone(self) -> None:
        own = replace(ORANGE, item_id="own", audience="partner:acme")
        catalogue = Memory([part(ORANGE, [1, 0]), part(own, [1, 0], key=2)])
        assert shown(answered(catalogue)) == {"orange"}
        assert shown(answered(catalogue, audience="partner:acme")) == {"orange", "own"}


class TestCouldImprove:
    def test_a_sure_answer_of_a_whole_catalogue_could_not(self) -> None:
        answer = answered(Memory([part(ORANGE, [1, 0])]))
        assert not could_improve(answer, POLICY, Coverage(2, 2))

    def test_missing_packs_failures_and_doubt_could(self) -> None:
        catalogue = Memory([part(ORANGE, [1, 0])], [Hit(2, CAKE)])
        assert could_improve(answered(catalogue), POLICY, Coverage(1, 2))
        catalogue.down = ["texts"]
        assert could_improve(answered(catalogue), POLICY, Coverage(2, 2))
        unsure = answered(Memory([part(replace(ORANGE, annotations={}), [1, 30])]), label=None)
        assert could_improve(unsure, POLICY, Coverage(2, 2))
