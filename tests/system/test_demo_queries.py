"""The demo's promise, on its query photos: the right kind of thing, and what helps with that kind first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.paths import QUERIES

from handlens import Lens, Options, SearchResult

# What a person wants first of each kind of thing; a photo that is understood with too little confidence gets pictures.
WANTED_FIRST = {
    "animal": {"article"},
    "art": {"article"},
    "food": {"recipe"},
    "home": {"idea", "how_to", "product"},
    "media": {"how_to"},
    "place": {"article"},
    "plant": {"how_to"},
    "tool": {"how_to"},
}


@pytest.fixture(scope="module")
def results(demo_device: Path) -> list[tuple[dict[str, Any], SearchResult]]:
    queries = [json.loads(line) for line in (QUERIES / "queries.jsonl").read_text("utf-8").splitlines()]
    with Lens(Options(data_dir=demo_device)) as lens:
        return [(query, lens.search(QUERIES / query["image"])) for query in queries]


def test_the_right_type_comes_first_in_nine_of_ten(results: list[tuple[dict[str, Any], SearchResult]]) -> None:
    wrong = [query["image"] for query, result in results if result.objects[0].type != query["expect_type"]]
    assert len(wrong) <= 0.1 * len(results), wrong


def test_sections_stand_in_the_order_of_the_type(results: list[tuple[dict[str, Any], SearchResult]]) -> None:
    wrong = []
    for query, result in results:
        found = result.objects[0]
        first = found.sections[0].matches[0].kind
        if first not in WANTED_FIRST[found.type]:
            wrong.append((Path(query["image"]).name, found.type, first))
    assert len(wrong) <= 0.15 * len(results), wrong


def test_a_word_for_the_thing_is_among_the_first_five(results: list[tuple[dict[str, Any], SearchResult]]) -> None:
    wrong = []
    for query, result in results:
        words = [note.tag for note in result.objects[0].annotations[:5]]
        if not set(words) & set(query["expect_tags"]):
            wrong.append((Path(query["image"]).name, words))
    assert len(wrong) <= 0.2 * len(results), wrong


def test_every_photo_gets_an_answer(results: list[tuple[dict[str, Any], SearchResult]]) -> None:
    assert all(section.matches for _, result in results for found in result.objects for section in found.sections)
    assert all(result.objects[0].sections for _, result in results)
