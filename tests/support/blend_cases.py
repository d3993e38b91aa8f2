"""Golden cases of the blend: offers, what they were understood to be for, a kept policy, and the sections that follow.

    PYTHONPATH=sdk:tests python tests/support/blend_cases.py      writes the cases again, after a change that is meant

Device, server and every later version must give these sections for these offers. The policies are copies that are kept
(`tests/sdk/policies`), so that an editor's change of the shipped policy changes no case.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from handlens.blend import Policy, blend
from handlens.results import Annotation, Candidate, Section, Understanding
from handlens.wire.item import KINDS, OBJECT_TYPES, Item

FOLDER = Path(__file__).resolve().parents[1] / "sdk"
CASES = FOLDER / "blend_cases.json"
POLICIES = {name: FOLDER / "policies" / f"{name}.json" for name in ("format-1", "format-2")}
AS_OF = "2026-06-01T00:00:00Z"
_WORDS = ("orange", "lemon", "cake", "garden", "old", "red", "winter", "stone", "paper", "city")


def load() -> dict[str, Any]:
    return dict(json.loads(CASES.read_text("utf-8")))


def candidates_of(offers: list[list[Any]], items: dict[str, Item]) -> list[Candidate]:
    keys = {item_id: at for at, item_id in enumerate(sorted(items))}
    return [Candidate(keys[one], items[one], source, score, f"{source} {score}") for one, source, score in offers]


def answer(case: dict[str, Any], offers: list[Candidate], policies: dict[str, Policy]) -> tuple[Section, ...]:
    notes = tuple(Annotation(tag, confidence) for tag, confidence in case["words"])
    return blend(
        offers,
        Understanding(case["type"], case["confidence"], notes),
        policies[case["policy"]],
        limit=case["limit"],
        request_id=case["request_id"],
        refine=case["refine"],
        as_of=AS_OF,
        locale=case["locale"],
        explore=case["explore"],
    )


def told(sections: tuple[Section, ...]) -> list[list[Any]]:
    """Sections as the cases hold them: name, title, and each match by id, source, value and propensity."""
    return [
        [
            one.name,
            one.title,
            [
                [match.item.item_id, match.why.source, round(match.score, 6), round(match.why.propensity, 6)]
                for match in one.matches
            ],
        ]
        for one in sections
    ]


def _items(drawn: random.Random) -> Iterator[Item]:
    for at in range(80):
        tags = drawn.sample(_WORDS, 3)
        yield Item(
            item_id=f"{KINDS[at % 7]}-{at:02}",
            kind=KINDS[at % 7],
            object_type=OBJECT_TYPES[at * 7 % 15],
            title=f"{tags[0].title()} and {tags[1]} {at}",
            annotations={tag: round(drawn.uniform(0.3, 1.0), 2) for tag in tags},
            locale=drawn.choice(["en", "en", "en", ""]),
            group_id=drawn.choice([None, None, None, "a", "b", "c"]),
            quality=drawn.choice([0.5, 0.7, 0.8]),
            created_at=drawn.choice(["", "2026-01-01T00:00:00Z", "2024-01-01T00:00:00Z"]),
        )


def _asked(drawn: random.Random) -> Iterator[dict[str, Any]]:
    for policy in POLICIES:
        for object_type in OBJECT_TYPES:
            for confidence in (0.95, 0.55, 0.2):
                yield {
                    "policy": policy,
                    "type": object_type,
                    "confidence": confidence,
                    "words": [[drawn.choice(_WORDS), drawn.choice([0.9, 0.5, 0.2])]],
                    "limit": drawn.choice([1, 5, 12, 20]),
                    "request_id": f"request-{drawn.randrange(10**6)}",
                    "refine": drawn.choice([None, None, None, "recipe", "red", "places"]),
                    "locale": drawn.choice(["en", ""]),
                    "explore": policy == "format-2" and drawn.random() < 0.5,
                }


def main() -> None:
    drawn = random.Random(20260101)
    items = list(_items(drawn))
    offers = [[one.item_id, source, round(drawn.random(), 3)] for one in items for source in ("annotation", "visual")]
    offers += [[one.item_id, "curated", 0.9] for one in items[::17]]
    offers += [[one.item_id, "object", round(drawn.random(), 3)] for one in items[::5]]
    candidates = candidates_of(offers, {one.item_id: one for one in items})
    policies = {name: Policy.from_json(path.read_bytes()) for name, path in POLICIES.items()}
    cases = [case | {"sections": told(answer(case, candidates, policies))} for case in _asked(drawn)]
    lines = [f'"items": [\n{_lines(one.to_dict() for one in items)}\n]', f'"offers": {json.dumps(offers)}',
             f'"cases": [\n{_lines(cases)}\n]']  # fmt: skip
    CASES.write_text("{" + ",\n".join(lines) + "}\n", "utf-8")


def _lines(values: Any) -> str:
    return ",\n".join(json.dumps(one, sort_keys=True) for one in values)


if __name__ == "__main__":
    main()
