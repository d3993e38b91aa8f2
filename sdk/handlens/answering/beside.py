"""One thread beside the caller's, for what can be done while a model runs.

A runtime gives Python's lock back while it computes. Rules:

* The caller's thread runs models, and the thread beside it does the Python work, and a model where the caller says so.
  (Python work in the caller's thread would let a model that has finished beside it wait for the lock, up to five
  milliseconds.)
* Work is done in the order in which it was handed over, so what needs an earlier piece of work finds it done.
* Where there is one processor there is no thread: work is done at once, by the caller.

>>> beside = thread_beside()
>>> coming = beside.submit(pow, 2, 10)
>>> coming.result()
1024
>>> beside.shutdown()
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["AtOnce", "Beside", "Coming", "Done", "processors", "thread_beside"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Coming(Protocol[T_co]):
    """The result of work that was handed over."""

    def result(self) -> T_co:
        """Wait for it; what the work raised is raised here."""


class Beside(Protocol):
    """Takes work, until `shutdown`."""

    def submit(self, work: Callable[..., T], /, *given: Any, **named: Any) -> Coming[T]:
        """Hand over a call."""
        ...

    def shutdown(self) -> None:
        """Finish what was handed over, and end."""


def thread_beside() -> Beside:
    """A thread, or `AtOnce` where there is one processor."""
    if processors() == 1:
        return AtOnce()
    from concurrent.futures import ThreadPoolExecutor  # 5 ms, which `import handlens` need not pay

    return ThreadPoolExecutor(1, thread_name_prefix="handlens-beside")


def processors() -> int:
    """Those that this process may use, which in a container are often fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class AtOnce:
    """Does work when it is handed over, in the caller's thread."""

    def submit(self, work: Callable[..., T], /, *given: Any, **named: Any) -> Coming[T]:
        """See `Beside.submit`."""
        return Done(work(*given, **named))

    def shutdown(self) -> None:
        """See `Beside.shutdown`."""


class Done(Generic[T_co]):
    """What has come already."""

    def __init__(self, value: T_co) -> None:
        self._value = value

    def result(self) -> T_co:
        """See `Coming.result`."""
        return self._value
