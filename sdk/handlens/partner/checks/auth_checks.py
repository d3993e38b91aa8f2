"""Whether only those are let in who may come in, and only where they may go."""

from __future__ import annotations

import secrets

from handlens.partner.access import Key, token_call
from handlens.partner.checking import Check, check
from handlens.partner.exchange import Answer, Call
from handlens.partner.expecting import expect, expect_refusal, expect_status
from handlens.partner.outcomes import SkippedError
from handlens.partner.probe import Probe

__all__ = ["CHECKS"]

_WRONG = "hlt_" + "A" * 43


@check(
    "auth.missing",
    "No operation answers a call without credentials",
    clause="RFC 9110, section 11.6.1; contract, security of each operation",
    remedy="Check the credentials of every operation that is not open, before anything else, and answer 401.",
)
def missing(probe: Probe) -> None:
    for operation in probe.contract.operations.values():
        if operation.is_open:
            continue
        answer = probe.call(operation.operation_id, token="")
        expect_refusal(answer, 401, "credentials-missing", what=f"{operation.operation_id} without credentials")
        expect("www-authenticate" in answer.headers, f"the 401 of {operation.operation_id} has no WWW-Authenticate")


@check(
    "auth.malformed",
    "A token that is none is refused, whatever it looks like",
    clause="RFC 6750, section 3.1 (invalid_token); contract, Unauthorized",
    remedy="Refuse with 401 and code token-invalid every token that was not given out.",
)
def malformed(probe: Probe) -> None:
    for wrong in (_WRONG, "x", "hlt_", "hlt_" + "é" * 3, "A" * 4000, "../../etc/passwd", probe.tokens.token()[:-1]):
        call = probe.build("ping").with_headers(Authorization=f"Bearer {wrong}".encode().decode("latin-1"))
        expect_refusal(probe.send(call), 401, "token-invalid", "credentials-missing", what="a malformed token")
    basic = probe.build("ping").with_headers(Authorization=probe.tokens.key.basic)
    expect_refusal(probe.send(basic), 401, what="HTTP Basic, which is for the token operation only,")


@check(
    "auth.query",
    "A token in the address is not taken",
    clause="RFC 9700, section 4.3.2: no access tokens in query parameters",
    remedy="Take tokens from the Authorization header only: addresses end in logs.",
)
def query(probe: Probe) -> None:
    answer = probe.call("ping", query=f"access_token={probe.tokens.token()}", token="")
    expect_status(answer, 400, 401, what="a token in the query")


@check(
    "auth.expired",
    "A token that is over is refused as such",
    clause="RFC 6750, section 3.1; contract, Unauthorized",
    remedy="Refuse with 401 and code token-expired: a client then fetches a new token, and does not alarm anybody.",
)
def expired(probe: Probe) -> None:
    if not probe.given.expired_token:
        raise SkippedError("needs a token of this key that is over: --expired-token TOKEN")
    answer = probe.call("ping", token=probe.given.expired_token)
    expect_refusal(answer, 401, "token-expired", "token-invalid", what="a token that is over")


@check(
    "auth.client",
    "Nobody gets a token with a wrong secret, and nobody learns which half was wrong",
    clause="RFC 6749, section 5.2 (invalid_client)",
    remedy="Answer 401 invalid_client with WWW-Authenticate, the same for an unknown key and for a wrong secret.",
)
def client(probe: Probe) -> None:
    known, unknown = probe.tokens.key.key_id, f"hl_test_{secrets.token_hex(10)}"
    texts = []
    for key_id in (known, unknown):
        answer = probe.send(token_call(Key(key_id, f"hls_{secrets.token_urlsafe(32)}")))
        expect_refusal(answer, 401, "oauth-invalid-client", what="a wrong secret")
        expect(answer.member("error") == "invalid_client", f"`error` is {answer.member('error')!r}, not invalid_client")
        expect("www-authenticate" in answer.headers, "the 401 has no WWW-Authenticate")
        texts.append(answer.member("detail"))
    expect(texts[0] == texts[1], f"a known key is told {texts[0]!r}, an unknown one {texts[1]!r}")


@check(
    "auth.grant",
    "Other grants, and scopes that the key has not, give no token",
    clause="RFC 6749, section 5.2 (unsupported_grant_type, invalid_scope)",
    remedy="Answer 400 with the `error` of RFC 6749.",
)
def grant(probe: Probe) -> None:
    for form, error in (
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"scope": "everything"}, "invalid_scope"),
    ):
        answer = expect_status(probe.send(token_call(probe.tokens.key, **form)), 400, what=f"{form}")
        expect(answer.member("error") == error, f"{form} is refused with {answer.member('error')!r}, not {error}")


@check(
    "auth.scopes",
    "A token opens what its scopes name, and nothing else",
    clause="RFC 6750, section 3.1 (insufficient_scope); contract, security of each operation",
    remedy="Refuse with 403 and code scope-missing an operation whose scope the token has not.",
)
def scopes(probe: Probe) -> None:
    narrow = probe.tokens.token("usage:read")
    expect_status(probe.call("ping", token=narrow), 200, what="ping, which any scope opens,")
    expect_status(probe.call("getUsage", token=narrow), 200, what="getUsage with the scope usage:read")
    for operation in probe.contract.operations.values():
        if operation.scope not in ("", "usage:read"):
            answer = _without_effect(probe, operation.operation_id, narrow)
            expect_refusal(answer, 403, "scope-missing", what=f"{operation.operation_id} without {operation.scope}")


def _without_effect(probe: Probe, operation_id: str, token: str) -> Answer:
    """The answer to a call that is let in by its scope only, and would do nothing if it were."""
    parts = {"batch_id": "check-unknown", "item_id": "check-unknown"}
    return probe.call(operation_id, parts=parts, token=token)


@check(
    "auth.ambiguous",
    "A call with two kinds of credentials is refused",
    clause="RFC 6750, section 2: clients must not use more than one method; contract, credentials-ambiguous",
    remedy="Refuse with 401 and code credentials-ambiguous a call with a token and a signature.",
)
def ambiguous(probe: Probe) -> None:
    call = probe.build("ping").with_headers(Signature="sig1=:AAAA:", Signature_Input='sig1=("@method")')
    expect_refusal(probe.send(probe.with_token(call)), 401, "credentials-ambiguous", what="a token beside a signature")


@check(
    "auth.foreign",
    "What is another partner's is as unknown as what does not exist",
    clause="Contract, NotFound; OWASP API1:2023",
    remedy="Look things up with the partner that asks; answer 404 with the code of what is unknown, never 403.",
)
def foreign(probe: Probe) -> None:
    if probe.given.foreign_key is None:
        raise SkippedError("needs a test key of another partner: --foreign-key ID:SECRET")
    done = probe.put_batch()
    answer = probe.line.send(token_call(probe.given.foreign_key))
    token = expect_status(answer, 200, what="the other partner's key").member("access_token")
    for operation_id, parts, code in (
        ("getBatch", {"batch_id": done["batch_id"]}, "batch-unknown"),
        ("getItem", {"item_id": done["rows"][0]["item_id"]}, "item-unknown"),
    ):
        theirs = probe.call(operation_id, parts=parts, token=token)
        expect_refusal(theirs, 404, code, what=f"{operation_id} of another partner's")


@check(
    "auth.no-leak",
    "A refusal repeats no secret",
    clause="Contract, introduction (problems); RFC 6819, section 5.1",
    remedy="Never put a token, a secret or a signature into a problem.",
)
def no_leak(probe: Probe) -> None:
    secret = "hlt_" + secrets.token_urlsafe(32)
    answers = [
        probe.send(probe.build("ping").with_headers(Authorization=f"Bearer {secret}")),
        probe.send(token_call(Key("hl_test_0", secret))),
        probe.send(Call("GET", "/partner/v1/ping", {"Signature": f"sig1=:{secret}:", "Signature-Input": "sig1=()"})),
    ]
    for answer in answers:
        told = answer.body.decode("utf-8", "replace") + str(dict(answer.headers))
        expect(secret not in told, f"the {answer.status} repeats the secret that was sent")


CHECKS: tuple[Check, ...] = (
    missing,
    malformed,
    query,
    expired,
    client,
    grant,
    scopes,
    ambiguous,
    foreign,
    no_leak,
)
