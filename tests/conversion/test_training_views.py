"""Views show the photo's objects where their boxes say, and the same ones each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from handlens.vision.image import Photo, load_photo
from handlens_conversion.training.records import BoxedPhoto, TrainingOptions
from handlens_conversion.training.targets import CERTAIN, heat_targets, inside
from handlens_conversion.training.views import LEAST_SEEN, View, make_views

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


def test_the_first_view_is_the_photo_as_a_device_sees_it(photo: Photo) -> None:
    first = views(photo, boxed(BOX))[0]
    assert np.array_equal(first.pixels, photo.pixels(size=(160, 160), resample="quad"))
    assert first.boxes == pytest.approx(np.array([BOX]))


def test_every_box_lies_on_its_object(photo: Photo) -> None:
    for view in views(photo, boxed(BOX)):
        for left, top, right, bottom in view.boxes * 160:
            inner = view.pixels[round(top) + 2 : round(bottom) - 2, round(left) + 2 : round(right) - 2]
            assert inner.size == 0 or inner.min() > 150  # bright, whatever the light was changed to


def test_a_box_that_is_hardly_seen_is_a_place_to_ignore(photo: Photo) -> None:
    made = views(photo, boxed(BOX, (0.0, 0.0, 0.2, 0.2)), views=100)
    assert any(len(view.ignored) for view in made)
    assert LEAST_SEEN > 0
    assert all(len(view.boxes) == len(view.kept) for view in made)
    assert any(view.kept == (1,) for view in made)


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


def test_a_target_is_certain_at_the_box_s_middle_alone_and_falls_off_around_it() -> None:
    targets = heat_targets(np.array([[0.25, 0.25, 0.75, 0.75]]), [1], labels=2, side=40)
    assert targets[20, 20, 1] == CERTAIN
    assert (targets == CERTAIN).sum() == 1
    assert targets[20, 22, 1] > targets[20, 25, 1] > targets[20, 39, 1] == 0
    assert not targets[:, :, 0].any()


def test_a_wide_box_has_a_wide_target() -> None:
    targets = heat_targets(np.array([[0.0, 0.4, 1.0, 0.6]]), [0], labels=1, side=40)[:, :, 0]
    assert targets[20, 24] > targets[24, 20]


def test_the_smallest_box_at_the_border_still_has_a_middle() -> None:
    targets = heat_targets(np.array([[0.999, 0.999, 1.0, 1.0]]), [0], labels=1, side=40)
    assert targets[39, 39, 0] == CERTAIN


def test_where_boxes_meet_the_larger_value_stands() -> None:
    boxes = np.array([[0.1, 0.1, 0.5, 0.5], [0.2, 0.2, 0.6, 0.6]])
    both = heat_targets(boxes, [0, 0], labels=1, side=40)
    alone = [heat_targets(boxes[at : at + 1], [0], labels=1, side=40) for at in (0, 1)]
    assert np.array_equal(both, np.maximum(*alone))


def test_cells_inside_boxes_are_told() -> None:
    assert inside(np.array([[0.0, 0.0, 0.5, 0.25]]), side=4).sum() == 6
    assert not inside(NOTHING, side=4).any()
