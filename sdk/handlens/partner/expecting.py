"""What a check expects of an answer, and how it says that a promise is not kept."""

from __future__ import annotations

from handlens.partner.exchange import Answer
from handlens.partner.outcomes import FailedError

__all__ = ["expect", "expect_refusal", "expect_status"]


def expect(is_kept: bool, otherwise: str) -> None:
    """Fail the check unless the promise is kept.

    Raises:
        FailedError: it is not.
    """
    if not is_kept:
        raise FailedError(otherwise)


def expect_status(answer: Answer, *wanted: int, what: str = "the call") -> Answer:
    """The answer, when it has one of the statuses.

    Raises:
        FailedError: it has another.
    """
    names = " or ".join(str(one) for one in wanted)
    code = answer.member("code") if answer.status >= 400 and answer.media_type.endswith("json") else None
    told = f" ({code})" if code else ""
    expect(answer.status in wanted, f"{what} was answered with {answer.status}{told}, not with {names}")
    return answer


def expect_refusal(answer: Answer, status: int, *codes: str, what: str = "the call") -> Answer:
    """The answer, when it is a refusal with this status and one of the codes.

    Raises:
        FailedError: it is none, or another.
    """
    expect_status(answer, status, what=what)
    code = answer.member("code")
    expect(
        not codes or code in codes,
        f"{what} was refused with {status} and code {code!r}, not with {' or '.join(codes)}",
    )
    return answer
