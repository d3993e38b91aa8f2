"""Load at a rate that does not wait for answers, as many phones make it.

Locust and wrk send the next request when the last one is answered: a slow server is asked less, and what would have
waited is never measured ("coordinated omission"). Here each request has a time at which it is due; latencies count from
when it was sent, and how late it was sent is told.
"""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np

__all__ = ["Answer", "Sender", "closed_loop", "open_loop", "summary"]

Query = tuple[bytes, str]  # body and content type


@dataclass(frozen=True, slots=True)
class Answer:
    """One request: seconds since the load began when it was sent, milliseconds, what came."""

    at: float
    late_ms: float  # after it was due
    took_ms: float
    status: int  # 0: the connection broke
    retry_after: str | None
    is_degraded: bool = False
    left_out: int = 0


@dataclass(slots=True)
class Sender:
    """One connection to the endpoint, opened anew where it breaks."""

    url: str
    token: str
    path: str = "/partner/v1/lens"
    reads_answers: bool = False
    _connection: http.client.HTTPConnection | None = field(default=None, repr=False)

    def send(self, query: Query, begun: float, late_ms: float) -> Answer:
        """Send a query; `begun` is when the load began."""
        sent = time.perf_counter()
        is_old = self._connection is not None
        try:
            try:
                answer, data = self._exchange(query)
            except (ConnectionError, http.client.RemoteDisconnected):
                if not is_old:
                    raise
                self.close()  # the server had closed it while it was idle, as any client must expect
                answer, data = self._exchange(query)
        except (OSError, http.client.HTTPException):
            self.close()
            return Answer(sent - begun, late_ms, (time.perf_counter() - sent) * 1000, 0, None)
        took = (time.perf_counter() - sent) * 1000
        values: dict[str, Any] = json.loads(data) if self.reads_answers and answer.status == 200 else {}
        return Answer(
            sent - begun, late_ms, took, answer.status, answer.headers.get("Retry-After"),
            bool(values.get("degraded")), len(values.get("left_out", ())),
        )  # fmt: skip

    def _exchange(self, query: Query) -> tuple[http.client.HTTPResponse, bytes]:
        body, kind = query
        if self._connection is None:
            address = urlsplit(self.url)
            self._connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        self._connection.request("POST", self.path, body, headers)
        answer = self._connection.getresponse()
        return answer, answer.read()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def open_loop(
    make: Callable[[], Sender], queries: Sequence[Query], *, rate: float, seconds: float, senders: int = 48
) -> list[Answer]:
    """Answers to `rate` requests a second, evenly spaced, by as many connections as it takes, at most `senders`."""
    turns, count = itertools.count(), int(rate * seconds)
    begun = time.perf_counter() + 0.05

    def run(sender: Sender, answers: list[Answer]) -> None:
        while (turn := next(turns)) < count:
            due = begun + turn / rate
            wait = due - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            answers.append(sender.send(queries[turn % len(queries)], begun, max(0.0, time.perf_counter() - due) * 1000))
        sender.close()

    return _in_threads(make, senders, run)


def closed_loop(make: Callable[[], Sender], queries: Sequence[Query], *, clients: int, seconds: float) -> list[Answer]:
    """Answers to so many clients, each of which sends when it was answered."""
    turns, begun = itertools.count(), time.perf_counter()

    def run(sender: Sender, answers: list[Answer]) -> None:
        while time.perf_counter() < begun + seconds:
            answers.append(sender.send(queries[next(turns) % len(queries)], begun, 0.0))
        sender.close()

    return _in_threads(make, clients, run)


def summary(answers: Sequence[Answer], seconds: float) -> dict[str, Any]:
    """Counts by status, and percentiles of the milliseconds of those that were answered 200."""
    good = [one.took_ms for one in answers if one.status == 200]
    found: dict[str, Any] = {
        "requests": len(answers),
        "offered_a_second": round(len(answers) / seconds, 1),
        "answered_a_second": round(len(good) / seconds, 1),
        "by_status": dict(sorted(Counter(str(one.status) for one in answers).items())),
        "refused_without_retry_after": sum(one.status in (429, 503) and not one.retry_after for one in answers),
        "sent_late_ms_p99": round(float(np.percentile([one.late_ms for one in answers], 99)), 1) if answers else 0.0,
    }
    if good:
        for name, share in (("p50_ms", 50), ("p95_ms", 95), ("p99_ms", 99), ("max_ms", 100)):
            found[name] = round(float(np.percentile(good, share)), 1)
    refused = [one.took_ms for one in answers if one.status in (429, 503)]
    if refused:
        found["refusal_p50_ms"] = round(float(np.percentile(refused, 50)), 1)
    return found


def _in_threads(make: Callable[[], Sender], count: int, run: Callable[[Sender, list[Answer]], None]) -> list[Answer]:
    rows: list[list[Answer]] = [[] for _ in range(count)]
    threads = [threading.Thread(target=run, args=(make(), row)) for row in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted((one for row in rows for one in row), key=lambda one: one.at)
