"""Which searches a worker takes on, so that those it takes are answered in time and the others learn it at once.

Rules:

1. **Before anything of a request is read**: it is refused when it has waited for a thread of this worker longer than
   `queue_ms` (the time in the queue is what tells a standing queue from a burst: CoDel, RFC 8289), when `most` searches
   are in the worker, or when the work ahead of it would keep it waiting for longer than `patience_ms`.
2. How long the work ahead takes is Little's law: what stands in line, each by the time that its kind takes lately
   (`Pace`), divided by the `slots` that work on it.
3. **Before it is worked on**, when its deadline is known: it is refused when work is ahead of it and it would not be
   done in time. With nothing ahead it is tried in any case: an estimate alone must not shut out anybody for good.
4. At most `slots` searches run at once, in the order in which they came. More would not be faster, since the models and
   Python take a processor each, and every one would be late.
5. A deadline in which no answer was ever made is the caller's mistake, and not worth trying again (422); any other that
   cannot be kept is ours (503).
6. `Retry-After` is the time that the line takes now, at least a second.

::

    with admission.enter("photo", arrived) as ticket:
        request = read()
        with ticket.turn(deadline_ms=request.deadline_ms):
            search()
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from handlens_server.pace import Pace
from handlens_server.partner.errors import PartnerError
from handlens_server.partner.refusals import (
    DeadlineTooShortError,
    DeadlineUnreachableError,
    OverloadedError,
)

__all__ = ["Admission", "AdmissionOptions", "Ticket", "time_to_work"]

_RESERVE_MS = 10.0  # to write the answer and send it
_RESERVE_SHARE = 0.1  # of a deadline, at most


@dataclass(frozen=True, slots=True)
class AdmissionOptions:
    """What a worker takes on."""

    slots: int = 2  # searches that run at once
    most: int = 6  # searches in the worker, running or waiting; below the worker's threads, which refuse the others
    queue_ms: float = 100.0  # a request that waited longer for a thread is refused
    patience_ms: float = 1000.0  # and one that would wait longer for its turn


@dataclass(eq=False, slots=True)
class Ticket:
    """A search that was taken on; `waited_ms` is how long it had to wait so far, for a thread and for its turn."""

    kind: str
    arrived: float
    waited_ms: float
    _admission: Admission = field(repr=False)

    @contextmanager
    def turn(self, *, kind: str = "", deadline_ms: float | None = None) -> Iterator[None]:
        """Wait for a slot, work in it, and give it back; `kind` corrects what was thought before it was read.

        Raises:
            DeadlineUnreachableError: it would not be done by the deadline, counted from its arrival.
        """
        self.kind = kind or self.kind
        with self._admission.turn(self, deadline_ms):
            yield

    def too_late(self, elapsed_ms: float, deadline_ms: float) -> PartnerError:
        """The refusal of a search that has no time left: its own fault where no answer was ever made in such a time."""
        least = self._admission.least(self.kind)
        if deadline_ms < least:
            return DeadlineTooShortError(
                f"deadline_ms is {deadline_ms:g}, and no such answer took less than {least:.0f} ms: give a longer one"
            )
        text = f"{elapsed_ms:.0f} of {deadline_ms:g} ms are over before anything could be looked at"
        return self._admission.unreachable(f"{text}: the server is busy, try again later")


def time_to_work(deadline_ms: float) -> float:
    """The part of a deadline that is left for the search itself: an answer must also be written and sent.

    >>> time_to_work(150), time_to_work(20)
    (140.0, 18.0)
    """
    return deadline_ms - min(_RESERVE_MS, _RESERVE_SHARE * deadline_ms)


class Admission:
    """What one worker has taken on. Thread-safe."""

    def __init__(self, options: AdmissionOptions, pace: Pace, *, now: Callable[[], float] = time.perf_counter) -> None:
        self._options = options
        self._pace = pace
        self._now = now
        self._changed = threading.Condition()
        self._inside: list[Ticket] = []
        self._line: deque[Ticket] = deque()  # those who wait for a slot
        self._running: list[Ticket] = []

    @contextmanager
    def enter(self, kind: str, arrived: float) -> Iterator[Ticket]:
        """Take on a search that came at `arrived`, a time of `now`.

        Raises:
            OverloadedError: this worker has too much to do.
        """
        waited = (self._now() - arrived) * 1000
        if waited > self._options.queue_ms:
            raise self._overloaded()
        with self._changed:
            if len(self._inside) >= self._options.most or self._ahead(self._inside) > self._options.patience_ms:
                raise self._overloaded()
            ticket = Ticket(kind, arrived, waited, self)
            self._inside.append(ticket)
        try:
            yield ticket
        finally:
            with self._changed:
                self._inside.remove(ticket)

    @contextmanager
    def turn(self, ticket: Ticket, deadline_ms: float | None) -> Iterator[None]:
        """See `Ticket.turn`."""
        self._wait(ticket, deadline_ms)
        begun = self._now()
        try:
            yield
            self._pace.note(ticket.kind, (self._now() - begun) * 1000)
        finally:
            with self._changed:
                self._running.remove(ticket)
                self._changed.notify_all()

    def unreachable(self, text: str) -> DeadlineUnreachableError:
        """The refusal of a deadline that the server is too busy to keep."""
        return DeadlineUnreachableError(text, self._retry_after())

    def least(self, kind: str) -> float:
        """Milliseconds of the fastest search of a kind."""
        return self._pace.least(kind)

    def _wait(self, ticket: Ticket, deadline_ms: float | None) -> None:
        with self._changed:
            begun = self._now()
            if deadline_ms is not None:
                self._check(ticket, deadline_ms, (begun - ticket.arrived) * 1000)
            self._line.append(ticket)
            try:
                while self._line[0] is not ticket or len(self._running) >= self._options.slots:
                    left = None if deadline_ms is None else self._left(ticket, deadline_ms)
                    if left is not None and left <= 0:
                        self._pace.fade(ticket.kind)
                        raise self.unreachable("its turn did not come in time: the server is busy, try again later")
                    self._changed.wait(left)
                self._running.append(ticket)
            finally:
                self._line.remove(ticket)
                self._changed.notify_all()
            ticket.waited_ms += (self._now() - begun) * 1000

    def _check(self, ticket: Ticket, deadline_ms: float, elapsed: float) -> None:
        ahead = [*self._running, *self._line]
        if not ahead:
            return
        needed = elapsed + self._ahead(ahead) + self._pace.expected(ticket.kind)
        if needed > deadline_ms:
            self._pace.fade(ticket.kind)
            raise self.unreachable(
                f"an answer takes about {needed:.0f} ms now, more than the deadline of {deadline_ms:g} ms: "
                "the server is busy, try again later"
            )

    def _left(self, ticket: Ticket, deadline_ms: float) -> float:
        """Seconds for which it may still wait for a slot."""
        begin_by = deadline_ms - self._pace.expected(ticket.kind)
        return ticket.arrived + begin_by / 1000 - self._now()

    def _ahead(self, tickets: list[Ticket]) -> float:
        """Milliseconds until those in line are done, on all slots together."""
        if len(tickets) < self._options.slots:
            return 0.0
        return sum(self._pace.mean(one.kind) for one in tickets) / self._options.slots

    def _overloaded(self) -> OverloadedError:
        return OverloadedError("the server has more to do than it can do in time: try again later", self._retry_after())

    def _retry_after(self) -> int:
        return math.ceil(self._ahead(self._inside) / 1000)
