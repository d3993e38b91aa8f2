"""Spark for tests: whether it can run here, and a real cluster of one master and two workers on loopback."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["Cluster", "running_cluster", "spark_or_skip"]

_SECONDS = 120


def spark_or_skip() -> None:
    """Skip where pyspark or Java is missing; fail where heavy tests must run and pyspark is there."""
    if importlib.util.find_spec("pyspark") is None:
        pytest.skip("pyspark is not installed: needs the extra pipeline")
    if shutil.which("java") is None:
        missing: Callable[[str], object] = pytest.fail if "HANDLENS_REQUIRE_HEAVY" in os.environ else pytest.skip
        missing("Spark needs Java: install openjdk-17-jre-headless")


@dataclass
class Cluster:
    """A standalone cluster; `workers` are processes, each with one core and an executor of its own below it."""

    master: str
    workers: list[subprocess.Popen[bytes]]
    folder: Path

    def has_worked(self, at: int) -> bool:
        """Whether the worker's executor has done a task of a stage that reads what another stage wrote."""
        logs = (self.folder / f"work{at}").glob("app-*/*/stderr")
        return any(re.search(r"Finished task \S+ in stage [1-9]", log.read_text("utf-8", "replace")) for log in logs)

    def kill_worker(self, at: int) -> None:
        """End a worker with its executor and Python processes, as a machine that loses power would."""
        os.killpg(self.workers[at].pid, signal.SIGKILL)
        self.workers[at].wait()


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """One master and two workers of the pyspark package, in process groups of their own."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        processes.append(_start(folder, "master", "Master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0"))
        master = _told(folder / "master.log", r"Starting Spark master at (spark://\S+)", processes[0])
        for at in range(2):
            given = ("--host", "127.0.0.1", "--webui-port", "0", "-c", "1", "-m", "1g", "-d", str(folder / f"work{at}"))
            processes.append(_start(folder, f"worker{at}", "Worker", *given, master))
        for at, process in enumerate(processes[1:]):
            _told(folder / f"worker{at}.log", r"(Successfully registered) with master", process)
        yield Cluster(master, processes[1:], folder)
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _start(folder: Path, name: str, kind: str, *arguments: str) -> subprocess.Popen[bytes]:
    import pyspark

    home = Path(pyspark.__file__).parent
    environment = {**os.environ, "SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m"}
    environment |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_DIRS": str(folder / f"local-{name}")}
    environment.pop("SPARK_CONF_DIR", None)
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [home / "bin" / "spark-class", f"org.apache.spark.deploy.{kind.lower()}.{kind}", *arguments],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _told(log: Path, pattern: str, process: subprocess.Popen[bytes]) -> str:
    """What a daemon's log says, once it does."""
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        if found := re.search(pattern, log.read_text("utf-8", "replace")):
            return found.group(1)
        if process.poll() is not None:
            break
        time.sleep(0.2)
    raise RuntimeError(f"a daemon of Spark did not start:\n{log.read_text('utf-8', 'replace')[-2000:]}")
