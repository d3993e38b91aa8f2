"""One thread beside the caller's, for what can be done while a model runs.

A runtime gives Python's lock back while it computes. Rules:

* The caller's thread runs the models, and the thread beside it does the Python work. (The other way round, a model that
  has finished waits for the lock, up to five milliseconds.)
* Work is done in the order in which it was handed over, so what needs an earlier piece of work finds it done.
* Where the models take all processors there is no thread: work is done at once, by the caller.

>>> beside = thread_beside(models=1)
>>> coming = beside.submit(pow, 2, 10)
>>> coming.result()
1024
>>> beside.shutdown()
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["AtOnce", "Beside", "Coming", "thread_beside"]

T = TypeVar("T")


class Beside(Protocol):
    """Takes work, until `shutdown`."""

    def submit(self, work: Callable[..., T], /, *given: Any) -> Coming[T]:
        """Hand over a call."""
        ...

    def shutdown(self) -> None:
        """Finish what was handed over, and end."""


class Coming(Generic[T]):
    """The result of work that was handed over. (`concurrent.futures` takes ten times as long to hand a call over.)"""

    def __init__(self, work: Callable[..., T], given: tuple[Any, ...]) -> None:
        self._work, self._given = work, given
        self._failure: BaseException | None = None
        self._running = threading.Lock()
        self._running.acquire()

    def do(self) -> None:
        """Do the work, once."""
        try:
            self._value = self._work(*self._given)
        except BaseException as failure:  # noqa: BLE001  # it is the caller's, who asks for the result
            self._failure = failure
        finally:
            self._running.release()

    def result(self) -> T:
        """Wait for it; what the work raised is raised here."""
        with self._running:
            if self._failure is not None:
                raise self._failure
            return self._value


def thread_beside(*, models: int) -> Beside:
    """A thread beside models that run on so many threads, or `AtOnce` where no processor is left for it."""
    return AtOnce() if models >= _processors() else _Thread()


def _processors() -> int:
    """Those that this process may use, which in a container are often fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class AtOnce:
    """Does work when it is handed over, in the caller's thread."""

    def submit(self, work: Callable[..., T], /, *given: Any) -> Coming[T]:
        """See `Beside.submit`."""
        coming = Coming(work, given)
        coming.do()
        return coming

    def shutdown(self) -> None:
        """See `Beside.shutdown`."""


class _Thread:
    """One thread that ends with `shutdown`, or when this object is no longer used."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Coming[Any] | None] = SimpleQueue()
        self._thread = threading.Thread(target=_work_off, args=(self._queue,), name="handlens-beside", daemon=True)
        self._thread.start()
        weakref.finalize(self, self._queue.put, None)

    def submit(self, work: Callable[..., T], /, *given: Any) -> Coming[T]:
        coming = Coming(work, given)
        self._queue.put(coming)
        return coming

    def shutdown(self) -> None:
        self._queue.put(None)
        self._thread.join()


def _work_off(queue: SimpleQueue[Coming[Any] | None]) -> None:
    while (coming := queue.get()) is not None:
        coming.do()
        del coming  # its result may hold a photo, and the next work may be long in coming
