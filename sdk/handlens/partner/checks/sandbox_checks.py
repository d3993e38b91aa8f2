"""The sandbox: the same answers each time, faults on request, and a reset that forgets."""

from __future__ import annotations

from typing import Any

from handlens.partner.checking import Check, check
from handlens.partner.expecting import expect, expect_refusal, expect_status
from handlens.partner.outcomes import FailedError
from handlens.partner.probe import Probe, feedback

__all__ = ["CHECKS"]

_CLAUSE = "Contract, tag sandbox"
_SLOW_MS = 600


@check(
    "sandbox.same",
    "The same photo is answered the same",
    clause=f"{_CLAUSE}; introduction (test keys)",
    remedy="Answer test keys from fixtures that do not change.",
)
def same(probe: Probe) -> None:
    first, second = (_without_addresses(probe.lens().member("tags")) for _ in range(2))
    expect(first == second, "the same photo brought other tags the second time")


def _without_addresses(value: Any) -> Any:
    """The tags without links and thumbnails, which may hold the request's id."""
    if isinstance(value, dict):
        return {name: _without_addresses(one) for name, one in value.items() if name not in ("link", "thumbnails")}
    return [_without_addresses(one) for one in value] if isinstance(value, list) else value


@check(
    "sandbox.slow",
    "A slow answer can be asked for",
    clause=_CLAUSE,
    remedy="Take `Handlens-Fault: slow` with a test key.",
)
def slow(probe: Probe) -> None:
    answer = probe.call("ping", headers={"Handlens-Fault": f"slow;ms={_SLOW_MS}"})
    expect_status(answer, 200, what="a call that asked to be slow")
    expect(answer.seconds * 1000 >= _SLOW_MS, f"{_SLOW_MS} ms were asked for, and it took {answer.seconds * 1000:.0f}")


@check(
    "sandbox.malformed",
    "A malformed answer can be asked for",
    clause=_CLAUSE,
    remedy="Take `Handlens-Fault: malformed` with a test key.",
)
def malformed(probe: Probe) -> None:
    answer = expect_status(probe.call("ping", headers={"Handlens-Fault": "malformed"}), 200)
    try:
        faults = probe.contract.faults("ping", answer)
    except FailedError:
        return  # no JSON: as was asked for
    expect(bool(faults), "a malformed answer was asked for, and this one keeps the contract")


@check(
    "sandbox.unknown-fault",
    "A fault that there is not is refused",
    clause=_CLAUSE,
    remedy="Refuse with 400: a slip in a test must not pass for a success.",
)
def unknown_fault(probe: Probe) -> None:
    answer = probe.call("ping", headers={"Handlens-Fault": "earthquake"})
    expect_status(answer, 400, what="Handlens-Fault: earthquake")


@check(
    "sandbox.reset",
    "A reset forgets what test keys wrote",
    clause="Contract, resetSandbox",
    remedy="Forget the batches, items and events of the partner's test keys.",
)
def reset(probe: Probe) -> None:
    done = probe.put_batch(items=2)
    expect_status(probe.call("sendFeedback", value=feedback(probe.lens().member("insights_token"))), 200)
    answer = expect_status(probe.call("resetSandbox"), 200, what="a reset")
    faults = probe.contract.faults("resetSandbox", answer)
    expect(not faults, f"resetSandbox answers against the contract: {'; '.join(faults)}")
    counts = answer.json()
    for name, least in (("batches", 1), ("items", 2), ("events", 1)):
        expect(
            counts[name] >= least, f"{least} {name} were there at least, and {counts[name]} are said to be forgotten"
        )
    unknown = probe.call("getBatch", parts={"batch_id": done["batch_id"]})
    expect_refusal(unknown, 404, "batch-unknown", what="a batch after the reset")
    item = probe.call("getItem", parts={"item_id": done["rows"][0]["item_id"]})
    expect_refusal(item, 404, "item-unknown", what="an own item after the reset")
    expect(probe.call("listBatches").member("batches") == [], "batches are listed after the reset")


CHECKS: tuple[Check, ...] = (same, slow, malformed, unknown_fault, reset)
