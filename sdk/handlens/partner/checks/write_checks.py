"""Writes that are made once: Idempotency-Key, and batches that are done whole or not at all."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

from handlens.partner.checking import Check, check
from handlens.partner.expecting import expect, expect_refusal, expect_status
from handlens.partner.probe import Probe, feedback, new_name, own_item

__all__ = ["CHECKS"]

_CLAUSE = "draft-ietf-httpapi-idempotency-key-header-07, section 2; contract, IdempotencyKey"
_AT_ONCE = 8


@check(
    "idempotency.missing",
    "A write without a good Idempotency-Key is refused",
    clause=_CLAUSE,
    remedy="Refuse with 400 and code idempotency-key-missing, or idempotency-key-malformed.",
)
def missing(probe: Probe) -> None:
    value = feedback(probe.lens().member("insights_token"))
    bare = probe.call("sendFeedback", value=value, key="")
    expect_refusal(bare, 400, "idempotency-key-missing", what="a write without Idempotency-Key")
    for wrong in ("short", "a" * 100, "with a space", '"8e03978e'):
        answer = probe.call("sendFeedback", value=value, key=wrong)
        expect_refusal(answer, 400, "idempotency-key-malformed", what=f"the Idempotency-Key {wrong[:20]!r}")


@check(
    "idempotency.replay",
    "The same write sent again is answered the same, and not done again",
    clause=_CLAUSE,
    remedy="Keep the answer with the key for 24 hours, and give it again with Idempotency-Replayed: true.",
)
def replay(probe: Probe) -> None:
    call = probe.with_token(probe.build("sendFeedback", value=feedback(probe.lens().member("insights_token"))))
    first = expect_status(probe.send(call), 200, what="a write")
    second = expect_status(probe.send(call), 200, what="the same write, sent again,")
    expect(first.json() == second.json(), f"first {first.body!r}, then {second.body!r}: it was done again")
    expect("idempotency-replayed" not in first.headers, "the first answer says that it is given again")
    expect(second.headers.get("idempotency-replayed") == "true", "the second answer has no Idempotency-Replayed: true")


@check(
    "idempotency.reused",
    "A key that comes with another write is refused",
    clause=_CLAUSE,
    remedy="Keep a fingerprint of the request with the key; refuse others with 422 and code idempotency-key-reused.",
)
def reused(probe: Probe) -> None:
    token, key = probe.lens().member("insights_token"), str(uuid.uuid4())
    expect_status(probe.call("sendFeedback", value=feedback(token), key=key), 200, what="a write")
    other = probe.call("sendFeedback", value=feedback(token, kind="saved"), key=key)
    expect_refusal(other, 422, "idempotency-key-reused", what="another write with the same key")


@check(
    "idempotency.concurrent",
    f"Of {_AT_ONCE} writes with one key that come at once, one is done",
    clause=_CLAUSE,
    remedy="Take the key before the write; refuse the others with 409 idempotency-running, or give them its answer.",
)
def concurrent(probe: Probe) -> None:
    batch_id = new_name("batch")
    value = {"items": [own_item(f"{batch_id}-a")]}
    call = probe.with_token(probe.build("putBatch", parts={"batch_id": batch_id}, value=value))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = list(pool.map(lambda _: probe.send_once(call), range(_AT_ONCE)))
    done = [one for one in answers if one.status == 201 and "idempotency-replayed" not in one.headers]
    others = [one for one in answers if one not in done]
    expect(len(done) == 1, f"{len(done)} of {_AT_ONCE} say that they did the write: {[one.status for one in answers]}")
    for one in others:
        if one.status == 409:
            expect_refusal(one, 409, "idempotency-running")
            expect(one.headers.get("retry-after", "").isdigit(), "the 409 does not say when to ask again (Retry-After)")
        elif one.status not in (429, 503):
            expect(one.status == 201 and one.body == done[0].body, f"one was answered with {one.status}, and otherwise")
    late = expect_status(probe.send(call), 201, what="the same write, when all are done,")
    expect(late.body == done[0].body, "the same write, when all are done, is answered otherwise")


@check(
    "idempotency.events",
    "An event is stored once by its id, also under another key",
    clause="Contract, sendFeedback",
    remedy="Know events by `event_id`, and count those that were known.",
)
def events(probe: Probe) -> None:
    value = feedback(probe.lens().member("insights_token"))
    counts = [expect_status(probe.call("sendFeedback", value=value), 200).json() for _ in range(2)]
    told = [(one.get("stored"), one.get("known")) for one in counts]
    expect(told == [(1, 0), (0, 1)], f"stored and known are {told}, not [(1, 0), (0, 1)]")


@check(
    "batch.whole",
    "A batch with one bad row is refused whole, and the row is named",
    clause="Contract, putBatch",
    remedy="Check every row before one is written; name each refused row in `errors`.",
)
def whole(probe: Probe) -> None:
    batch_id = new_name("batch")
    value = {"items": [own_item(f"{batch_id}-good"), {**own_item(f"{batch_id}-bad"), "kind": "spaceship"}]}
    answer = probe.call("putBatch", parts={"batch_id": batch_id}, value=value)
    expect_status(answer, 400, 422, what="a batch with a bad row")
    rows = {place.get("row") for place in answer.member("errors") or ()}
    expect(rows == {1}, f"row 1 is bad, and `errors` names {sorted(rows, key=str)}")
    good = probe.call("getItem", parts={"item_id": f"{probe.partner}.{batch_id}-good"})
    expect_refusal(good, 404, "item-unknown", what="an item of the refused batch")
    expect_refusal(probe.call("getBatch", parts={"batch_id": batch_id}), 404, "batch-unknown", what="the refused batch")


@check(
    "batch.conflict",
    "A batch's id is good for one body",
    clause="Contract, putBatch",
    remedy="Refuse another body under the same id with 409 and code batch-conflict.",
)
def conflict(probe: Probe) -> None:
    batch_id = probe.put_batch()["batch_id"]
    other = probe.call("putBatch", parts={"batch_id": batch_id}, value={"items": [own_item(f"{batch_id}-other")]})
    expect_refusal(other, 409, "batch-conflict", what="another body under the same batch id")


CHECKS: tuple[Check, ...] = (missing, replay, reused, concurrent, events, whole, conflict)
