"""What a sync says of itself: while it runs, and when it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Progress", "RollbackReport", "SyncReport", "no_progress"]

Progress = Callable[[str, int, int], None]  # step, done, total


def no_progress(step: str, done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did. Bytes and requests are those of this sync alone.

    `missing_packs` are packs that this device wants and the release no longer has. `left_out` names a release that was
    not taken because this device went back from it. `events_error` says why queued events could not be sent: the
    release counts all the same.
    """

    release: str
    serial: int
    as_of: str
    changed: bool
    bytes_received: int = 0
    requests: int = 0
    changes: int = 0
    packs: tuple[str, ...] = ()
    missing_packs: tuple[str, ...] = ()
    left_out: str = ""
    events_sent: int = 0
    events_waiting: int = 0
    events_error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class RollbackReport:
    """Where a device went back to, and from which release.

    `returned` counts items that are shown again, because only the release that was left had removed them: among them
    may be some that the operator withdrew. They go with the next release.
    """

    name: str
    serial: int
    as_of: str
    left: str
    returned: int

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return asdict(self)
