"""Limits and how they are told, retries after a refusal, and what is left out when time is short."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from handlens.partner.checking import Check, check
from handlens.partner.exchange import Answer
from handlens.partner.expecting import expect, expect_refusal, expect_status
from handlens.partner.outcomes import FailedError, SkippedError
from handlens.partner.probe import MOST_WAIT, Probe, feedback

__all__ = ["CHECKS"]

_FIELDS = "draft-ietf-httpapi-ratelimit-headers-10; contract, RateLimit and RateLimit-Policy"
_MOST_CALLS = 2000  # that may be spent to use up a limit
_GRACE = 0.25  # seconds of network, and of machines that do other things too
_TRIES = 5


def _list(answer: Answer, name: str) -> dict[str, Mapping[str, Any]]:
    """A list of structured fields: parameters by the item's name."""
    import http_sf

    text = answer.headers.get(name.lower())
    if text is None:
        raise FailedError(f"the answer has no {name}")
    try:
        items: Any = http_sf.parse(text.encode(), tltype="list")
        return {str(item): dict(parameters) for item, parameters in items}
    except (ValueError, TypeError) as error:
        raise FailedError(f"{name} is no list of structured fields: {text[:200]!r}") from error


@check(
    "limits.fields",
    "Answers say which limits there are, and what is left of them",
    clause=_FIELDS,
    remedy="Send RateLimit and RateLimit-Policy with every answer to a checked call.",
)
def fields(probe: Probe) -> None:
    answer = expect_status(probe.call("ping"), 200)
    policies, states = _list(answer, "RateLimit-Policy"), _list(answer, "RateLimit")
    expect(bool(policies), "RateLimit-Policy names no limit")
    for name, policy in policies.items():
        expect(_is_count(policy.get("q"), 1), f"the limit {name!r} has no quota q: {dict(policy)}")
    for name, state in states.items():
        expect(name in policies, f"RateLimit names {name!r}, which RateLimit-Policy does not")
        expect(_is_count(state.get("r"), 0), f"of the limit {name!r} nothing says what is left (r): {dict(state)}")
        expect(state["r"] <= policies[name]["q"], f"of the limit {name!r} more is left than there is")
    expect(bool(states), "RateLimit tells no limit")


def _is_count(value: object, least: int) -> bool:
    return type(value) is int and value >= least


@check(
    "limits.count",
    "What is left goes down with each call",
    clause=_FIELDS,
    remedy="Count every checked call, over all workers.",
)
def count(probe: Probe) -> None:
    for _ in range(_TRIES):  # a window may end between two calls
        before, after = (_list(expect_status(probe.call("ping"), 200), "RateLimit") for _ in range(2))
        falls = [before[name]["r"] - after[name]["r"] for name in before.keys() & after.keys()]
        if falls and max(falls) >= 1:
            return
    raise FailedError(f"{2 * _TRIES} calls were made, and what is left does not go down: {before}, then {after}")


@check(
    "limits.refusal",
    "A call over the limit is refused with 429, and told when to come again",
    clause="RFC 6585, section 4; RFC 9110, section 10.2.3; contract, TooMany",
    remedy="Refuse with 429, code rate-limited, `retryable` true and Retry-After in seconds.",
)
def refusal(probe: Probe) -> None:
    answer = probe.call("ping", headers={"Handlens-Fault": "rate-limited"})
    expect_refusal(answer, 429, *probe.contract.codes("ping", 429), what="a call over the limit")
    _expect_retryable(answer)


@check(
    "limits.enforced",
    "A limit that is used up refuses, and lets in again when it said",
    clause=_FIELDS,
    remedy="Refuse what is over the limit; let in again when Retry-After is over.",
)
def enforced(probe: Probe) -> None:
    if not probe.given.exhaust:
        raise SkippedError("uses up the limit of a window, and waits for the next one: --exhaust")
    states = _list(expect_status(probe.call("ping"), 200), "RateLimit")
    least = min(state["r"] for state in states.values())
    if least > _MOST_CALLS:
        raise SkippedError(
            f"{least} calls are left, and the kit spends at most {_MOST_CALLS}: use a key with lower limits"
        )
    call = probe.with_token(probe.build("ping"))
    for _ in range(least + 1 + _TRIES):
        answer = probe.send_once(call)
        if answer.status == 429:
            break
    expect_refusal(
        answer, 429, *probe.contract.codes("ping", 429), what=f"call {least + 1} of a limit with {least} left"
    )
    seconds = _expect_retryable(answer)
    if seconds > MOST_WAIT:
        raise SkippedError(f"the limit begins anew in {seconds} s only: use a key with a shorter window")
    probe.wait(seconds)
    expect_status(probe.send_once(call), 200, what=f"a call {seconds} s after the refusal")


def _expect_retryable(answer: Answer) -> int:
    """The seconds that a refusal asks to wait."""
    text = answer.headers.get("retry-after", "")
    expect(text.isdigit(), f"the {answer.status} does not say in seconds when to come again (Retry-After: {text!r})")
    expect(answer.member("retryable") is True, f"`retryable` of the {answer.status} is {answer.member('retryable')!r}")
    return int(text)


@check(
    "retries.unavailable",
    "A 503 says when to come again",
    clause="RFC 9110, section 15.6.4; contract, Unavailable",
    remedy="Refuse with 503, `retryable` true and Retry-After in seconds.",
)
def unavailable(probe: Probe) -> None:
    answer = probe.call("ping", headers={"Handlens-Fault": "unavailable"})
    expect_refusal(answer, 503, *probe.contract.codes("ping", 503), what="a call of an overloaded server")
    _expect_retryable(answer)


@check(
    "retries.write",
    "A write that was refused with 503 is done by its retry, once",
    clause="Contract, Unavailable (nothing was done); IdempotencyKey",
    remedy="Let go of the Idempotency-Key of a write that was not done.",
)
def retried_write(probe: Probe) -> None:
    value, key = feedback(probe.lens().member("insights_token")), str(uuid.uuid4())
    refused = probe.call("sendFeedback", value=value, key=key, headers={"Handlens-Fault": "unavailable"})
    expect_refusal(refused, 503, what="a write while the server is overloaded")
    text = refused.headers.get("retry-after", "")
    probe.wait(min(float(text), MOST_WAIT) if text.isdigit() else 1.0)
    done = expect_status(probe.call("sendFeedback", value=value, key=key), 200, what="its retry")
    expect(done.member("stored") == 1, f"the retry stored {done.member('stored')} events: was the refused write done?")
    expect("idempotency-replayed" not in done.headers, "the retry is answered with an answer that was never given")


@check(
    "degradation.told",
    "An answer that is short of time says what it left out",
    clause="Contract, LensAnswer (degraded, left_out)",
    remedy="Name each source that was left out in `left_out`, and set `degraded`.",
)
def told(probe: Probe) -> None:
    answer = _hurried(probe, 1)
    if answer.status != 200:
        expect(answer.member("code") in _codes(probe, answer), f"the refusal has the code {answer.member('code')!r}")
        return
    left, degraded = answer.member("left_out"), answer.member("degraded")
    expect(isinstance(left, list) and bool(left), "1 ms was given, and `left_out` names nothing that was left out")
    expect(degraded is True, f"{len(left)} sources were left out, and `degraded` is {degraded!r}")
    unnamed = [
        one for one in left if not (one.get("source") and one.get("reason") and isinstance(one.get("late"), bool))
    ]
    expect(not unnamed, f"these do not say which source, whether it was late, and why: {unnamed[:3]}")


@check(
    "degradation.whole",
    "An answer that has time leaves nothing out, and says so",
    clause="Contract, LensAnswer (degraded, left_out)",
    remedy="Set `degraded` only where something was left out.",
)
def whole(probe: Probe) -> None:
    for _ in range(_TRIES):
        answer = probe.lens(deadline_ms=60_000)
        if answer.member("degraded") is False:
            break
    expect(answer.member("degraded") is False, f"60 s were given, and `left_out` is {answer.member('left_out')}")
    expect(answer.member("left_out") == [], f"`degraded` is false, and `left_out` is {answer.member('left_out')}")


@check(
    "degradation.time",
    "A deadline is kept",
    clause="Contract, LensRequest.deadline_ms",
    remedy="Look at the clock before each source, and leave out what would be late.",
)
def in_time(probe: Probe) -> None:
    network = min(probe.call("ping").seconds for _ in range(_TRIES))
    deadline = 0.15
    seconds = min(_hurried(probe, int(deadline * 1000)).seconds for _ in range(_TRIES))
    most = deadline + network + _GRACE
    expect(
        seconds <= most,
        f"deadline_ms is {deadline * 1000:.0f}, a ping takes {network * 1000:.0f} ms, and the quickest of {_TRIES} "
        f"answers took {seconds * 1000:.0f} ms",
    )


def _hurried(probe: Probe, milliseconds: int) -> Answer:
    value = {**probe.contract.example("lens", "objects"), "deadline_ms": milliseconds}
    call = probe.with_token(probe.build("lens", value=value))
    answer = probe.send_once(call)
    return expect_status(answer, 200, 422, 503, what=f"a search with {milliseconds} ms")


def _codes(probe: Probe, answer: Answer) -> list[str]:
    return probe.contract.codes("lens", answer.status)


CHECKS: tuple[Check, ...] = (
    fields,
    count,
    refusal,
    unavailable,
    retried_write,
    told,
    whole,
    in_time,
    enforced,
)
