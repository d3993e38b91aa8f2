"""Faults for test keys: what is asked for comes, and a live key is refused."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlens_server.partner.fault_requests import MOST_SLEEPERS, MOST_SLOW_MS, Fault, Sleeper, read_fault
from handlens_server.partner.refusals import (
    FaultMalformedError,
    FaultNotAllowedError,
    OverloadedError,
    RateLimitedError,
)


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ("slow", Fault("slow", 2000)),
        (" slow;ms=150 ", Fault("slow", 150)),
        ("slow; ms=10000", Fault("slow", 10_000)),
        ("rate-limited", Fault("rate-limited")),
        ("unavailable", Fault("unavailable")),
        ("malformed", Fault("malformed")),
    ],
)
def test_a_test_key_gets_the_fault_that_it_asks_for(header: str, fault: Fault) -> None:
    assert read_fault(header, is_test=True) == fault


@pytest.mark.parametrize("header", ["slow", "nonsense", ""])
def test_a_live_key_is_refused_whatever_it_asks_for(header: str) -> None:
    with pytest.raises(FaultNotAllowedError, match="use a test key"):
        read_fault(header, is_test=False)


@pytest.mark.parametrize("is_test", [True, False])
def test_without_the_header_there_is_no_fault(is_test: bool) -> None:
    assert read_fault(None, is_test=is_test) is None


@pytest.mark.parametrize("header", ["", "fast", "slow;ms=10001", "slow;ms=-1", "malformed;ms=5", "slow, malformed"])
def test_a_fault_that_there_is_not_is_refused(header: str) -> None:
    with pytest.raises(FaultMalformedError, match="give malformed, rate-limited, slow, unavailable"):
        read_fault(header, is_test=True)


@given(st.text())
def test_no_text_breaks_it(header: str) -> None:
    try:
        fault = read_fault(header, is_test=True)
    except FaultMalformedError:
        return
    assert fault is not None
    assert 0 <= fault.slow_ms <= MOST_SLOW_MS


def test_refusals_are_those_that_a_real_limit_gives() -> None:
    with pytest.raises(RateLimitedError) as limited:
        Fault("rate-limited").refuse()
    with pytest.raises(OverloadedError) as unavailable:
        Fault("unavailable").refuse()
    assert (limited.value.retry_after, unavailable.value.retry_after) == (1, 1)
    Fault("slow", 10).refuse()
    Fault("malformed").refuse()


def test_slow_answers_cannot_hold_all_threads_of_a_worker() -> None:
    sleeper, slept = Sleeper(), []
    threads = [threading.Thread(target=lambda: slept.append(sleeper.sleep(400))) for _ in range(MOST_SLEEPERS)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 20
    while sleeper.sleep(0) and time.monotonic() < until:
        time.sleep(0.005)
    assert sleeper.sleep(0) is False
    for thread in threads:
        thread.join()
    assert slept == [True] * MOST_SLEEPERS
    assert sleeper.sleep(0) is True
