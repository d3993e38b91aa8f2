"""Starts Spark for one job and ends it.

Rules:

1. Java is looked for before Spark is: without it, or with one that is too old, the error names the package to install.
2. The same rows give the same bytes on any master: adaptive execution, which cuts partitions by what ran before, is
   off, times are UTC, and numeric libraries run on one thread, as sums of another order differ in the last bit.
3. Python on the workers imports the very files that the driver runs: they travel with the job as one archive.
4. What Spark keeps while it runs (shuffles, stored rows) lies in `SparkOptions.scratch`.

::

    with open_session(SparkOptions(master="local[2]", scratch=folder)) as spark:
        spark.range(3).count()
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import handlens
import handlens_conversion
from handlens.errors import TrainingDataError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["SparkOptions", "collect_table", "map_batches", "open_session", "require_java"]

_MIN_JAVA = 17
_INSTALL = "install Java 17 or newer (Debian, Ubuntu: apt-get install openjdk-17-jre-headless), or set JAVA_HOME to one"
_WORD_OF_PANDAS = "PySpark does not yet fully support pandas"  # from 3 on; no row of this job passes through pandas
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class SparkOptions:
    """Where and with how much memory Spark runs.

    With a ``local`` master the driver is also the worker, so `driver_memory` holds for both; `executor_memory` is of
    each worker process of a cluster. Python's own memory comes on top, one process a core. `extra` are settings of
    Spark's own, ``spark.x.y=value``, and win over all others.
    """

    scratch: Path
    master: str = "local[*]"
    driver_memory: str = "1g"
    executor_memory: str = "1g"
    partitions: int = 8  # of a shuffle
    extra: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether everything runs on this machine, in one JVM."""
        return self.master.startswith("local")


def map_batches(frame: DataFrame, function: Callable[[Any], Any], schema: str) -> DataFrame:
    """``DataFrame.mapInArrow``."""
    with _no_word_of_pandas():
        return frame.mapInArrow(function, schema)


def collect_table(frame: DataFrame) -> pa.Table:
    """``DataFrame.toArrow``: all rows, in the driver's memory."""
    with _no_word_of_pandas():
        return frame.toArrow()


@contextmanager
def _no_word_of_pandas() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_WORD_OF_PANDAS)
        yield


def require_java() -> None:
    """Check that Spark can start.

    Raises:
        TrainingDataError: there is no Java, or it is too old.
    """
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java") if home is None else str(Path(home) / "bin" / "java")
    if java is None:
        raise TrainingDataError(f"Spark needs Java and there is none: {_INSTALL}")
    try:
        shown = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=True).stderr  # nosec B603  # no shell; Java of the machine
    except (OSError, subprocess.SubprocessError) as error:
        raise TrainingDataError(f"Spark needs Java and {java} does not run ({error}): {_INSTALL}") from error
    found = re.search(r'version "(?:1\.)?(\d+)', shown)
    if found is not None and int(found.group(1)) < _MIN_JAVA:
        raise TrainingDataError(f"Spark needs Java {_MIN_JAVA} and {java} is Java {found.group(1)}: {_INSTALL}")


@contextmanager
def open_session(options: SparkOptions) -> Iterator[SparkSession]:
    """A session that is stopped at the end of the block.

    Raises:
        TrainingDataError: pyspark or Java is missing, or Spark does not start (an unknown master, a wrong setting).
    """
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise TrainingDataError("pyspark is not installed: pip install 'handlens[pipeline]'") from error
    require_java()
    options.scratch.mkdir(parents=True, exist_ok=True)
    builder = SparkSession.builder.appName("handlens boxes").master(options.master)
    for name, value in _settings(options).items():
        builder = builder.config(name, value)
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable if options.is_local else "python3")
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    with _fewer_words(options.scratch), _no_word_of_pandas():
        try:
            session = builder.getOrCreate()
        except Exception as error:
            raise TrainingDataError(f"Spark does not start on {options.master}: {_cause(error)}") from error
        try:
            session.sparkContext.setLogLevel("ERROR")
            session.sparkContext.addPyFile(str(_archive(options.scratch / "handlens_code.zip")))
            yield session
        finally:
            session.stop()


def _settings(options: SparkOptions) -> dict[str, str]:
    settings = {
        "spark.driver.memory": options.driver_memory,
        "spark.executor.memory": options.executor_memory,
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.local.dir": str(options.scratch),
        "spark.sql.warehouse.dir": str(options.scratch / "warehouse"),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.shuffle.partitions": str(options.partitions),
        "spark.sql.files.maxPartitionBytes": str(16 << 20),
        "spark.sql.execution.arrow.maxRecordsPerBatch": "4096",
        "spark.python.worker.reuse": "true",
        **{f"spark.executorEnv.{name}": "1" for name in _ONE_THREAD},
    }
    if options.is_local:
        settings |= {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
    for one in options.extra:
        name, equals, value = one.partition("=")
        if not equals or not name.startswith("spark."):
            raise TrainingDataError(f"{one!r} is no setting of Spark: give spark.NAME=VALUE")
        settings[name] = value
    return settings


@contextmanager
def _fewer_words(scratch: Path) -> Iterator[None]:
    """Keep the greetings of Spark's start from the terminal: its log settings lie in a file that Java is told of."""
    settings = scratch / "log4j2.properties"
    settings.write_text(
        "rootLogger.level = error\nrootLogger.appenderRef.stderr.ref = console\nappender.console.type = Console\n"
        "logger.gateway.name = org.apache.spark.api.python.PythonGatewayServer\nlogger.gateway.level = error\n"
        "appender.console.name = console\nappender.console.target = SYSTEM_ERR\n"
        "appender.console.layout.type = PatternLayout\nappender.console.layout.pattern = %p %c{1}: %m%n\n",
        "utf-8",
    )
    before = os.environ.get("SPARK_CONF_DIR")
    if before is None:
        os.environ["SPARK_CONF_DIR"] = str(scratch)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("SPARK_CONF_DIR", None)


def _archive(path: Path) -> Path:
    """The code that workers import, as one file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for package in (handlens, handlens_conversion):
            folder = Path(next(iter(package.__path__)))
            for file in sorted(folder.rglob("*")):
                if file.suffix in (".py", ".json", ".typed") and "__pycache__" not in file.parts:
                    archive.write(file, f"{folder.name}/{file.relative_to(folder).as_posix()}")
    return path


def _cause(error: Exception) -> str:
    """The first line of what Spark says, without the Java stack below it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "Exception" in line or "Error" in line]
    return (told or lines or [type(error).__name__])[-1 if not told else 0]
