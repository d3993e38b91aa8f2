"""What a worker takes on: no more than it can do in time; the others learn it at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlens_server.pace import Pace
from handlens_server.partner.admission import Admission, AdmissionOptions, Ticket
from handlens_server.partner.refusals import DeadlineTooShortError, DeadlineUnreachableError, OverloadedError


class Watch:
    """A clock in seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def paced(**kinds: float) -> Pace:
    """A pace that knows what kinds take, in milliseconds."""
    pace = Pace()
    for kind, milliseconds in kinds.items():
        for _ in range(40):
            pace.note(kind, milliseconds)
    return pace


class TestPace:
    def test_the_first_of_a_kind_opens_files_and_does_not_count(self) -> None:
        pace = Pace()
        assert (pace.mean("photo"), pace.expected("photo")) == (0, 0)
        pace.note("photo", 5000)
        assert pace.mean("photo") == 0
        pace.note("photo", 40)
        assert pace.mean("photo") == 40

    def test_it_follows_a_change_and_leaves_room_for_what_varies(self) -> None:
        pace = paced(photo=40)
        assert pace.mean("photo") == pytest.approx(40)
        assert pace.expected("photo") == pytest.approx(40, rel=0.01)
        for turn in range(30):
            pace.note("photo", 60 if turn % 2 else 100)
        assert 60 < pace.mean("photo") < 100 < pace.expected("photo")

    def test_an_estimate_that_refuses_fades_until_somebody_is_tried_again(self) -> None:
        pace = paced(photo=1000)
        admission = Admission(AdmissionOptions(slots=1), pace, now=Watch())
        with admission.enter("seen", 100) as first, first.turn():
            refused = 0
            while pace.expected("photo") > 150:
                with (
                    admission.enter("photo", 100) as ticket,
                    pytest.raises(DeadlineUnreachableError),
                    ticket.turn(deadline_ms=150),
                ):
                    pass
                refused += 1
        assert 5 < refused < 100
        with admission.enter("photo", 100) as ticket, ticket.turn(deadline_ms=150):
            pass

    @given(st.lists(st.floats(0, 1e6), min_size=2))
    def test_it_stays_among_what_was_measured(self, samples: list[float]) -> None:
        pace = Pace()
        for one in samples:
            pace.note("photo", one)
        assert min(samples[1:]) - 1e-6 <= pace.mean("photo") <= max(samples[1:]) + 1e-6
        assert pace.expected("photo") >= pace.mean("photo")


class TestBeforeAnythingIsRead:
    def test_who_waited_too_long_for_a_thread_is_refused(self) -> None:
        watch = Watch()
        admission = Admission(AdmissionOptions(queue_ms=100), Pace(), now=watch)
        with admission.enter("photo", 99.95) as ticket:
            assert ticket.waited_ms == pytest.approx(50)
        with pytest.raises(OverloadedError, match="try again later"), admission.enter("photo", 99.8):
            pass

    def test_no_more_than_so_many_are_in_a_worker(self) -> None:
        admission = Admission(AdmissionOptions(most=2), Pace(), now=Watch())
        with admission.enter("photo", 100), admission.enter("photo", 100):
            with pytest.raises(OverloadedError) as refused, admission.enter("photo", 100):
                pass
            assert refused.value.retry_after >= 1
        with admission.enter("photo", 100):
            pass

    def test_the_work_ahead_counts_by_what_it_takes_lately(self) -> None:
        admission = Admission(
            AdmissionOptions(slots=2, most=99, patience_ms=1000), paced(photo=500, seen=5), now=Watch()
        )
        entered = [admission.enter("photo", 100) for _ in range(5)]  # 5 x 500 / 2 are more than 1000
        for one in entered:
            one.__enter__()
        with pytest.raises(OverloadedError) as refused, admission.enter("seen", 100):
            pass
        assert refused.value.retry_after == 2
        entered.pop().__exit__(None, None, None)
        with admission.enter("seen", 100):
            pass

    def test_what_fails_gives_its_place_back(self) -> None:
        admission = Admission(AdmissionOptions(slots=1, most=1), Pace(), now=Watch())
        for _ in range(3):
            with pytest.raises(ValueError, match="broken"), admission.enter("photo", 100) as ticket, ticket.turn():
                raise ValueError("broken")


class TestBeforeItIsWorkedOn:
    def test_a_deadline_that_the_work_ahead_makes_unreachable_is_refused_at_once(self) -> None:
        admission = Admission(AdmissionOptions(slots=1), paced(photo=100), now=Watch())
        with (
            admission.enter("photo", 100) as first,
            first.turn(),
            admission.enter("photo", 100) as second,
            pytest.raises(DeadlineUnreachableError, match="about 200 ms now"),
            second.turn(deadline_ms=150),
        ):
            pass

    def test_with_nothing_ahead_it_is_tried_whatever_the_estimate_says(self) -> None:
        admission = Admission(AdmissionOptions(slots=1), paced(photo=1000), now=Watch())
        with admission.enter("photo", 100) as ticket, ticket.turn(deadline_ms=150):
            pass

    def test_its_kind_may_turn_out_to_be_another(self) -> None:
        pace = paced(photo=1000, seen=1)
        admission = Admission(AdmissionOptions(slots=2), pace, now=Watch())
        with (
            admission.enter("seen", 100) as first,
            first.turn(),
            admission.enter("photo", 100) as second,
            second.turn(kind="seen", deadline_ms=150),
        ):
            pass

    def test_a_deadline_in_which_nothing_was_ever_answered_is_the_callers_mistake(self) -> None:
        admission = Admission(AdmissionOptions(), paced(photo=40), now=Watch())
        with admission.enter("photo", 100) as ticket:
            assert isinstance(ticket.too_late(20, 30), DeadlineTooShortError)
            error = ticket.too_late(20, 50)
            assert isinstance(error, DeadlineUnreachableError)
            assert error.retry_after >= 1


def in_threads(count: int, work: Callable[[int], object]) -> list[object]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


class TestWithThreads:
    def test_no_more_run_at_once_than_there_are_slots(self) -> None:
        admission = Admission(AdmissionOptions(slots=2, most=99, queue_ms=60_000, patience_ms=60_000), Pace())
        running, most = [0], [0]
        lock = threading.Lock()

        def search(_turn: int) -> None:
            with admission.enter("photo", time.perf_counter()) as ticket, ticket.turn():
                with lock:
                    running[0] += 1
                    most[0] = max(most[0], running[0])
                time.sleep(0.002)
                with lock:
                    running[0] -= 1

        in_threads(16, search)
        assert most == [2]

    def test_turns_come_in_the_order_of_arrival(self) -> None:
        admission = Admission(AdmissionOptions(slots=1, most=99, queue_ms=60_000, patience_ms=60_000), Pace())
        order: list[int] = []

        def search(ticket: Ticket, number: int) -> None:
            with ticket.turn():
                order.append(number)

        now = time.perf_counter
        with admission.enter("photo", now()) as first, ThreadPoolExecutor(8) as pool, first.turn():
            for number in range(8):
                ticket = admission.enter("photo", now()).__enter__()
                pool.submit(search, ticket, number)
                until = time.monotonic() + 20
                while len(admission._line) <= number:
                    assert time.monotonic() < until
                    time.sleep(0.001)
        assert order == list(range(8))

    def test_who_waits_past_its_deadline_goes_and_the_next_is_served(self) -> None:
        admission = Admission(AdmissionOptions(slots=1, most=99, queue_ms=60_000), Pace())
        go_on, served = threading.Event(), threading.Event()

        def hold() -> None:
            with admission.enter("photo", time.perf_counter()) as ticket, ticket.turn():
                served.set()
                go_on.wait(20)

        with ThreadPoolExecutor(1) as pool:
            holder = pool.submit(hold)
            assert served.wait(20)
            with (
                admission.enter("photo", time.perf_counter()) as late,
                pytest.raises(DeadlineUnreachableError, match="turn did not come"),
                late.turn(deadline_ms=30),
            ):
                pass
            go_on.set()
            holder.result(20)
        with admission.enter("photo", time.perf_counter()) as ticket, ticket.turn(deadline_ms=60_000):
            pass
