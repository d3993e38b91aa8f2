"""Work beside a running model: in a thread or at once, it comes to the same answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from support.paths import MODELS, QUERIES

from handlens.answering import Stopwatch, look, look_each, thread_beside
from handlens.answering.beside import AtOnce, Beside
from handlens.geometry import Box
from handlens.options import Options
from handlens.vision.detector import Detector
from handlens.vision.embedder import Embedder
from handlens.vision.image import Photo, load_photo


@pytest.fixture(params=["a thread", "at once"])
def beside(request: pytest.FixtureRequest) -> Iterator[Beside]:
    made = AtOnce() if request.param == "at once" else thread_beside(models=0)
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def models() -> tuple[Detector, Embedder]:
    return Detector.open(MODELS / "detector", threads=1), Embedder.open(MODELS / "embedder", threads=1)


@pytest.fixture(scope="module")
def horses() -> Photo:
    return load_photo(QUERIES / "images" / "horses.jpg")


def test_work_is_done_in_the_order_in_which_it_was_handed_over(beside: Beside) -> None:
    done: list[int] = []
    coming = [beside.submit(_slow, done, number) for number in range(20)]
    assert [one.result() for one in coming] == done == list(range(20))


def _slow(done: list[int], number: int) -> int:
    time.sleep(0.001 * (number % 3))
    done.append(number)
    return number


def test_what_work_raises_comes_to_the_caller(beside: Beside) -> None:
    with pytest.raises(ZeroDivisionError):
        beside.submit(divmod, 1, 0).result()


def test_there_is_a_thread_where_the_models_leave_a_processor() -> None:
    beside = thread_beside(models=0)
    assert beside.submit(threading.get_ident).result() != threading.get_ident()
    beside.shutdown()


def test_there_is_none_where_the_models_take_all_processors() -> None:
    beside = thread_beside(models=10_000)
    assert beside.submit(threading.get_ident).result() == threading.get_ident()


@pytest.mark.parametrize("box", [None, Box(0.1, 0.2, 0.7, 0.9)])
def test_objects_looked_at_one_by_one_are_those_looked_at_together(
    beside: Beside, models: tuple[Detector, Embedder], horses: Photo, box: Box | None
) -> None:
    options = Options()
    together = look(horses, *models, box, options, Stopwatch())
    clock = Stopwatch()
    one_by_one = [each() for each in look_each(horses, *models, box, options, clock, beside)]
    assert [one.region for one in one_by_one] == [one.region for one in together]
    assert [one.vector.tolist() for one in one_by_one] == [one.vector.tolist() for one in together]
    assert [one.colours for one in one_by_one] == [one.colours for one in together]
    assert [one.label_scores for one in one_by_one] == [one.label_scores for one in together]
    assert set(clock.milliseconds) == {"colours", "detect", "embed"}
