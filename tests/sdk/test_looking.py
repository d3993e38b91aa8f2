"""Looking at a photo with a deadline: what there is no time for is left out and named, the main object never."""

from __future__ import annotations

import pytest
from support.paths import MODELS, QUERIES

from handlens.answering import Hurry, Stopwatch, look, look_in_time
from handlens.geometry import WHOLE, Box
from handlens.options import Options
from handlens.vision.detector import Detector
from handlens.vision.embedder import Embedder
from handlens.vision.image import Photo, load_photo

OPTIONS = Options(max_objects=3)


@pytest.fixture(scope="module")
def models() -> tuple[Detector, Embedder]:
    return Detector.open(MODELS / "detector", threads=1), Embedder.open(MODELS / "embedder", threads=1)


@pytest.fixture(scope="module")
def citrus() -> Photo:
    return load_photo(QUERIES / "images" / "citrus-slices.jpg")


def standing(milliseconds: float = 0.0) -> Stopwatch:
    """A clock that stands at so many milliseconds."""
    return Stopwatch(lambda: milliseconds / 1000, begun=0.0)


def test_with_time_for_all_it_is_what_looking_without_a_deadline_is(
    models: tuple[Detector, Embedder], citrus: Photo
) -> None:
    seen, left_out = look_in_time(citrus, *models, None, OPTIONS, standing(), Hurry(1000, detect=10, one=10))
    other = look(citrus, *models, None, OPTIONS, Stopwatch())
    assert left_out == ()
    assert [one.region for one in seen] == [one.region for one in other]
    assert [one.vector.tolist() for one in seen] == [one.vector.tolist() for one in other]
    assert [(one.label_scores, one.colours) for one in seen] == [(one.label_scores, one.colours) for one in other]
    assert len(seen) > 1


def test_without_time_for_the_detector_the_whole_photo_is_the_object(
    models: tuple[Detector, Embedder], citrus: Photo
) -> None:
    clock = standing(90)
    (seen,), (left_out,) = look_in_time(citrus, *models, None, OPTIONS, clock, Hurry(150, detect=40, one=30))
    assert (seen.region.box, seen.region.found_by, seen.region.is_main) == (WHOLE, "whole", True)
    assert (left_out.source, left_out.is_late) == ("detector", True)
    assert "150 ms" in left_out.reason
    assert "detect" not in clock.milliseconds


def test_without_time_for_all_objects_the_main_one_is_looked_at(
    models: tuple[Detector, Embedder], citrus: Photo
) -> None:
    (seen,), (left_out,) = look_in_time(citrus, *models, None, OPTIONS, standing(90), Hurry(150, detect=0, one=40))
    assert seen.region == look(citrus, *models, None, OPTIONS, Stopwatch())[0].region
    assert (left_out.source, left_out.is_late) == ("objects", True)


def test_the_users_own_box_is_looked_at_whatever_the_time(models: tuple[Detector, Embedder], citrus: Photo) -> None:
    box = Box(0.1, 0.2, 0.7, 0.9)
    (seen,), left_out = look_in_time(citrus, *models, box, OPTIONS, standing(900), Hurry(150, detect=40, one=30))
    assert (seen.region.box, left_out) == (box, ())


def test_a_clock_may_have_begun_before_it_was_made() -> None:
    clock = standing(40)
    assert clock.elapsed == 40
    clock.add("queue", 0.0, 0.03)
    with clock.step("decode"):
        pass
    assert clock.milliseconds == {"queue": 30, "decode": 0}
    assert clock.laps == [("queue", 0.0, 0.03), ("decode", 0.04, 0.04)]
