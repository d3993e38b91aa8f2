"""Views show the photo's objects where their boxes say, and the same ones each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from handlens.vision.image import Photo, load_photo
from handlens_conversion.training.records import BoxedPhoto, TrainingOptions
from handlens_conversion.training.views import LEAST_SEEN, LEAST_SIDE, Seen, View, make_views

NOTHING = np.zeros((0, 4))
BOX = (0.3, 0.4, 0.5, 0.8)


@pytest.fixture
def photo() -> Photo:
    """A dark photo with a bright object in `BOX`."""
    pixels = np.full((200, 300, 3), 40, np.uint8)
    pixels[80:160, 90:150] = 250
    return load_photo(pixels)


def boxed(*boxes: tuple[float, ...], label: str = "lamp") -> BoxedPhoto:
    return BoxedPhoto(Path("lamp.jpg"), (300, 200), np.array(boxes).reshape(-1, 4), (label,) * len(boxes), NOTHING)


def views(photo: Photo, of: BoxedPhoto, **options: object) -> list[View]:
    made = TrainingOptions(**{"views": 30, **options})  # type: ignore[arg-type]
    return list(make_views(photo, of, made, key="lamp", side=160, resample="quad"))


def seen(photo: Photo, of: BoxedPhoto, **options: object) -> list[Seen]:
    return [view.cut.of(of) for view in views(photo, of, **options)]


def test_the_first_view_is_the_photo_as_a_device_sees_it(photo: Photo) -> None:
    first = views(photo, boxed(BOX))[0]
    assert np.array_equal(first.pixels, photo.pixels(size=(160, 160), resample="quad"))
    assert first.cut.of(boxed(BOX)).boxes == pytest.approx(np.array([BOX]))


def test_every_box_lies_on_its_object(photo: Photo) -> None:
    for view in views(photo, boxed(BOX)):
        for left, top, right, bottom in view.cut.of(boxed(BOX)).boxes * 160:
            inner = view.pixels[round(top) + 2 : round(bottom) - 2, round(left) + 2 : round(right) - 2]
            assert inner.size == 0 or inner.min() > 150  # bright, whatever the light was changed to


def test_a_box_that_is_hardly_seen_is_a_place_to_ignore(photo: Photo) -> None:
    made = seen(photo, boxed(BOX, (0.0, 0.0, 0.2, 0.2)), views=100)
    assert any(len(one.ignored) for one in made)
    assert LEAST_SEEN > 0
    assert all(len(one.boxes) == len(one.kept) for one in made)
    assert any(one.kept == (1,) for one in made)


def test_a_box_that_is_too_small_to_be_made_out_is_a_place_to_ignore_until_a_cut_enlarges_it(photo: Photo) -> None:
    side = 0.7 * LEAST_SIDE
    made = seen(photo, boxed((0.5, 0.5, 0.5 + side, 0.5 + side)), views=100)
    assert made[0].kept == ()
    assert made[0].ignored == pytest.approx(np.array([[0.5, 0.5, 0.5 + side, 0.5 + side]]))
    assert any(one.kept == (0,) for one in made)
    assert all(len(one.boxes) + len(one.ignored) <= 1 for one in made)


def test_other_boxes_of_a_photo_are_found_in_the_same_cuts(photo: Photo) -> None:
    others = boxed((0.2, 0.3, 0.6, 0.9), BOX)
    for view in views(photo, boxed(BOX)):
        own, both = view.cut.of(boxed(BOX)), view.cut.of(others)
        assert np.array_equal(own.boxes, both.boxes[[at == 1 for at in both.kept]])


def test_the_same_seed_gives_the_same_views_and_another_seed_others(photo: Photo) -> None:
    first, again, other = (views(photo, boxed(BOX), seed=seed)[3].pixels for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_labels_that_point_somewhere_are_not_mirrored() -> None:
    pixels = np.zeros((200, 200, 3), np.uint8)
    pixels[:, :100] = 255  # bright on the left
    photo, of = load_photo(pixels), boxed((0.1, 0.1, 0.9, 0.9), label="turn left")

    def is_mirrored(view: View) -> bool:
        return bool(view.pixels[:, -40:].mean() > view.pixels[:, :40].mean() + 20)

    assert any(map(is_mirrored, views(photo, of)))
    assert not any(map(is_mirrored, views(photo, of, directed=("turn left",))))
    assert not any(map(is_mirrored, views(photo, of, mirror=False)))


def test_photos_without_boxes_have_few_views(photo: Photo) -> None:
    assert len(views(photo, boxed(), background_views=3)) == 3
    assert len(views(photo, boxed(), views=2)) == 2
