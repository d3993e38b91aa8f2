"""LiteRT and tflite-runtime answer alike: the same type for every query photo, and nearly the same matches.

The two compute quantized operators with different kernels, so scores differ in the second decimal and neighbours of
equal worth change places. Tolerances: the type of the first object is the same for every photo; edges of boxes differ
by at most 0.02 of the photo, detection scores by at most 0.05; nine of ten photos have the same first match, and on
average nine of ten matches are the same.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.paths import QUERIES, ROOT

TFLITE_PYTHON = os.environ.get("HANDLENS_TFLITE_PYTHON", "")
PHOTOS = sorted(str(path) for path in (QUERIES / "images").iterdir())
EDGE, SCORE, SAME = 0.02, 0.05, 0.9

pytestmark = pytest.mark.skipif(
    not TFLITE_PYTHON, reason="HANDLENS_TFLITE_PYTHON names no Python with tflite-runtime; scripts/test makes one"
)


def searched(python: str, runtime: str, device: Path) -> dict[str, Any]:
    script = ROOT / "tests" / "support" / "search_queries.py"
    done = subprocess.run(
        [python, str(script), str(device), runtime, *PHOTOS],
        env={**os.environ, "PYTHONPATH": str(ROOT / "sdk")},
        capture_output=True,
        check=True,
        text=True,
    )
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


@pytest.fixture(scope="module")
def answers(demo_device: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The first object of each photo, as each runtime sees it."""
    told = [searched(sys.executable, "litert", demo_device), searched(TFLITE_PYTHON, "tflite", demo_device)]
    assert told[0]["runtime"].startswith("ai-edge-litert")
    assert told[1]["runtime"].startswith("tflite-runtime")
    return [tuple(one["answers"][photo]["objects"][0] for one in told) for photo in PHOTOS]  # type: ignore[misc]


def matches(found: dict[str, Any]) -> list[str]:
    return [match["item_id"] for section in found["sections"] for match in section["matches"]]


def test_every_photo_has_the_same_type(answers: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    assert [first["type"] for first, _ in answers] == [second["type"] for _, second in answers]


def test_boxes_and_scores_agree_within_the_tolerances(answers: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    for first, second in answers:
        assert first["label"] == second["label"]
        assert first["box"] == pytest.approx(second["box"], abs=EDGE)
        assert first["score"] == pytest.approx(second["score"], abs=SCORE)


def test_matches_are_nearly_the_same(answers: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    same_first = [matches(first)[:1] == matches(second)[:1] for first, second in answers]
    shared = [len(set(matches(a)) & set(matches(b))) / max(len(matches(a)), len(matches(b))) for a, b in answers]
    assert sum(same_first) >= SAME * len(answers)
    assert sum(shared) >= SAME * len(shared)
