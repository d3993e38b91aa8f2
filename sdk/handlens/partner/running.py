"""Makes the checks against one server, and records what came of each.

Rules:

1. The sandbox is reset before the first check and after the last, also when the run is broken off.
2. A check that fails does not stop the others; a server that cannot be reached any more does.
3. A live key is refused before anything is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from handlens.partner.access import Key, TokenBook
from handlens.partner.checking import Check
from handlens.partner.checks import ALL_CHECKS
from handlens.partner.contract import Contract
from handlens.partner.exchange import Exchange
from handlens.partner.line import Line
from handlens.partner.outcomes import ConformanceError, FailedError, SkippedError
from handlens.partner.probe import Given, Probe

__all__ = ["Outcome", "Report", "choose", "run_checks"]

_MOST_SHOWN = 3  # exchanges of a check that failed, the last ones
Progress = Callable[[Check, int, int], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a check: `state` is passed, failed or skipped; `said` is what was sent and seen, where it failed."""

    check: Check
    state: str
    seconds: float
    detail: str = ""
    said: tuple[Exchange, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        told: dict[str, Any] = {**self.check.to_dict(), "state": self.state, "seconds": round(self.seconds, 3)}
        if self.detail:
            told["detail"] = self.detail
        if self.said:
            told["said"] = [one.to_dict() for one in self.said]
        return told


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a run."""

    base_url: str
    partner: str
    key_id: str
    contract: str  # the version that the kit knows
    served: str  # the version that the server says it keeps
    begun: str  # ISO 8601, UTC
    seconds: float
    outcomes: tuple[Outcome, ...]

    def count(self, state: str) -> int:
        """How many checks came to this."""
        return sum(one.state == state for one in self.outcomes)

    @property
    def is_conformant(self) -> bool:
        """Whether no check failed."""
        return not self.count("failed")

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "base_url": self.base_url,
            "partner": self.partner,
            "key_id": self.key_id,
            "contract": self.contract,
            "served": self.served,
            "begun": self.begun,
            "seconds": round(self.seconds, 2),
            "conformant": self.is_conformant,
            "passed": self.count("passed"),
            "failed": self.count("failed"),
            "skipped": self.count("skipped"),
            "checks": [one.to_dict() for one in self.outcomes],
        }


def choose(only: Iterable[str]) -> tuple[Check, ...]:
    """The checks with these ids or of these groups; all, where nothing is named.

    Raises:
        ConformanceError: there is no such check.
    """
    wanted = set(only)
    unknown = sorted(wanted - {one.check_id for one in ALL_CHECKS} - {one.group for one in ALL_CHECKS})
    if unknown:
        raise ConformanceError(f"there is no check {', '.join(unknown)}: see `handlens partner check --list`")
    return tuple(one for one in ALL_CHECKS if not wanted or {one.check_id, one.group} & wanted)


def run_checks(
    line: Line,
    key: Key,
    contract: Contract,
    checks: Sequence[Check],
    given: Given | None = None,
    *,
    progress: Progress = lambda check, done, total: None,
    wait: Callable[[float], None] = time.sleep,
) -> Report:
    """Make the checks.

    Raises:
        ConformanceError: the server cannot be reached, or the key cannot be used.
    """
    begun, started = datetime.now(timezone.utc), time.perf_counter()
    probe = Probe(line, contract, TokenBook(line, key), given or Given(), wait=wait)
    pong = _meet(probe)
    _reset(probe)
    outcomes = []
    try:
        for at, one in enumerate(checks):
            progress(one, at, len(checks))
            outcomes.append(_made(one, probe))
    finally:
        _reset(probe)
    return Report(
        base_url=line.url,
        partner=probe.partner,
        key_id=key.key_id,
        contract=contract.version,
        served=str(pong.get("contract", "")),
        begun=begun.isoformat(timespec="seconds"),
        seconds=time.perf_counter() - started,
        outcomes=tuple(outcomes),
    )


def _meet(probe: Probe) -> Mapping[str, Any]:
    """Learn who the key is of, and the server's clock."""
    try:
        before = time.time()
        answer = probe.call("ping")
        pong = answer.json() if answer.status == 200 else None
    except FailedError as error:
        raise ConformanceError(f"{probe.line.url} does not answer as a partner endpoint does: {error}") from error
    if not isinstance(pong, dict):
        raise ConformanceError(
            f"{probe.line.url} answers ping with {answer.status}: is the key good, and not disabled?"
        )
    if pong.get("mode") != "test":
        raise ConformanceError(f"the key is of mode {pong.get('mode')!r}: the kit writes and resets, give a test key")
    wanted = {one.scope for one in probe.contract.operations.values()} - {""}
    missing = sorted(wanted - set(pong.get("scopes", ())))
    if missing:
        raise ConformanceError(f"the key has not the scopes {' '.join(missing)}: make a test key with all of them")
    probe.partner = str(pong.get("partner", ""))
    probe.skew = _skew(str(pong.get("time", "")), (before + time.time()) / 2)
    return pong


def _skew(text: str, here: float) -> float:
    """Seconds that the server's clock is ahead."""
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() - here
    except ValueError:
        return 0.0


def _reset(probe: Probe) -> None:
    try:
        answer = probe.call("resetSandbox")
    except FailedError as error:
        raise ConformanceError(f"the sandbox cannot be reset: {error}") from error
    if answer.status != 200:
        raise ConformanceError(f"the sandbox cannot be reset ({answer.status}): is `sandbox` among the key's scopes?")


def _made(check: Check, probe: Probe) -> Outcome:
    """What comes of a check."""
    probe.line.take()
    started = time.perf_counter()
    state, detail = "passed", ""
    try:
        check.run(probe)
    except SkippedError as error:
        state, detail = "skipped", str(error)
    except FailedError as error:
        state, detail = "failed", str(error)
    except (
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
    ) as error:  # an answer that has not the members it must have
        state, detail = "failed", f"an answer has not the form that the contract gives it: {error!r}"
    said = tuple(probe.line.take()[-_MOST_SHOWN:]) if state == "failed" else ()
    return Outcome(check, state, time.perf_counter() - started, detail, said)
