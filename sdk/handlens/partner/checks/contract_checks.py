"""Whether the contract is served, and whether every operation answers as it says."""

from __future__ import annotations

import json
from typing import Any

import urllib3

from handlens.partner.checking import Check, check
from handlens.partner.contract import Contract, read_contract
from handlens.partner.exchange import Answer
from handlens.partner.expecting import expect, expect_status
from handlens.partner.outcomes import FailedError
from handlens.partner.probe import Probe, feedback, new_name

__all__ = ["CHECKS"]

_REMEDY = "Answer as the contract's schema of this operation says; add members where you like, and leave none out."


def _judge(probe: Probe, operation_id: str, answer: Answer, *statuses: int) -> Any:
    """The decoded answer of an operation, when it is as the contract says."""
    expect_status(answer, *(statuses or (200,)), what=operation_id)
    faults = probe.contract.faults(operation_id, answer)
    expect(not faults, f"{operation_id} answers against the contract: {'; '.join(faults)}")
    return answer.json() if answer.media_type.endswith("json") else None


@check(
    "contract.served",
    "The server serves a contract that keeps what this kit's contract promises",
    clause="Contract, getContract; change policy: within a major version nothing is taken away",
    remedy="Serve the contract of this major version, with every operation that the released one has.",
)
def served(probe: Probe) -> None:
    answer = expect_status(probe.call("getContract", token=""), 200)
    faults = probe.contract.faults("getContract", answer)
    expect(not faults, "; ".join(faults))
    try:
        theirs = read_contract(answer.body)
    except (ValueError, LookupError, TypeError) as error:
        raise FailedError(f"the served document is no OpenAPI document: {error!r}") from error
    _compare(probe.contract, theirs)


def _compare(ours: Contract, theirs: Contract) -> None:
    major = ours.version.split(".")[0]
    expect(theirs.version.split(".")[0] == major, f"version {theirs.version} is served, the kit knows {ours.version}")
    missing = [
        f"{one.method} {one.path}"
        for one in ours.operations.values()
        if (found := theirs.operations.get(one.operation_id)) is None
        or (found.method, found.path) != (one.method, one.path)
    ]
    expect(not missing, f"the served contract has no {', '.join(missing)}")
    if ours.version == theirs.version:
        changed = [name for name in ("paths", "components") if ours.document[name] != theirs.document.get(name)]
        expect(
            not changed,
            f"version {ours.version} is served with other {' and '.join(changed)} than it was released with",
        )


@check(
    "contract.page",
    "The contract can be read as a page",
    clause="Contract, getDocs",
    remedy="Serve the contract's page as text/html, with a Content-Security-Policy.",
)
def page(probe: Probe) -> None:
    answer = probe.call("getDocs", token="")
    _judge(probe, "getDocs", answer)
    expect(len(answer.body) > 0, "the page is empty")


@check(
    "contract.token",
    "A token is as the contract says",
    clause="Contract, createToken; RFC 6749, section 5.1",
    remedy=_REMEDY,
)
def token(probe: Probe) -> None:
    from handlens.partner.access import token_call

    answer = probe.send(token_call(probe.tokens.key))
    _judge(probe, "createToken", answer)
    expect("no-store" in answer.headers.get("cache-control", ""), "a token is answered without Cache-Control: no-store")


@check("contract.ping", "ping is as the contract says", clause="Contract, ping", remedy=_REMEDY)
def ping(probe: Probe) -> None:
    _judge(probe, "ping", probe.call("ping"))


@check("contract.lens-photo", "A photo is answered as the contract says", clause="Contract, lens", remedy=_REMEDY)
def lens_photo(probe: Probe) -> None:
    _judge(probe, "lens", probe.call("lens", value=probe.contract.example("lens", "photo")))


@check(
    "contract.lens-area",
    "An area of a screenshot is answered as the contract says",
    clause="Contract, lens",
    remedy=_REMEDY,
)
def lens_area(probe: Probe) -> None:
    value = probe.contract.example("lens", "area")
    found = _judge(probe, "lens", probe.call("lens", value=value))
    kinds = {result["kind"] for tag in found["tags"] for action in tag["actions"] for result in action["results"]}
    expect(kinds <= set(value["kinds"]), f"only {value['kinds']} were asked for, and {sorted(kinds)} are shown")


@check("contract.lens-crop", "A crop is answered as the contract says", clause="Contract, lens", remedy=_REMEDY)
def lens_crop(probe: Probe) -> None:
    photo = probe.contract.example("lens", "photo")["photo"]
    _judge(probe, "lens", probe.call("lens", value={"crop": photo}))


@check(
    "contract.lens-form",
    "A form with a photo is answered as the contract says",
    clause="Contract, lens; RFC 7578",
    remedy=_REMEDY,
)
def lens_form(probe: Probe) -> None:
    import base64

    photo = base64.b64decode(probe.contract.example("lens", "photo")["photo"])
    options = json.dumps({"surface": "gallery", "max_results": 3})
    parts = {
        "photo": ("photo.jpg", photo, "image/jpeg"),
        "request": ("request.json", options.encode(), "application/json"),
    }
    body, media_type = urllib3.encode_multipart_formdata(parts)
    found = _judge(probe, "lens", probe.call("lens", body=body, media_type=media_type))
    most = max((sum(len(one["results"]) for one in tag["actions"]) for tag in found["tags"]), default=0)
    expect(most <= 3, f"max_results is 3, and a tag has {most} results")


@check(
    "contract.lens-objects",
    "Embeddings and labels are answered as the contract says",
    clause="Contract, lens",
    remedy=_REMEDY,
)
def lens_objects(probe: Probe) -> None:
    _judge(probe, "lens", probe.call("lens", value=probe.contract.example("lens", "objects")))


@check(
    "contract.why",
    "Every result says why, where that is asked for",
    clause="Contract, LensRequest.why",
    remedy="Give each result its `why`.",
)
def why(probe: Probe) -> None:
    tags = probe.lens(why=True).member("tags") or []
    results = [result for tag in tags for action in tag.get("actions", ()) for result in action.get("results", ())]
    mute = [result.get("item_id") for result in results if "why" not in result]
    expect(not mute, f"`why` was asked for, and these results have none: {mute[:5]}")


@check(
    "contract.feedback", "Feedback is answered as the contract says", clause="Contract, sendFeedback", remedy=_REMEDY
)
def send_feedback(probe: Probe) -> None:
    token = probe.lens().member("insights_token")
    found = _judge(probe, "sendFeedback", probe.call("sendFeedback", value=feedback(token)))
    expect(found["stored"] == 1, f"one event was sent, and {found['stored']} were stored")


@check(
    "contract.batch",
    "A batch of own items is answered as the contract says",
    clause="Contract, putBatch and getBatch",
    remedy=_REMEDY,
)
def batch(probe: Probe) -> None:
    from handlens.partner.probe import own_item

    batch_id = new_name("batch")
    value = {"items": [own_item(f"{batch_id}-a"), own_item(f"{batch_id}-b")]}
    done = _judge(probe, "putBatch", probe.call("putBatch", parts={"batch_id": batch_id}, value=value), 201)
    read = _judge(probe, "getBatch", probe.call("getBatch", parts={"batch_id": batch_id}))
    expect(read == done, "getBatch gives another answer than putBatch gave")
    again = _judge(probe, "putBatch", probe.call("putBatch", parts={"batch_id": batch_id}, value=value), 200)
    expect(again == done, "the same batch sent again is answered otherwise")


@check("contract.item", "An own item is answered as the contract says", clause="Contract, getItem", remedy=_REMEDY)
def item(probe: Probe) -> None:
    item_id = probe.put_batch()["rows"][0]["item_id"]
    found = _judge(probe, "getItem", probe.call("getItem", parts={"item_id": item_id}))
    expect(
        found["item_id"] == item_id and found["own"] is True, "the item is another, or is not called the partner's own"
    )


@check(
    "contract.batches",
    "The list of batches is answered as the contract says",
    clause="Contract, listBatches",
    remedy=_REMEDY,
)
def batches(probe: Probe) -> None:
    _judge(probe, "listBatches", probe.call("listBatches"))


@check(
    "contract.thumbnail", "A thumbnail is served without credentials", clause="Contract, getThumbnail", remedy=_REMEDY
)
def thumbnail(probe: Probe) -> None:
    from urllib.parse import urlsplit

    from handlens.partner.exchange import Call
    from handlens.partner.outcomes import SkippedError

    tags = probe.lens().member("tags") or []
    results = [result for tag in tags for action in tag.get("actions", ()) for result in action.get("results", ())]
    addresses = [one["url"] for result in results for one in result.get("thumbnails", ())]
    if not addresses:
        raise SkippedError("the answer to the contract's photo has no thumbnail")
    answer = probe.send(Call("GET", urlsplit(addresses[0]).path))
    _judge(probe, "getThumbnail", answer)
    expect(answer.body[:4] == b"RIFF" and answer.body[8:12] == b"WEBP", "the thumbnail is no WebP picture")


@check("contract.usage", "The usage is answered as the contract says", clause="Contract, getUsage", remedy=_REMEDY)
def usage(probe: Probe) -> None:
    found = _judge(probe, "getUsage", probe.call("getUsage"))
    expect(found["mode"] == "test", f"a test key is told the usage of mode {found['mode']!r}")


CHECKS: tuple[Check, ...] = (
    served,
    page,
    token,
    ping,
    lens_photo,
    lens_area,
    lens_crop,
    lens_form,
    lens_objects,
    why,
    send_feedback,
    batch,
    item,
    batches,
    thumbnail,
    usage,
)
