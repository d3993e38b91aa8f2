"""The files of an export, and their rows in Spark.

Rules:

1. A path is a file, a folder or a pattern, local or of any file system that Hadoop knows. Of a folder, files whose
   names begin with ``.`` or ``_`` are left out, as Spark does.
2. ``.parquet`` files are tables; all others are JSON lines, plain or compressed by what their name ends with. Lines are
   read as bytes: what is not UTF-8 is a counted row, not a replaced character.
3. Compressed files and tables are read through once before they are used. One that breaks off is named; of its lines
   those before the break are used, a table is left out whole.

::

    export = find_export(spark, ["hdfs://namenode/events/"])
    rows = export_rows(spark, export, EventRules())
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from handlens.errors import TrainingDataError
from handlens_conversion.boxes.drawn import EventRules
from handlens_conversion.boxes.reasons import Reject, RejectReason
from handlens_conversion.pipeline import carrying
from handlens_conversion.pipeline.session import map_batches

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["Export", "ExportFile", "export_rows", "find_export", "lines_of", "rows_schema"]

_COMPRESSED = (".gz", ".bz2", ".zst", ".lz4", ".snappy", ".deflate")
_LINES = (".jsonl", ".ndjson", ".json", ".txt")
_FIELDS = ("format", "kind", "event_id", "device_id", "item_id", "at", "received_at", "label", "box")


@dataclass(frozen=True, slots=True)
class ExportFile:
    """One file: its URI and its length in bytes."""

    uri: str
    size: int

    @property
    def is_table(self) -> bool:
        """Whether it is Parquet."""
        return self.uri.endswith(".parquet")

    @property
    def can_break(self) -> bool:
        """Whether a part of it may be no good although the part before it is."""
        return self.is_table or self.uri.endswith(_COMPRESSED)


@dataclass(frozen=True, slots=True)
class Export:
    """The files of an export; `broken` maps those that cannot be read to their end to what is wrong."""

    files: tuple[ExportFile, ...]
    broken: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(file.size for file in self.files)

    @property
    def broken_share(self) -> float:
        """Bytes in broken files, of all bytes."""
        return sum(file.size for file in self.files if file.uri in self.broken) / self.size if self.size else 0.0

    def rejects(self) -> Iterator[Reject]:
        """One reject for each broken file."""
        for uri, cause in sorted(self.broken.items()):
            yield Reject(RejectReason.BROKEN_FILE, f"{uri.rsplit('/', 1)[-1]}: {cause}")


def find_export(spark: SparkSession, paths: Sequence[str]) -> Export:
    """List the files and read through those that may be broken.

    Raises:
        TrainingDataError: a path leads to nothing, or to no events.
    """
    files: dict[str, ExportFile] = {}
    for path in paths:
        found = list(_files_at(spark, path))
        if not found:
            raise TrainingDataError(f"{path} holds no events: name a file or a folder of .jsonl, .jsonl.gz or .parquet")
        files.update((file.uri, file) for file in found)
    export = Export(tuple(files[uri] for uri in sorted(files)))
    return replace(export, broken=_broken_among(spark, [file for file in export.files if file.can_break]))


def export_rows(spark: SparkSession, export: Export, rules: EventRules) -> DataFrame:
    """All rows as `carrying.ROWS`, with one tally a partition."""
    lines = [file for file in export.files if not file.is_table]
    tables = [file for file in export.files if file.is_table and file.uri not in export.broken]
    parts = []
    whole = [file.uri for file in lines if file.uri not in export.broken]
    torn = [file.uri for file in lines if file.uri in export.broken]
    if whole:
        parts.append(_mapped(lines_of(spark, whole), partial(carrying.read_lines, rules=rules)))
    if torn:
        parts.append(_mapped(lines_of(spark, torn, torn=True), partial(carrying.read_lines, rules=rules)))
    for table in _same_columns(spark, tables):
        parts.append(_mapped(table, partial(carrying.read_records, rules=rules)))
    if not parts:
        raise TrainingDataError(f"no file of the export can be read: {next(iter(export.broken.values()))}")
    rows = parts[0]
    for part in parts[1:]:
        rows = rows.unionAll(part)
    return rows


def lines_of(spark: SparkSession, uris: Sequence[str], *, torn: bool = False) -> DataFrame:
    """The lines of files, as bytes."""
    reader = spark.read.option("lineSep", "\n").option("ignoreCorruptFiles", str(torn).lower())
    return reader.text(list(uris)).selectExpr("cast(value as binary) as line")


def rows_schema() -> str:
    """`carrying.ROWS` in Spark's words."""
    return ddl(carrying.ROWS)


def ddl(schema: pa.Schema) -> str:
    """An Arrow schema in Spark's words."""
    names = {"int8": "tinyint", "int32": "int", "int64": "bigint"}
    return ", ".join(f"{column.name} {names.get(str(column.type), str(column.type))}" for column in schema)


def _mapped(frame: DataFrame, read: Callable[..., Any]) -> DataFrame:
    return map_batches(frame, read, rows_schema())


def _files_at(spark: SparkSession, path: str) -> Iterator[ExportFile]:
    jvm, context = spark._jvm, spark.sparkContext
    assert jvm is not None  # nosec B101  # for the type checker alone
    try:
        where = jvm.org.apache.hadoop.fs.Path(path)
        system = where.getFileSystem(context._jsc.hadoopConfiguration())
        for status in system.globStatus(where) or ():
            if not status.isDirectory():
                yield ExportFile(status.getPath().toString(), status.getLen())
                continue
            below = system.listFiles(status.getPath(), True)
            while below.hasNext():
                file = below.next()
                uri, name = file.getPath().toString(), file.getPath().getName()
                if not name.startswith((".", "_")) and _is_export(name):
                    yield ExportFile(uri, file.getLen())
    except Exception as error:  # py4j's errors carry the Java class as text
        raise TrainingDataError(f"{path} cannot be listed: {java_cause(error)}") from error


def _is_export(name: str) -> bool:
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    return name.endswith((*_LINES, ".parquet"))


def _broken_among(spark: SparkSession, files: Sequence[ExportFile]) -> dict[str, str]:
    """Read through all at once, and one by one only where that fails."""
    empty = {file.uri: "it is empty" for file in files if file.size == 0}
    rest = [file for file in files if file.size]
    if not rest or _fault(spark, rest) is None:
        return empty
    faults = {file.uri: _fault(spark, [file]) for file in rest}
    return empty | {uri: fault for uri, fault in faults.items() if fault is not None}


def _fault(spark: SparkSession, files: Sequence[ExportFile]) -> str | None:
    tables = [file.uri for file in files if file.is_table]
    lines = [file.uri for file in files if not file.is_table]
    try:
        if lines:
            lines_of(spark, lines).write.format("noop").mode("overwrite").save()
        if tables:
            spark.read.parquet(*tables).write.format("noop").mode("overwrite").save()
    except Exception as error:  # noqa: BLE001 - whatever Spark raises, the file cannot be read
        return java_cause(error)
    return None


def _same_columns(spark: SparkSession, tables: Sequence[ExportFile]) -> Iterator[DataFrame]:
    """Tables by schema: files of another schema are read apart, so that a column of another type is a counted fault."""
    alike: dict[str, list[str]] = {}
    for file in tables:
        alike.setdefault(spark.read.parquet(file.uri).schema.json(), []).append(file.uri)
    for uris in alike.values():
        table = spark.read.parquet(*uris)
        yield table.select(*[name for name in _FIELDS if name in table.columns])


def java_cause(error: BaseException) -> str:
    """The innermost cause that Java names, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    told = causes[-1] if causes else next((line for line in lines if "Exception" in line), lines[0] if lines else "")
    kind, _, text = told.partition(": ")
    return (text or kind.rsplit(".", 1)[-1]).strip()[:200] or type(error).__name__
