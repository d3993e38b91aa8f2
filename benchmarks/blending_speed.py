"""What understanding and blending cost, by step, for 300 candidates.

    python benchmarks/blending_speed.py --out benchmarks/results/blending_speed.json

The device is the demo's; its 38 query photographs are understood from 40 neighbours each, as a search does. For the
blend 300 candidates are drawn (seeded) from the demo catalogue for each photo: half by likeness, half by words, with
scores as the sources give them. Steps are timed apart, each as the median over the photos of the best of several runs:

* understand: fusion of detector, classifier and neighbours.
* standing: curves, age, language, audience, and the ranking.
* rows: which section takes which candidate.
* seats: shares, variety (MMR), groups.
* blend: all of it, sections and their `why` included; explore: the same in an answer that explores.

Target: understand + blend at most 3 ms. Exit code 1 when it is missed.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "sdk"))
sys.path.insert(0, str(Path(__file__).parents[1] / "server"))

from blending_cases import ROOT, Pipeline, catalogue_of
from measure import machine, make_device, target, write_json

from handlens.blend import Policy, blend
from handlens.blend.seats import Seats, hamilton, rows_of
from handlens.blend.standing import Ask, standings
from handlens.results import Candidate, Understanding
from handlens.store import Store
from handlens.understand import understand

CANDIDATES, LIMIT, RUNS = 300, 12, 7
SETTINGS: dict[str, Any] = {"limit": LIMIT, "request_id": "speed", "as_of": "2026-06-01T00:00:00Z", "locale": "en"}
TARGET_MS = 3.0


def best_of(call: Callable[[], Any]) -> float:
    """Milliseconds of the fastest run: what the step costs when nobody disturbs it."""
    times = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        call()
        times.append((time.perf_counter() - begun) * 1000)
    return min(times)


def draw(items: list[Any], drawn: random.Random) -> list[Candidate]:
    chosen = [drawn.randrange(len(items)) for _ in range(CANDIDATES)]
    return [
        Candidate(key, items[key], source, drawn.uniform(0.3, 0.9), f"{source} offer")
        for at, key in enumerate(chosen)
        for source in (("visual", "annotation")[at % 2],)
    ]


def steps_of(candidates: list[Candidate], understanding: Understanding, policy: Policy) -> dict[str, float]:
    ask = Ask(**SETTINGS)
    ranked = standings(candidates, understanding, policy, ask)
    rules = policy.rules(understanding.object_type, understanding.type_confidence)
    rows = rows_of(rules, ranked)

    def seat() -> None:
        for one in ranked:
            one.beside = None
        seats = Seats(rows, LIMIT, policy.diversity)
        seats.deal(hamilton([rule.share for rule in rules], LIMIT))
        seats.deal([LIMIT] * len(rules))

    always = Policy.from_json(json.dumps({**policy.raw, "exploration": {"answers": 1, "slots": 0.34, "pool": 20}}))
    return {
        "standing": best_of(lambda: standings(candidates, understanding, policy, ask)),
        "rows": best_of(lambda: rows_of(rules, ranked)),
        "seats": best_of(seat),
        "blend": best_of(lambda: blend(candidates, understanding, policy, **SETTINGS)),
        "explore": best_of(lambda: blend(candidates, understanding, always, explore=True, **SETTINGS)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    parser.add_argument("--device", type=Path, help="a device with the demo installed; one is made without it")
    options = parser.parse_args()
    policy = Policy.from_json((ROOT / "models" / "policy.json").read_bytes())
    items, drawn = catalogue_of(), random.Random(0)
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        device = options.device or make_device(Path(folder), threads=2)
        with Store.open(device) as store:
            pipeline = Pipeline(store, 2)
            for line in (ROOT / "demo" / "queries" / "queries.jsonl").read_text("utf-8").splitlines():
                evidence = pipeline.evidence(ROOT / "demo" / "queries" / json.loads(line)["image"], "")
                understanding = understand(evidence, pipeline.taxonomy)
                row = {"understand": best_of(lambda evidence=evidence: understand(evidence, pipeline.taxonomy))}
                rows.append(row | steps_of(draw(items, drawn), understanding, policy))
    figures = {step: round(statistics.median(row[step] for row in rows), 4) for step in rows[0]}
    worst = max(row["understand"] + row["blend"] for row in rows)
    for step, value in figures.items():
        print(f"{step:12} {value:7.3f} ms")
    claims = [target("understand + blend, ms, median photo", figures["understand"] + figures["blend"], TARGET_MS),
              target("understand + blend, ms, slowest photo", worst, TARGET_MS)]  # fmt: skip
    write_json(options.out, {"machine": machine(), "candidates": CANDIDATES, "steps_ms": figures, "targets": claims})
    if not all(claim["met"] for claim in claims):
        sys.exit(1)


if __name__ == "__main__":
    main()
