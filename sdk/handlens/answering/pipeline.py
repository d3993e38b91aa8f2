"""From what was seen to the sections of the answer: neighbours -> understand -> sources -> blend, object by object.

The sources are asked one after another. They take some hundred microseconds each, in which Python's lock would let
threads wait for each other (figures: docs/adr/0010-one-answer-on-both-sides.md); so a deadline is looked at before each
source, and the first, which needs no more than the neighbours that are known already, is always asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from handlens.answering.beside import AtOnce, Beside
from handlens.answering.clock import Stopwatch
from handlens.answering.looking import Look, Seen
from handlens.answering.neighbours import Catalogue, neighbours_of
from handlens.blend import Policy, Refinement, blend, explain, explores, refined
from handlens.decision import Decision
from handlens.errors import HandlensError
from handlens.options import Options
from handlens.results import (
    Candidate,
    Coverage,
    Evidence,
    FoundObject,
    LeftOut,
    Neighbour,
    Query,
    Region,
    Section,
    Understanding,
)
from handlens.sources import AnnotationSource, CuratedSource, ObjectSource, Source, VisualSource
from handlens.understand import FusionWeights, understand
from handlens.wire.pack import encode_codes
from handlens.wire.taxonomy import Taxonomy

__all__ = ["Answer", "Answerer", "Ask", "could_improve"]

_BY_LIKENESS = ("visual", "object")  # the sources that have nothing to offer without neighbours


@dataclass(frozen=True, slots=True)
class Ask:
    """What one request asks for besides its photo.

    `limit` is the most matches an object. `deadline_ms` counts from when the request came, None waits for all. `day` is
    today in UTC, such as 2026-01-31. Chance has a part in the answer only with `explore`: where what it teaches may
    come back. With `explain` every object carries its decision. Items of other kinds than `kinds` are not offered, but
    still say what they are like to; none names all. `audience` is whom the policy asks about.
    """

    request_id: str
    limit: int
    refine: str | None = None
    locale: str = ""
    deadline_ms: float | None = None
    day: str = ""
    explore: bool = False
    explain: bool = False
    kinds: tuple[str, ...] = ()
    audience: str = "all"


@dataclass(frozen=True, slots=True)
class Answer:
    """The objects with their sections, the main one first, and what took no part."""

    objects: tuple[FoundObject, ...]
    left_out: tuple[LeftOut, ...]


@dataclass(slots=True)
class _Losses:
    """Sources that took no part so far, each once, and the first failure."""

    left_out: dict[str, LeftOut] = field(default_factory=dict)
    failure: HandlensError | None = None

    def failed(self, source: str, error: HandlensError) -> None:
        self.left_out.setdefault(source, LeftOut(source, str(error)))
        self.failure = self.failure or error

    def late(self, source: str, deadline: float) -> None:
        self.left_out.setdefault(source, LeftOut(source, f"the deadline of {deadline:g} ms was over", is_late=True))


class Answerer:
    """Answers from one state of a catalogue by one taxonomy and policy. Thread-safe as its catalogue is.

    `weights` are the parameters of understanding that came with the embedder (`ModelSpec.understanding`). `as_of` is
    when the release was made that the policy is of: items age by it (ISO 8601).
    """

    def __init__(
        self,
        catalogue: Catalogue,
        taxonomy: Taxonomy,
        policy: Policy,
        options: Options,
        *,
        weights: FusionWeights,
        as_of: str = "",
    ) -> None:
        self._catalogue = catalogue
        self._taxonomy = taxonomy
        self._policy = policy
        self._weights = weights
        self._as_of = as_of
        self._neighbours = options.neighbours
        gates = policy.gates
        self.sources: tuple[Source, ...] = (
            VisualSource(),
            ObjectSource(gate=gates.annotation),
            CuratedSource(catalogue, policy.picks, gates),
            AnnotationSource(catalogue, gate=gates.annotation),
        )

    def answer(self, seen: Sequence[Seen], ask: Ask, clock: Stopwatch) -> Answer:
        """The answer to what was seen.

        Raises:
            HandlensError: sources failed, and the others had nothing to offer.
        """
        return self.answer_each([lambda: tuple(seen)], ask, clock, AtOnce())

    def answer_each(self, looks: Iterable[Look], ask: Ask, clock: Stopwatch, beside: Beside) -> Answer:
        """As `answer`: what was seen is answered `beside` while the next objects are looked at.

        Raises:
            HandlensError: sources failed, and the others had nothing to offer; or an object could not be seen.
        """
        losses = _Losses()
        coming = [beside.submit(self._objects, one, ask, clock, losses) for one in looks]
        objects = tuple(found for one in coming for found in one.result())
        if losses.failure is not None and not any(found.sections for found in objects):
            raise losses.failure
        return Answer(objects, tuple(losses.left_out.values()))

    def _objects(self, look: Look, ask: Ask, clock: Stopwatch, losses: _Losses) -> list[FoundObject]:
        return [self._object(seen, ask, clock, losses) for seen in look()]

    def _object(self, seen: Seen, ask: Ask, clock: Stopwatch, losses: _Losses) -> FoundObject:
        with clock.step("index"):
            neighbours = self._near(seen, ask, losses)
        with clock.step("understand"):
            nearest = neighbours[: self._neighbours]
            evidence = Evidence(_detection(seen.region), seen.label_scores, nearest, seen.colours)
            understanding = understand(evidence, self._taxonomy, weights=self._weights)
        with clock.step("sources"):
            candidates = self._candidates(understanding, neighbours, seen.region, ask, clock, losses)
        with clock.step("blend"):
            sections, decision = self._blend(candidates, understanding, ask)
        code = encode_codes(seen.vector[None])[0].tobytes()
        return FoundObject(seen.region, understanding, sections, code, seen.label_scores, decision)

    def _blend(
        self, candidates: list[Candidate], understanding: Understanding, ask: Ask
    ) -> tuple[tuple[Section, ...], Decision | None]:
        settings: dict[str, Any] = {
            "limit": ask.limit,
            "request_id": ask.request_id,
            "refine": ask.refine,
            "as_of": self._as_of,
            "locale": ask.locale,
            "explore": ask.explore,
            "audience": ask.audience,
        }
        sections = blend(candidates, understanding, self._policy, **settings)
        wanted = ask.explain or (ask.explore and explores(self._policy.exploration, ask.request_id))
        return sections, explain(candidates, understanding, self._policy, **settings) if wanted else None

    def _breadth(self, ask: Ask) -> int:
        """Neighbours to look at: more of them where what was asked for in words is rare."""
        return self._neighbours * Refinement.parse(ask.refine).breadth

    def _near(self, seen: Seen, ask: Ask, losses: _Losses) -> tuple[Neighbour, ...]:
        try:
            return neighbours_of(self._catalogue, seen.vector, self._breadth(ask))
        except HandlensError as error:
            for name in _BY_LIKENESS:
                losses.failed(name, error)
            return ()

    def _candidates(
        self,
        understanding: Understanding,
        neighbours: tuple[Neighbour, ...],
        region: Region,
        ask: Ask,
        clock: Stopwatch,
        losses: _Losses,
    ) -> list[Candidate]:
        query = Query(
            understanding,
            neighbours,
            self._breadth(ask),
            ask.locale,
            ask.refine,
            has_object=region.found_by != "whole",
            day=ask.day,
        )
        found: list[Candidate] = []
        for source in self.sources:
            if source is not self.sources[0] and ask.deadline_ms is not None and clock.elapsed >= ask.deadline_ms:
                losses.late(source.name, ask.deadline_ms)
                continue
            try:
                found += source.candidates(query)
            except HandlensError as error:
                losses.failed(source.name, error)
        if ask.kinds:
            found = [one for one in found if one.item.kind in ask.kinds]
        return refined(_by_one_key(found), ask.refine)


def could_improve(answer: Answer, policy: Policy, coverage: Coverage) -> bool:
    """Whether asking a server that has the whole catalogue could bring a better answer.

    It could where packs are missing here, where a source took no part, where the main object was not understood, or
    where nothing like it was found.
    """
    if not coverage.is_whole or answer.left_out or not answer.objects:
        return True
    main = answer.objects[0]
    return main.understanding.type_confidence < policy.gates.type or not main.sections


def _detection(region: Region) -> tuple[str, float] | None:
    return None if region.label is None else (region.label, region.score)


def _by_one_key(candidates: list[Candidate]) -> list[Candidate]:
    """The candidates, each item by the smallest of its keys: an item that two packs hold has two, and is one."""
    keys: dict[str, int] = {}
    has_others = False
    for one in candidates:
        key = keys.setdefault(one.item.item_id, one.item_key)
        if key != one.item_key:
            has_others = True
            keys[one.item.item_id] = min(key, one.item_key)
    if not has_others:
        return candidates
    return [one._replace(item_key=keys[one.item.item_id]) for one in candidates]
