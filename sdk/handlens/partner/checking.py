"""What a check is, how it says that a promise is not kept, and what it is told when it cannot ask.

::

    @check("auth.missing", "A call without credentials is refused", clause="RFC 6750, section 3", remedy="Answer 401.")
    def missing(probe: Probe) -> None:
        expect_refusal(probe.call("ping", token=""), 401, "credentials-missing")
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from handlens.errors import HandlensError

if TYPE_CHECKING:
    from handlens.partner.exchange import Answer
    from handlens.partner.probe import Probe

__all__ = [
    "Check",
    "ConformanceError",
    "FailedError",
    "SkippedError",
    "check",
    "expect",
    "expect_refusal",
    "expect_status",
]


class ConformanceError(HandlensError):
    """The checks cannot be made: the server cannot be reached, the key is refused, or an option cannot work."""


class FailedError(Exception):
    """A promise is not kept; the text says what was seen and what was promised."""


class SkippedError(Exception):
    """A check cannot be made with what was given; the text says what it needs."""


@dataclass(frozen=True, slots=True)
class Check:
    """One promise: the clause that gives it, how it is asked for, and what to do where it is not kept."""

    check_id: str
    title: str
    clause: str
    remedy: str
    run: Callable[[Probe], None]

    @property
    def group(self) -> str:
        """What stands before the dot of its id."""
        return self.check_id.partition(".")[0]

    def to_dict(self) -> dict[str, str]:
        """The JSON object."""
        return {"id": self.check_id, "title": self.title, "clause": self.clause, "remedy": self.remedy}


def check(check_id: str, title: str, *, clause: str, remedy: str) -> Callable[[Callable[[Probe], None]], Check]:
    """Make a check of a function."""
    return lambda run: Check(check_id, title, clause, remedy, run)


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
