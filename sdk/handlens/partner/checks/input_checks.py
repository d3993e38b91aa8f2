"""Bad input: each its documented status, none a 500, nothing written."""

from __future__ import annotations

import base64
import json
import struct
import zlib

from handlens.partner.checking import Check, check
from handlens.partner.expecting import expect, expect_refusal, expect_status
from handlens.partner.probe import Probe, feedback, own_item

__all__ = ["CHECKS"]

_JSON_CLAUSE = "RFC 8259; RFC 7493 (I-JSON), section 2; contract, BadRequest"
_JSON_REMEDY = "Read JSON strictly; refuse with 400 and code malformed-json."
_HUGE = 50_000_000


def _refuse_json(probe: Probe, body: bytes, what: str, *codes: str) -> None:
    answer = probe.call("lens", body=body)
    expect_refusal(answer, 400, *(codes or ("malformed-json",)), what=what)


@check(
    "inputs.media-type",
    "A body of another type is refused",
    clause="RFC 9110, section 15.5.16; contract, WrongMediaType",
    remedy="Refuse with 415 and code unsupported-media-type, before the body is read.",
)
def media_type(probe: Probe) -> None:
    photo = json.dumps(probe.contract.example("lens", "photo")).encode()
    for kind in ("text/plain", "application/xml", "image/jpeg", ""):
        answer = probe.call("lens", body=photo, media_type=kind)
        expect_refusal(answer, 415, "unsupported-media-type", what=f"a body of type {kind!r}")
    answer = probe.call("sendFeedback", body=b"a=b", media_type="application/x-www-form-urlencoded")
    expect_refusal(answer, 415, "unsupported-media-type", what="a form where JSON is expected")


@check(
    "inputs.too-large",
    "A body that is too large is refused before it is read",
    clause="RFC 9110, section 15.5.14; contract, introduction (5,000,000 bytes)",
    remedy="Look at Content-Length first; refuse with 413 and code request-entity-too-large.",
)
def too_large(probe: Probe) -> None:
    call = probe.with_token(probe.build("lens", body=b"{"))
    answer = probe.line.promise(call, _HUGE)
    expect_refusal(answer, 413, "request-entity-too-large", what=f"a body of {_HUGE:,} bytes, of which one was sent,")


@check(
    "inputs.json",
    "JSON that is cut short, is nested deeply, or is no UTF-8 is refused",
    clause=_JSON_CLAUSE,
    remedy=_JSON_REMEDY,
)
def broken_json(probe: Probe) -> None:
    _refuse_json(probe, b'{"photo": ', "JSON that is cut short")
    _refuse_json(probe, b"[" * 50_000, "JSON that is nested 50,000 deep")
    _refuse_json(probe, b'{"refine": ' + b"[" * 200 + b"]" * 200 + b"}", "JSON that is nested 200 deep")
    _refuse_json(probe, b'{"photo": "\xff\xfe"}', "JSON that is no UTF-8")
    _refuse_json(probe, b'{"refine": "\\ud800"}', "JSON with half of a surrogate pair")
    _refuse_json(probe, b"[]", "a list where an object is expected", "request-invalid", "malformed-json")


@check(
    "inputs.duplicate-names",
    "JSON with a name that stands twice is refused",
    clause=f"{_JSON_CLAUSE} (names are unique)",
    remedy=_JSON_REMEDY,
)
def duplicate_names(probe: Probe) -> None:
    photo = json.dumps(probe.contract.example("lens", "photo")["photo"])
    _refuse_json(
        probe, f'{{"photo": {photo}, "surface": "camera", "surface": "gallery"}}'.encode(), "a name that stands twice"
    )


@check(
    "inputs.numbers",
    "Numbers that are none are refused",
    clause=f"{_JSON_CLAUSE} (no NaN, no infinities)",
    remedy=_JSON_REMEDY,
)
def numbers(probe: Probe) -> None:
    photo = json.dumps(probe.contract.example("lens", "photo")["photo"])
    for text in ("NaN", "Infinity", "-Infinity", "1e999"):
        _refuse_json(probe, f'{{"photo": {photo}, "deadline_ms": {text}}}'.encode(), text)


@check(
    "inputs.unknown-field",
    "A field that the contract does not know is refused by its name",
    clause="Contract, introduction (requests are closed)",
    remedy="Refuse with 400 and code request-invalid, and name the place in `errors`.",
)
def unknown_field(probe: Probe) -> None:
    value = {**probe.contract.example("lens", "photo"), "colour": "red"}
    answer = expect_refusal(probe.call("lens", value=value), 400, "request-invalid", what="an unknown field")
    expect("colour" in json.dumps(answer.member("errors") or []), "`errors` does not name the unknown field")
    query = probe.call("ping", query="colour=red")
    expect_refusal(query, 400, "parameter-unknown", what="an unknown query parameter")


@check(
    "inputs.choice",
    "Exactly one of photo, crop and objects is taken",
    clause="Contract, LensRequest",
    remedy="Refuse with 400 and code request-invalid.",
)
def choice(probe: Probe) -> None:
    photo = probe.contract.example("lens", "photo")["photo"]
    for value in ({}, {"surface": "camera"}, {"photo": photo, "crop": photo}, {"objects": [], "space": "x"}):
        expect_refusal(probe.call("lens", value=value), 400, "request-invalid", what=f"the fields {sorted(value)}")


@check(
    "inputs.form",
    "A form that is broken is refused",
    clause="RFC 7578; RFC 2046, section 5.1.1; contract, BadRequest",
    remedy="Refuse with 400 and code malformed-form.",
)
def form(probe: Probe) -> None:
    part = b'--edge\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\nabc'
    for body, kind, what in (
        (part, "multipart/form-data; boundary=edge", "a form that is cut short"),
        (part + b"\r\n--edge--\r\n", "multipart/form-data", "a form without a boundary"),
        (b"no parts at all", "multipart/form-data; boundary=edge", "a form without parts"),
    ):
        answer = probe.call("lens", body=body, media_type=kind)
        expect_refusal(answer, 400, "malformed-form", "request-invalid", what=what)


@check(
    "inputs.address",
    "An address in place of a picture is refused, and not fetched",
    clause="Contract, Base64; OWASP API7:2023",
    remedy="Take bytes only; refuse with 400 and code request-invalid.",
)
def address(probe: Probe) -> None:
    for text in ("https://example.com/photo.jpg", "http://169.254.169.254/latest/meta-data/", "file:///etc/passwd"):
        expect_refusal(probe.call("lens", value={"photo": text}), 400, "request-invalid", what=f"the photo {text!r}")


@check(
    "inputs.picture",
    "Bytes that are no picture are refused",
    clause="Contract, NotServable",
    remedy="Refuse with 422 and code photo-unusable.",
)
def picture(probe: Probe) -> None:
    real = base64.b64decode(probe.contract.example("lens", "photo")["photo"])
    for data, what in (
        (b"GIF89a", "half a header"),
        (b"hello, world", "a text"),
        (real[: len(real) // 2], "half a photo"),
    ):
        answer = probe.call("lens", value={"photo": base64.b64encode(data).decode()})
        if data != real[: len(real) // 2] or answer.status != 200:  # many readers show what is there of a cut photo
            expect_refusal(answer, 422, "photo-unusable", what=what)


@check(
    "inputs.bomb",
    "A small file that unpacks to a huge picture is refused",
    clause="Contract, TooLarge; CWE-409",
    remedy="Read the picture's size from its header first; refuse with 413 and code photo-too-large.",
)
def bomb(probe: Probe) -> None:
    answer = probe.call("lens", value={"photo": base64.b64encode(_bomb()).decode()})
    expect_status(answer, 413, 422, what="a PNG of 60,000 x 60,000 pixels in a few kilobytes")


def _bomb() -> bytes:
    """A PNG whose header says 60,000 x 60,000 pixels, and whose first rows are there."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(7_501 * 500), 9)
    parts = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    packed = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + packed


@check(
    "inputs.insights",
    "An insights token that was given for nothing is refused",
    clause="Contract, sendFeedback and NotServable",
    remedy="Sign insights tokens; refuse others with 422 and code insights-token-invalid.",
)
def insights(probe: Probe) -> None:
    answer = probe.call("sendFeedback", value=feedback("made-up"))
    expect_refusal(answer, 422, "insights-token-invalid", what="an insights token that is made up")


@check(
    "inputs.embedding",
    "Embeddings of another space, or of another length, are refused",
    clause="Contract, NotServable",
    remedy="Refuse with 422 and code embedding-space-unknown or embedding-unusable.",
)
def embedding(probe: Probe) -> None:
    value = probe.contract.example("lens", "objects")
    other = probe.call("lens", value={**value, "space": "someone-elses"})
    expect_refusal(other, 422, "embedding-space-unknown", what="embeddings of an unknown space")
    short = probe.call("lens", value={**value, "objects": [{"embedding": [0.5, 0.5, 0.5]}]})
    expect_refusal(short, 422, "embedding-unusable", what="an embedding of three numbers")


@check(
    "inputs.picture-address",
    "An address in place of an own item's picture is refused",
    clause="Contract, putBatch",
    remedy="Take bytes only, and name the row.",
)
def picture_address(probe: Probe) -> None:
    item = {**own_item("check-address"), "image": "https://example.com/photo.jpg"}
    answer = probe.call("putBatch", parts={"batch_id": "check-address"}, value={"items": [item]})
    expect_status(answer, 400, 422, what="an item whose image is an address")


CHECKS: tuple[Check, ...] = (
    media_type,
    too_large,
    broken_json,
    duplicate_names,
    numbers,
    unknown_field,
    choice,
    form,
    address,
    picture,
    bomb,
    insights,
    embedding,
    picture_address,
)
