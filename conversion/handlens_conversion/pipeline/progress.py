"""How far Spark is, on standard error: one bar a step, by tasks done of those known.

::

    with showing(spark, "finding objects", shown=True):
        frame.count()
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["showing"]

_PERIOD = 0.5  # seconds between two looks
_PERIOD_IN_A_LOG = 10.0  # where every look is one more line


@contextmanager
def showing(spark: SparkSession, step: str, *, shown: bool) -> Iterator[None]:
    """Show a bar while the block runs its Spark jobs."""
    if not shown:
        yield
        return
    from tqdm import tqdm

    ended = threading.Event()
    with tqdm(desc=step, unit="task", leave=True) as bar:
        watcher = threading.Thread(target=_watch, args=(spark, bar, ended), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()
            bar.total = bar.n
            bar.refresh()


def _watch(spark: SparkSession, bar: object, ended: threading.Event) -> None:
    tracker, totals, done = spark.sparkContext.statusTracker(), {}, {}
    period = _PERIOD if sys.stderr.isatty() else _PERIOD_IN_A_LOG
    while not ended.wait(period):
        for stage in tracker.getActiveStageIds():
            told = tracker.getStageInfo(stage)
            if told is not None:
                totals[stage], done[stage] = told.numTasks, told.numCompletedTasks
        bar.total, bar.n = sum(totals.values()), sum(done.values())  # type: ignore[attr-defined]
        bar.refresh()  # type: ignore[attr-defined]
