"""Work beside a running model: in a thread or at once, it comes to the same answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from support.paths import MODELS, QUERIES

import handlens.answering.beside
import handlens.answering.looking
from handlens.answering import Eyes, Stopwatch, look, look_each, thread_beside
from handlens.answering.beside import AtOnce, Beside
from handlens.geometry import Box
from handlens.options import Options
from handlens.vision.detector import Detector
from handlens.vision.embedder import Embedder
from handlens.vision.image import Photo, load_photo


@pytest.fixture(params=["a thread", "at once"])
def beside(request: pytest.FixtureRequest) -> Iterator[Beside]:
    made = AtOnce() if request.param == "at once" else thread_beside()
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def models() -> tuple[Detector, Embedder]:
    return Detector.open(MODELS / "detector", threads=1), Embedder.open(MODELS / "embedder", threads=1)


@pytest.fixture(params=["one embedder", "two halves"])
def eyes(request: pytest.FixtureRequest, models: tuple[Detector, Embedder]) -> Eyes:
    detector, embedder = models
    if request.param == "one embedder":
        return Eyes(detector, embedder)
    return Eyes(detector, embedder, (embedder, Embedder.open(MODELS / "embedder", threads=1)))


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


def test_there_is_a_thread_where_there_are_two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlens.answering.beside, "processors", lambda: 2)
    beside = thread_beside()
    assert beside.submit(threading.get_ident).result() != threading.get_ident()
    beside.shutdown()


def test_there_is_none_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlens.answering.beside, "processors", lambda: 1)
    assert thread_beside().submit(threading.get_ident).result() == threading.get_ident()


@pytest.mark.parametrize(("threads", "objects", "halves"), [(1, 3, False), (2, 3, True), (2, 1, False)])
def test_the_embedder_is_opened_in_halves_where_threads_and_objects_use_them(
    monkeypatch: pytest.MonkeyPatch, threads: int, objects: int, halves: bool
) -> None:
    monkeypatch.setattr(handlens.answering.looking, "processors", lambda: 2)
    eyes = Eyes.open(MODELS / "detector", MODELS / "embedder", Options(threads=threads, max_objects=objects))
    assert (eyes.halves is not None) == halves


@pytest.mark.parametrize("objects", [1, 2, 3])
@pytest.mark.parametrize("box", [None, Box(0.1, 0.2, 0.7, 0.9)])
def test_objects_looked_at_one_by_one_are_those_looked_at_together(
    beside: Beside, eyes: Eyes, horses: Photo, box: Box | None, objects: int
) -> None:
    options = Options(max_objects=objects)
    together = look(horses, eyes.detector, eyes.embedder, box, options, Stopwatch())
    clock = Stopwatch()
    one_by_one = [one for each in look_each(horses, eyes, box, options, clock, beside) for one in each()]
    assert [one.region for one in one_by_one] == [one.region for one in together]
    assert [one.vector.tolist() for one in one_by_one] == [one.vector.tolist() for one in together]
    assert [one.colours for one in one_by_one] == [one.colours for one in together]
    assert [one.label_scores for one in one_by_one] == [one.label_scores for one in together]
    assert set(clock.milliseconds) == {"colours", "detect", "embed"}
