"""What a user adds in words: colours are conditions, text is harmless."""

from __future__ import annotations

from typing import Any

import pytest
from support.paths import QUERIES

from handlens import Lens, Options
from handlens.blend import Policy, Refinement, blend, refined
from handlens.results import Candidate, Understanding
from handlens.wire.item import Item

CITRUS = QUERIES / "images" / "citrus-slices.jpg"


def item(key: int, title: str = "Dress", **attributes: Any) -> Item:
    return Item(f"i{key}", "product", "fashion", title, annotations={"dress": 1.0}, attributes=attributes)


def offer(one: Item, score: float = 0.8) -> Candidate:
    return Candidate(int(one.item_id[1:]), one, "visual", score, "")


RED = item(1, colours={"red": 0.9})
BLUE = item(2, colours={"blue": 0.9})
HALF = item(3, colours={"black": 0.5, "red": 0.4})
SAID = item(4, colour="crimson")
UNKNOWN = item(5)


@pytest.mark.parametrize(
    ("one", "suits", "forbids"),
    [
        (RED, True, False),
        (BLUE, False, True),
        (HALF, True, False),
        (SAID, True, False),
        (UNKNOWN, False, False),
        (item(6, "Red dress", colours={"blue": 0.9}), True, False),  # what is said counts before what is seen
        (item(6, "A shredded dress", colours={"red": 0.2}), False, False),  # too little of it
        (item(6, colours=["red"]), False, False),  # not ours: passed over
        (item(6, colours={"red": "much", "blue": True, "mauve": 0.9}), False, False),
    ],
)
def test_an_item_has_the_colours_that_are_said_or_else_seen(one: Item, suits: bool, forbids: bool) -> None:
    wish = Refinement.parse("red")
    assert (wish.suits(one), wish.forbids(one)) == (suits, forbids)


def test_the_more_of_an_item_has_the_colour_the_more_it_counts() -> None:
    wish = Refinement.parse("red")
    assert wish.hits(RED) > wish.hits(HALF) > wish.hits(UNKNOWN) == 0


def test_other_colours_are_left_out_where_any_thing_has_the_colour() -> None:
    offers = [offer(BLUE), offer(UNKNOWN), offer(RED)]
    assert [one.item for one in refined(offers, "red")] == [UNKNOWN, RED]
    assert refined(offers, "green") == offers
    assert refined(offers, "dress") == offers
    assert refined(offers, None) == offers


def test_more_neighbours_are_looked_at_for_a_colour_only() -> None:
    assert Refinement.parse("red").breadth > 1
    assert Refinement.parse("recipe with basil").breadth == 1


def test_a_colour_is_looked_for_in_texts_too() -> None:
    assert Refinement.parse("orange juice").terms == ("juice", "orange")


def test_what_has_the_colour_is_shown_however_unlike_it_is_but_only_of_the_objects_type() -> None:
    policy = Policy.from_json((QUERIES.parents[1] / "models" / "policy.json").read_bytes())
    far = [offer(RED, 0.02), Candidate(9, Item("i9", "product", "tool", "Red hammer"), "visual", 0.02, "")]
    shown = blend(far, Understanding("fashion", 0.95, ()), policy, limit=5, request_id="r", refine="red")
    assert [match.item.item_id for section in shown for match in section.matches] == ["i1"]


ODD = [
    "red" * 4000,
    "red " * 2500,
    '"recipe" OR title:*',
    "NEAR(a b, 5) AND NOT (x",
    "tags : ^orange* + -",
    "'; DROP TABLE items; --",
    '""""',
    "\x00\ud800 orange",
    "🍊 ﷽ ",
]


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_odd_text_is_harmless(device: Any, text: str) -> None:
    with Lens(Options(data_dir=device)) as lens:
        result = lens.search(CITRUS, refine=text)
        assert result.objects[0].sections
        plain = lens.search(CITRUS)
        assert {section.name for section in plain.objects[0].sections}


def test_pictures_have_the_colour_that_was_asked_for(device: Any) -> None:
    """In the demo nothing says its colour: the backend saw it."""
    wish = Refinement.parse("blue")
    with Lens(Options(data_dir=device)) as lens:
        found = lens.search(QUERIES / "images" / "windmill.jpg", refine="blue").objects[0]
    shown = [match.item for section in found.sections for match in section.matches]
    assert any(wish.suits(one) and "colours" in one.attributes for one in shown)
    assert not any(wish.forbids(one) for one in shown)
