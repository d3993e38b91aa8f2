"""What every answer has: problems with their members, request ids, timing, traces, and the end of a version."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

from handlens.partner.checking import Check, check
from handlens.partner.exchange import Answer, Call
from handlens.partner.expecting import expect, expect_status
from handlens.partner.outcomes import FailedError
from handlens.partner.probe import Probe, new_name

__all__ = ["CHECKS"]

_METRIC = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:\s*;\s*[A-Za-z]+(?:=(?:\"[^\"]*\"|[^;,\s\"]+))?)*")
_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def _refusals(probe: Probe) -> Iterator[tuple[str, Answer]]:
    """A refusal of each kind that can be had without harm, and the operation that it is of.

    What should be refused and is not is left out: other checks say so.
    """
    return ((operation_id, answer) for operation_id, answer in _provoked(probe) if answer.status >= 400)


def _provoked(probe: Probe) -> Iterator[tuple[str, Answer]]:
    narrow = probe.tokens.token("usage:read")
    yield "lens", probe.call("lens", value={})
    yield "lens", probe.call("lens", body=b"{", media_type="application/json")
    yield "lens", probe.call("lens", body=b"hello", media_type="text/plain")
    yield "ping", probe.call("ping", token="")
    yield "listBatches", probe.call("listBatches", token=narrow)
    yield "getBatch", probe.call("getBatch", parts={"batch_id": new_name("none")})
    yield "getItem", probe.call("getItem", parts={"item_id": new_name("none")})
    yield "listBatches", probe.call("listBatches", query="cursor=made-up")
    yield "getUsage", probe.call("getUsage", query="from=2026-02-01&to=2026-01-01")
    yield "ping", probe.call("ping", headers={"Handlens-Fault": "rate-limited"})
    yield "ping", probe.call("ping", headers={"Handlens-Fault": "unavailable"})


@check(
    "problems.shape",
    "Every refusal is a problem that a program can read",
    clause="RFC 9457, section 3; contract, Problem",
    remedy="Answer application/problem+json with type, title, status, detail, code, request_id and retryable.",
)
def shape(probe: Probe) -> None:
    for operation_id, answer in _refusals(probe):
        what = f"the {answer.status} of {operation_id}"
        expect(answer.media_type == "application/problem+json", f"{what} is {answer.media_type or 'of no type'}")
        faults = probe.contract.schema_faults("Problem", answer.json())
        expect(not faults, f"{what}: {'; '.join(faults)}")
        problem = answer.json()
        expect(problem["status"] == answer.status, f"{what} says `status` {problem['status']}")
        expect(
            problem["type"].endswith(f":{problem['code']}"), f"{what} has the type {problem['type']}, not of its code"
        )
        same = problem["request_id"] == answer.headers.get("x-request-id")
        expect(same, f"{what} says request_id {problem['request_id']}, and another X-Request-Id")


@check(
    "problems.codes",
    "Every refusal has a code that the contract lists for it",
    clause="Contract, x-problem-codes",
    remedy="Use the codes of the contract, and never give one another meaning.",
)
def codes(probe: Probe) -> None:
    for operation_id, answer in _refusals(probe):
        known = probe.contract.codes(operation_id, answer.status)
        code = answer.member("code")
        expect(bool(known), f"{operation_id} may not answer {answer.status} ({code})")
        expect(
            code in known, f"the {answer.status} of {operation_id} has the code {code!r}: the contract lists {known}"
        )


@check(
    "problems.unknown-address",
    "An address that is none, and a method that is none, are problems too",
    clause="RFC 9110, sections 15.5.5 and 15.5.6",
    remedy="Answer 404 and 405 as problems, the 405 with Allow.",
)
def unknown_address(probe: Probe) -> None:
    nothing = probe.send(probe.with_token(Call("GET", "/partner/v1/nothing-is-here")))
    expect_status(nothing, 404, what="an address that is none")
    method = probe.send(probe.with_token(Call("DELETE", "/partner/v1/ping")))
    expect_status(method, 405, what="DELETE of ping")
    expect("GET" in method.headers.get("allow", ""), f"the 405 has the Allow {method.headers.get('allow')!r}")
    for answer in (nothing, method):
        expect(answer.media_type.endswith("json"), f"the {answer.status} is {answer.media_type}, no problem")


@check(
    "answers.request-id",
    "A request id comes back, and one that is no plain word is replaced",
    clause="Contract, X-Request-Id",
    remedy="Give the caller's X-Request-Id back where it is a short plain word, and a new one otherwise.",
)
def request_id(probe: Probe) -> None:
    name = new_name("id")
    given = probe.call("ping", headers={"X-Request-Id": name}).headers.get("x-request-id")
    expect(given == name, f"X-Request-Id {name} was sent, and {given!r} came back")
    for wrong in ("a b", "x" * 300, "<script>"):
        replaced = probe.call("ping", headers={"X-Request-Id": wrong}).headers.get("x-request-id", "")
        is_plain = re.fullmatch(r"[A-Za-z0-9._-]{1,64}", replaced) is not None
        expect(is_plain, f"X-Request-Id {wrong[:20]!r} was sent, and {replaced[:40]!r} came back")


@check(
    "answers.server-timing",
    "An answer says how long its steps took",
    clause="W3C Server Timing, section 3; contract, Server-Timing",
    remedy="Send Server-Timing with milliseconds by step.",
)
def server_timing(probe: Probe) -> None:
    text = probe.lens().headers.get("server-timing", "")
    expect(bool(text), "the answer to a photo has no Server-Timing")
    wrong = [one for one in text.split(",") if not _METRIC.fullmatch(one.strip())]
    expect(not wrong, f"Server-Timing has entries that cannot be read: {wrong[:3]}")
    expect("dur=" in text, f"Server-Timing has no duration: {text[:200]}")


@check(
    "answers.trace",
    "A trace context is taken, and a malformed one changes nothing",
    clause="W3C Trace Context, section 3.2.2.5 (a malformed traceparent is ignored)",
    remedy="Ignore a traceparent that cannot be read.",
)
def trace(probe: Probe) -> None:
    for given in (_TRACE, "00-zz-zz-01", "x" * 2000, ""):
        answer = probe.call("ping", headers={"traceparent": given})
        expect_status(answer, 200, what=f"a call with traceparent {given[:20]!r}")


@check(
    "answers.deprecation",
    "A version that goes says since when, and when it is gone",
    clause="RFC 9745, section 2; RFC 8594, section 3",
    remedy="Send Deprecation as a date of structured fields (@seconds), and Sunset as an HTTP date not before it.",
)
def deprecation(probe: Probe) -> None:
    headers = expect_status(probe.call("ping"), 200).headers
    since, gone = headers.get("deprecation"), headers.get("sunset")
    if since is not None:
        expect(
            re.fullmatch(r"@-?[0-9]{1,12}", since) is not None, f"Deprecation {since!r} is no date of structured fields"
        )
    if gone is None:
        return
    try:
        end = parsedate_to_datetime(gone).timestamp()
    except (ValueError, TypeError) as error:
        raise FailedError(f"Sunset {gone!r} is no HTTP date") from error
    expect(since is None or end >= float(since[1:]), f"Sunset {gone} is before Deprecation {since}")


CHECKS: tuple[Check, ...] = (shape, codes, unknown_address, request_id, server_timing, trace, deprecation)
