"""The salient colours of an object, and the names of colours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from handlens.geometry import WHOLE, Box
from handlens.understand import colours_of, salient_colours
from handlens.vision.image import load_photo
from handlens.wire.palette import COLOURS, PROTOTYPES, colour_word

RED, GREEN, WHITE = (200, 20, 30), (30, 140, 60), (255, 255, 255)


def scene(background: tuple[int, int, int], object_: tuple[int, int, int], side: int = 120) -> np.ndarray:
    """An object in the middle half of a plain background."""
    pixels = np.full((side, side, 3), background, np.uint8)
    pixels[side // 4 : side * 3 // 4, side // 4 : side * 3 // 4] = object_
    return pixels


@pytest.mark.parametrize("background", [WHITE, GREEN, (20, 20, 20), (230, 120, 20)])
def test_what_surrounds_the_object_is_not_its_colour(background: tuple[int, int, int]) -> None:
    photo = load_photo(scene(background, RED))
    for box in (WHOLE, Box(0.2, 0.2, 0.8, 0.8)):
        found = colours_of(photo, box)
        assert found[0].name == "red"
        assert found[0].share > 0.85
        assert found[0].rgb == pytest.approx(RED, abs=12)


def test_an_object_of_two_colours_has_both() -> None:
    pixels = scene(WHITE, RED)
    pixels[60:90, 30:90] = GREEN
    found = {colour.name: colour.share for colour in colours_of(load_photo(pixels), Box(0.2, 0.2, 0.8, 0.8))}
    assert set(found) == {"red", "green"}
    assert min(found.values()) > 0.3


def test_a_photo_of_one_colour_has_that_colour() -> None:
    assert [(one.name, one.share) for one in salient_colours(np.full((9, 7, 3), RED, np.uint8))] == [("red", 1.0)]


def test_a_box_at_the_edge_of_the_photo_works() -> None:
    pixels = np.full((100, 100, 3), WHITE, np.uint8)
    pixels[:, :40] = RED
    assert colours_of(load_photo(pixels), Box(0.0, 0.0, 0.4, 1.0))[0].name == "red"


def test_a_real_photo_gives_the_same_colours_each_time_whatever_was_asked_before() -> None:
    rng = np.random.default_rng(0)
    photo = load_photo(Image.fromarray(rng.integers(0, 255, (90, 120, 3), dtype=np.uint8)))
    first = colours_of(photo, Box(0.1, 0.2, 0.7, 0.9))
    colours_of(photo)
    assert colours_of(photo, Box(0.1, 0.2, 0.7, 0.9)) == first


@given(
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(0, 2**32 - 1),
    st.tuples(st.floats(0, 0.6), st.floats(0, 0.6), st.floats(0.05, 0.4), st.floats(0.05, 0.4)),
)
def test_shares_are_sorted_and_add_up_to_one_at_most(
    height: int, width: int, seed: int, edges: tuple[float, float, float, float]
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    x, y, across, down = edges
    for inside in (WHOLE, Box(x, y, x + across, y + down)):
        found = salient_colours(pixels, inside=inside)
        shares = [colour.share for colour in found]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) <= 1.001
        assert len({colour.name for colour in found}) == len(found)
        assert all(colour.name in COLOURS and all(0 <= one <= 255 for one in colour.rgb) for colour in found)


def test_every_basic_colour_is_named_by_its_own_prototypes() -> None:
    for name, rgb in PROTOTYPES:
        assert salient_colours(np.full((4, 4, 3), rgb, np.uint8))[0].name == name, rgb


@pytest.mark.parametrize(
    ("word", "name"), [("red", "red"), ("crimson", "red"), ("navy", "blue"), ("gray", "grey"), ("apple", None)]
)
def test_words_for_colours_mean_a_basic_colour(word: str, name: str | None) -> None:
    assert colour_word(word) == name
