"""HTTP message signatures (RFC 9421): what is accepted, and that nothing else is."""

from __future__ import annotations

from dataclasses import replace

from handlens.partner.checking import Check, check
from handlens.partner.expecting import expect_refusal, expect_status
from handlens.partner.probe import Probe, feedback

__all__ = ["CHECKS"]

_DAY = 86_400.0
_IN_TIME = 240.0  # seconds; the contract allows 300
_CLAUSE = "RFC 9421, section 3.2; contract, introduction (access)"


@check(
    "signature.accepted",
    "Signed calls are let in: with a query, with a body, with neither",
    clause=_CLAUSE,
    remedy="Verify Ed25519 over @method, @authority, @path, @query and content-digest, as the call came over the wire.",
)
def accepted(probe: Probe) -> None:
    token = probe.lens().member("insights_token")
    for call in (
        probe.build("ping"),
        probe.build("listBatches", query="limit=3"),
        probe.build("sendFeedback", value=feedback(token)),
    ):
        expect_status(probe.send(probe.signed(call)), 200, what=f"a signed {call.method} {call.target}")


@check(
    "signature.skew",
    "A clock that is off by minutes is borne, one that is off by a day is not",
    clause="RFC 9421, section 7.2.2; contract, introduction (300 seconds)",
    remedy="Compare `created` with the server's clock in both directions; refuse with 401 and code signature-expired.",
)
def skew(probe: Probe) -> None:
    for seconds in (-_IN_TIME, _IN_TIME):
        answer = probe.send(probe.signed(probe.build("ping"), seconds=seconds))
        expect_status(answer, 200, what=f"a signature made {seconds:+.0f} s from now")
    for seconds in (-_DAY, _DAY):
        answer = probe.send(probe.signed(probe.build("ping"), seconds=seconds))
        expect_refusal(answer, 401, "signature-expired", what=f"a signature made {seconds:+.0f} s from now")


@check(
    "signature.replay",
    "A signed call that is sent again is refused",
    clause="RFC 9421, section 7.2.2; contract, introduction (a nonce is taken once)",
    remedy="Remember each nonce while its signature could be in time; refuse with 401 and code signature-replayed.",
)
def replay(probe: Probe) -> None:
    call = probe.signed(probe.build("ping"))
    expect_status(probe.send(call), 200, what="a signed call")
    expect_refusal(probe.send(call), 401, "signature-replayed", what="the same signed call, sent again,")


@check(
    "signature.tampered",
    "A signature is good for the call that it was made for, and for no other",
    clause="RFC 9421, sections 2 and 3.2; RFC 9530 (Content-Digest)",
    remedy="Take the components from the call itself, and the digest from its body.",
)
def tampered(probe: Probe) -> None:
    ping = probe.signed(probe.build("ping"))
    listing = probe.build("listBatches")
    expect_refusal(
        probe.send(replace(ping, target=listing.target)), 401, "signature-invalid", what="a signature of another path"
    )
    queried = probe.signed(probe.build("listBatches", query="limit=3"))
    more = replace(queried, target=queried.target.replace("limit=3", "limit=4"))
    expect_refusal(probe.send(more), 401, "signature-invalid", what="a signature of another query")
    written = probe.signed(probe.build("sendFeedback", value=feedback("signed")))
    other = replace(written, body=written.body.replace(b"signed", b"forged"))
    expect_refusal(probe.send(other), 401, "digest-mismatch", what="a signature of another body")


@check(
    "signature.incomplete",
    "A signature that leaves the body or the path uncovered is refused",
    clause="RFC 9421, section 7.2.1 (insufficient coverage)",
    remedy="Refuse with 401 and code signature-incomplete what does not cover all that the contract asks for.",
)
def incomplete(probe: Probe) -> None:
    bare = probe.signed(probe.build("ping"), covered=("@method", "@authority"))
    expect_refusal(probe.send(bare), 401, "signature-incomplete", what="a signature without @path")
    write = probe.build("sendFeedback", value=feedback("unsigned"))
    open_body = probe.signed(write, covered=("@method", "@authority", "@path"))
    expect_refusal(probe.send(open_body), 401, "signature-incomplete", what="a signature without the body's digest")


@check(
    "signature.unknown-key",
    "A signature of an unknown key is refused",
    clause=_CLAUSE,
    remedy="Refuse with 401 and code signature-key-unknown.",
)
def unknown_key(probe: Probe) -> None:
    call = probe.signed(probe.build("ping"), key_id="hl_test_00000000000000000000")
    expect_refusal(probe.send(call), 401, "signature-key-unknown", what="a signature of an unknown key")


@check(
    "signature.malformed",
    "Signatures that cannot be read are refused, and break nothing",
    clause="RFC 9421, section 4; RFC 9651",
    remedy="Refuse with 401 and code signature-malformed.",
)
def malformed(probe: Probe) -> None:
    for given, signature in (
        ("sig1", "sig1"),
        ('sig1=("@method"', "sig1=:AAAA:"),
        ('sig1=("@method");created=1', ""),
        ("%%%", "sig1=:!!!:"),
    ):
        call = probe.build("ping").with_headers(Signature_Input=given, Signature=signature)
        answer = probe.send(call)
        expect_refusal(
            answer,
            401,
            "signature-malformed",
            "signature-incomplete",
            "signature-expired",
            what=f"a signature {given!r}",
        )


CHECKS: tuple[Check, ...] = (accepted, skew, replay, tampered, incomplete, unknown_key, malformed)
