"""A lock for many readers or one writer, fair to both.

A search must not run while hnswlib links a node or NumPy moves a row, but many searches may run together. Rules:

* Readers share; a writer is alone.
* A waiting writer holds back new readers, so a stream of searches cannot starve it.
* A writer that leaves lets in every reader that waited, before the next writer: a long upsert, which takes the lock
  once a batch, cannot starve the searches.

Uncontended, a read costs about a microsecond. The scheme is phase-fair (Brandenburg and Anderson, "Spin-Based
Reader-Writer Synchronization for Multiprocessor Real-Time Systems", 2010), here with a condition instead of spinning.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["ReadWriteLock"]


class ReadWriteLock:
    """Use ``with lock.reading:`` and ``with lock.writing():``; neither may be nested in the other."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._readers = 0
        self._held_back = 0
        self._writers_waiting = 0
        self._writing = False
        self._phase = 0
        self.reading = _Reading(self)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock alone."""
        self._enter_write()
        try:
            yield
        finally:
            self._leave_write()

    def enter_read(self) -> None:
        """Wait until no writer holds the lock or has waited for it longer."""
        with self._changed:
            if not self._writing and not self._writers_waiting:
                self._readers += 1
                return
            phase = self._phase
            self._held_back += 1
            while self._phase == phase:  # the leaving writer has already counted this reader in
                self._changed.wait()

    def leave_read(self) -> None:
        """Give the lock back."""
        with self._changed:
            self._readers -= 1
            if not self._readers and self._writers_waiting:
                self._changed.notify_all()

    def _enter_write(self) -> None:
        with self._changed:
            self._writers_waiting += 1
            while self._writing or self._readers:
                self._changed.wait()
            self._writers_waiting -= 1
            self._writing = True

    def _leave_write(self) -> None:
        with self._changed:
            self._writing = False
            self._phase += 1
            self._readers, self._held_back = self._readers + self._held_back, 0
            self._changed.notify_all()


class _Reading:
    """The context manager of a read: one object for all, because a generator would cost more than the lock."""

    __slots__ = ("_lock",)

    def __init__(self, lock: ReadWriteLock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        self._lock.enter_read()

    def __exit__(self, *exc: object) -> None:
        self._lock.leave_read()
