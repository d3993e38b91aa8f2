"""What a check is. What it expects stands in `handlens.partner.expecting`, how it ends in `handlens.partner.outcomes`.

::

    @check("auth.missing", "A call without credentials is refused", clause="RFC 6750, section 3", remedy="Answer 401.")
    def missing(probe: Probe) -> None:
        expect_refusal(probe.call("ping", token=""), 401, "credentials-missing")
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from handlens.partner.probe import Probe

__all__ = ["Check", "check"]


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
