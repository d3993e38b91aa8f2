"""What keeps the endpoint steady, put together: calls pass here before and after their access is checked, and answered.

Rules:

1. Before access, a search is refused when this worker has too much to do (`Admission`).
2. After access: the contract version must not be gone, a fault that was asked for must be allowed, then the calls at
   once, the window and the day's quota of the partner are counted. Test keys are counted apart from live ones.
3. A fault happens last, and in place of the view: nothing was done.
4. Every answer, a refusal too, says the limits that were looked at, the end of the contract's version where it has one,
   and the milliseconds by step.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Protocol

from flask import Flask, Response, abort, g, json, request
from sqlalchemy.orm import Session

from handlens_server.arrivals import arrived_at
from handlens_server.following import server_timing
from handlens_server.pace import Pace
from handlens_server.partner.admission import Admission, AdmissionOptions, Ticket
from handlens_server.partner.fault_requests import MALFORMED_BODY, Sleeper, read_fault
from handlens_server.partner.idempotency import Keep, Kept, Writes
from handlens_server.partner.idempotency_keys import fingerprint_of, read_key
from handlens_server.partner.lifecycles import lifecycle_headers, read_lifecycles, refuse_gone
from handlens_server.partner.quotas import DAY, Quotas
from handlens_server.partner.rate_fields import Limit, LimitState, rate_fields
from handlens_server.partner.rates import Rates
from handlens_server.partner.refusals import RateLimitedError
from handlens_server.services import Services

__all__ = ["Answered", "LimitedCaller", "Steady", "owner_of", "ticket"]

Answered = tuple[Mapping[str, Any], int]  # the JSON object and the status
_SEARCH = "lens"  # the operation that is taken on or refused
_BIG = 32_768  # bytes: what is larger than the embeddings of a few objects is a picture
_VERSION = "1"


class LimitedCaller(Protocol):
    """Who calls, as far as limits go."""

    @property
    def partner_id(self) -> str:
        """The partner."""

    @property
    def is_test(self) -> bool:
        """Whether it works in the sandbox."""

    @property
    def limits(self) -> Mapping[str, int]:
        """requests_per_minute, concurrent."""

    @property
    def quotas(self) -> Mapping[str, int]:
        """requests_per_day."""


class Steady:
    """The parts, as one worker has them. Thread-safe."""

    def __init__(self, services: Services) -> None:
        config = services.config
        options = AdmissionOptions(
            slots=config.partner_slots,
            most=config.partner_searches,
            queue_ms=config.partner_queue_ms,
            patience_ms=config.partner_patience_ms,
        )
        self.admission = Admission(options, Pace())
        self.rates = Rates(config)
        self.quotas = Quotas(services.database, services.clock)
        self.writes = Writes(services.database, services.clock)
        self._clock = services.clock
        self.version = read_lifecycles()[_VERSION]
        self._sleeper = Sleeper()
        self._lock = threading.Lock()
        self._at_once: Counter[str] = Counter()

    def attend(self, app: Flask, prefix: str) -> None:
        """See every answer of `app` whose path begins with `prefix`, also those that no view made."""

        def told(response: Response) -> Response:
            return self._told(response) if request.path.startswith(prefix) else response

        app.after_request(told)
        app.teardown_request(_give_back)

    def close(self) -> None:
        """Close what is open."""
        self.rates.close()

    def before_access(self, operation: str) -> None:
        """Take a search on, or refuse it, before anything of it is read.

        Raises:
            OverloadedError: this worker has too much to do.
        """
        if operation == _SEARCH:
            kind = "photo" if request.mimetype != "application/json" or _length() > _BIG else "seen"
            entry: ExitStack = ExitStack()
            g.partner_ticket = entry.enter_context(self.admission.enter(kind, arrived_at(request.environ)))
            g.partner_entry = entry
            _stack().callback(entry.close)

    def after_access(self, who: LimitedCaller) -> None:
        """Count a call whose access is good.

        Raises:
            VersionGoneError, FaultNotAllowedError, FaultMalformedError, RateLimitedError, QuotaExceededError,
            OverloadedError: it is refused.
        """
        refuse_gone(self.version, self._clock())
        if who.is_test and "partner_entry" in g:
            g.partner_entry.close()  # fixtures take no time, and a slow answer must not hold a place
        fault = read_fault(request.headers.get("Handlens-Fault"), is_test=who.is_test)
        self._count(who)
        if fault is None:
            return
        fault.refuse()
        if fault.kind == "malformed":
            abort(Response(MALFORMED_BODY, content_type="application/json"))
        self._sleeper.sleep(fault.slow_ms)

    def once(self, who: LimitedCaller, write: Callable[[Session], Answered]) -> Response:
        """The answer of a write that is made once for its Idempotency-Key, in a transaction that is opened for it.

        Raises:
            KeyMissingError, KeyMalformedError, KeyReusedError, KeyInUseError: it may not be made.
        """
        key, fingerprint = self._identity()
        return _answer(*self.writes.once(owner_of(who), key, fingerprint, lambda session: _kept(write(session))))

    def around(self, who: LimitedCaller, work: Callable[[Callable[[Session, Answered], None]], Answered]) -> Response:
        """As `once`, for work with a transaction of its own: it calls what it is given, in it, with its answer."""
        key, fingerprint = self._identity()

        def kept_work(keep: Keep) -> Kept:
            return _kept(work(lambda session, answered: keep(session, _kept(answered))))

        return _answer(*self.writes.around(owner_of(who), key, fingerprint, kept_work))

    def forget(self, who: LimitedCaller) -> None:
        """Begin the windows of a caller anew."""
        self.rates.reset(owner_of(who), _window(who))
        self.quotas.forget(owner_of(who))

    def _identity(self) -> tuple[str, str]:
        key = read_key(request.headers.get("Idempotency-Key"))
        target = request.full_path if request.query_string else request.path
        return key, fingerprint_of(request.method, target, request.mimetype, request.get_data(cache=True))

    def _count(self, who: LimitedCaller) -> None:
        owner, states = owner_of(who), _states()
        self._enter(owner, who.limits["concurrent"])
        try:
            state = self.rates.take(owner, _window(who))
        except RateLimitedError as error:
            states.append(_window(who).state(used=_window(who).quota, reset=error.retry_after or 1))
            raise
        states += [] if state is None else [state]
        states.append(self.quotas.take(owner, Limit("day", who.quotas["requests_per_day"], DAY)))

    def _enter(self, owner: str, most: int) -> None:
        with self._lock:
            if self._at_once[owner] >= most:
                raise RateLimitedError(f"more than {most} calls at once: wait for one to be answered", 1)
            self._at_once[owner] += 1
        _stack().callback(self._leave, owner)

    def _leave(self, owner: str) -> None:
        with self._lock:
            self._at_once[owner] -= 1
            if not self._at_once[owner]:
                del self._at_once[owner]

    def _told(self, response: Response) -> Response:
        headers = {**rate_fields(_states()), **lifecycle_headers(self.version), "Server-Timing": server_timing()}
        for name, value in headers.items():
            response.headers.add(name, value) if name == "Link" else response.headers.set(name, value)
        return response


def owner_of(who: LimitedCaller) -> str:
    """Under which name a caller's writes and calls are counted."""
    return f"{who.partner_id}/test" if who.is_test else who.partner_id


def ticket() -> Ticket:
    """That of the search that is being answered."""
    found: Ticket = g.partner_ticket
    return found


def _window(who: LimitedCaller) -> Limit:
    return Limit("requests", who.limits["requests_per_minute"], 60)


def _stack() -> ExitStack:
    """What is given back when the request ends."""
    if "partner_stack" not in g:
        g.partner_stack = ExitStack()
    stack: ExitStack = g.partner_stack
    return stack


def _give_back(_error: BaseException | None) -> None:
    stack: ExitStack | None = g.pop("partner_stack", None)
    if stack is not None:
        stack.close()


def _states() -> list[LimitState]:
    if "partner_limits" not in g:
        g.partner_limits = []
    states: list[LimitState] = g.partner_limits
    return states


def _length() -> int:
    """Bytes of the body; one that does not say may be large."""
    return _BIG + 1 if request.content_length is None else request.content_length


def _kept(answered: Answered) -> Kept:
    values, status = answered
    return Kept(status, json.dumps(values).encode())


def _answer(kept: Kept, is_replayed: bool) -> Response:
    response = Response(kept.body, status=kept.status, content_type=kept.content_type)
    if is_replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response
