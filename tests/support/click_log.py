"""Users with a known mind: answers by a policy that explores, and what was opened, as events a device would send.

A user looks at place k with the chance ``1 / k`` and then opens an item by its merit, which is written in the item's
quality. So what any policy would earn is known, and estimates can be held against it.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from typing import Any

from handlens.blend import Policy, blend, explain
from handlens.feedback import exposure_of
from handlens.geometry import WHOLE
from handlens.results import Annotation, Candidate, FoundObject, Region, Section, Understanding
from handlens.wire.event import Event
from handlens.wire.item import Item

LIMIT = 6
AT = "2026-03-01T10:00:00Z"
SEEN = Understanding("food", 0.9, (Annotation("orange", 0.8),))
# Recipes are what these users like best, articles least; which item of a kind is good, no source knows.
MERITS = {"recipe": 0.7, "how_to": 0.4, "article": 0.15}
ITEMS = {
    f"{kind}-{n}": Item(f"{kind}-{n}", kind, "food", f"{kind} {n}", quality=merit * (0.4 + 0.15 * n))
    for kind, merit in MERITS.items()
    for n in range(5)
}


def a_policy(*kinds: str, answers: float = 1.0, slots: float = 1.0, version: str = "log", **more: Any) -> Policy:
    """Sections in this order of kinds, with half of the places for the first."""
    rest = 0.5 / (len(kinds) - 1) if len(kinds) > 1 else 0.0
    sections = [
        {"name": kind, "title": kind, "sources": ["annotation"], "kinds": [kind],
         "share": 0.5 if at == 0 and rest else rest or 1.0}
        for at, kind in enumerate(kinds)
    ]  # fmt: skip
    values = {
        "format": 2,
        "version": version,
        "gates": {"annotation": 0.25},
        "diversity": {"max_per_group": 9},
        "exploration": {"answers": answers, "slots": slots, "pool": 5, "salt": "s"},
        "types": {},
        "default": {"sections": sections},
        "fallback": {"name": "closest", "title": "The closest we have"},
    }
    return Policy.from_json(json.dumps(values | more))


def offers(drawn: random.Random) -> list[Candidate]:
    """What the sources say about one photo: scores that know nothing of merit."""
    return [
        Candidate(key, item, "annotation", round(drawn.uniform(0.2, 0.9), 4), "")
        for key, item in enumerate(ITEMS.values())
    ]


def worth(policy: Policy, photos: list[list[Candidate]]) -> float:
    """What the policy truly earns: opened items an answer."""
    return sum(_earned(_shown(policy, photo)) for photo in photos) / len(photos)


def events(policy: Policy, photos: list[list[Candidate]], drawn: random.Random) -> Iterator[Event]:
    """The log of a policy: a search each, and what was opened."""
    for photo in photos:
        request_id = f"{drawn.getrandbits(64):016x}"
        settings = {"limit": LIMIT, "request_id": request_id, "as_of": AT, "explore": True}
        sections = blend(photo, SEEN, policy, **settings)
        found = FoundObject(Region(WHOLE, "whole"), SEEN, sections, decision=explain(photo, SEEN, policy, **settings))
        yield _event("search", request_id, drawn, object_type="food", exposure=exposure_of(found, policy.version))
        for at, item in enumerate(_items(sections), start=1):
            if drawn.random() < item.quality / at:
                yield _event("click", request_id, drawn, item_id=item.item_id)


def _event(kind: str, request_id: str, drawn: random.Random, **fields: Any) -> Event:
    event_id = str(uuid.UUID(int=drawn.getrandbits(128), version=4))
    return Event(event_id, kind, AT, request_id, "r1", **fields)


def _shown(policy: Policy, photo: list[Candidate]) -> list[Item]:
    return _items(blend(photo, SEEN, policy, limit=LIMIT, request_id="worth", as_of=AT))


def _items(sections: tuple[Section, ...]) -> list[Item]:
    return [match.item for section in sections for match in section.matches]


def _earned(items: list[Item]) -> float:
    return sum(item.quality / at for at, item in enumerate(items, start=1))
