"""The steps of the pipeline in order: events and photos in, one folder out.

Rules:

1. One shuffle brings the rows of a photo together, the photo's own row first; it is kept on disk, as three steps read
   it.
2. What is about all photos (users that are programs, users' caps) is added up by Spark's own operators, and comes back
   as two small tables that are sent to every worker.
3. The order of rows before that shuffle, their number of partitions, and where tasks ran (or were run again) leave no
   trace: rows of a photo are sorted by all their columns, and records come to the driver in the order of photo ids.
4. Nothing is published before all of it is known to be good enough (`JobRules.max_bad`).

::

    inputs = JobInputs(("events/",), "items.jsonl", "catalogue")
    carried = carry(spark, inputs, JobRules(), look_at=Pictures("catalogue"))
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from handlens.errors import TrainingDataError
from handlens_conversion.boxes.drawn import DrawnBox, EventRules
from handlens_conversion.boxes.mode_fit import ModeFitSettings, fit_modes
from handlens_conversion.boxes.modes import DrawingMode
from handlens_conversion.boxes.robots import RobotSettings
from handlens_conversion.pipeline import carrying, exports
from handlens_conversion.pipeline.carrying import EVENT, LISTED, TALLY
from handlens_conversion.pipeline.groups import SplitRules, near_duplicates, split
from handlens_conversion.pipeline.people import mark_rows
from handlens_conversion.pipeline.photo_work import ImageVotes, LookAt, PhotoRecord, PhotoRules
from handlens_conversion.pipeline.progress import showing
from handlens_conversion.pipeline.session import collect_table, map_batches
from handlens_conversion.pipeline.summary import Summary
from handlens_conversion.pipeline.tally import Tally

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

__all__ = [
    "Carried",
    "JobInputs",
    "JobRules",
    "carry",
    "check_share",
    "records_of",
    "sides_of",
    "users_boxes",
]

_PARTITION_BYTES = 32 << 20  # of an export, read into one partition of the shuffle
_UNPACKED = 8  # times the length of a compressed file


@dataclass(frozen=True, slots=True)
class JobInputs:
    """What is read: paths or URIs of events, the list of photos, and the folder its pictures' paths start from."""

    events: tuple[str, ...]
    photos: str
    root: str


@dataclass(frozen=True, slots=True)
class JobRules:
    """The settings of all steps.

    `max_bad` is the share of rows (or bytes of files) that may be no good, 0..1. Ways of drawing are learned from
    `sampled_photos` photos, or fewer when these have `sampled_boxes` boxes.
    """

    events: EventRules = field(default_factory=EventRules)
    robots: RobotSettings = field(default_factory=RobotSettings)
    photo: PhotoRules = field(default_factory=PhotoRules)
    split: SplitRules = field(default_factory=SplitRules)
    modes: ModeFitSettings = field(default_factory=ModeFitSettings)
    sampled_photos: int = 1000
    sampled_boxes: int = 30_000
    max_bad: float = 0.1


@dataclass(frozen=True)
class Carried:
    """What was found: `summary` of all rows, `finished` with a record a photo, `rows` of all boxes, learned `modes`."""

    summary: Summary
    finished: DataFrame
    rows: DataFrame
    modes: tuple[DrawingMode, ...]


def carry(
    spark: SparkSession,
    inputs: JobInputs,
    rules: JobRules,
    *,
    look_at: LookAt,
    image_votes: ImageVotes | None = None,
    progress: bool = False,
) -> Carried:
    """Read, clean, find objects and name them.

    Raises:
        TrainingDataError: the export is empty or too bad, the list of photos has faults, or nothing was found.
    """
    from pyspark import StorageLevel

    with showing(spark, "checking files", shown=progress):
        export = exports.find_export(spark, inputs.events)
    spark.conf.set("spark.sql.shuffle.partitions", str(_partitions(spark, export)))
    rows = _by_photo(exports.export_rows(spark, export, rules.events).unionAll(_listed(spark, inputs.photos)))
    rows = rows.persist(StorageLevel.DISK_ONLY)
    with showing(spark, "reading events", shown=progress):
        told = [row.told for row in rows.filter(rows.kind == TALLY).select("told").collect()]
    read = _read_tally(told, inputs.photos)
    for reject in export.rejects():
        read.rows += 1
        read.add(reject)
    check_share(read, export, rules.max_bad)
    with showing(spark, "judging users", shown=progress):
        marked = mark_rows(rows, rules.robots, per_user=rules.photo.cleaning.per_user)
    with showing(spark, "learning how people draw", shown=progress):
        modes = _learned_modes(rows, marked, rules)
    finish = partial(carrying.finish_photos, rules=rules.photo, look_at=look_at, modes=modes, image_votes=image_votes)
    finished = map_batches(marked, finish, exports.ddl(carrying.RECORDS)).persist(StorageLevel.DISK_ONLY)
    with showing(spark, "finding objects", shown=progress):
        lines = [row.told for row in finished.filter(finished.kind == TALLY).select("told").collect()]
    summary = Summary.sum(lines)
    summary.tally = Tally.sum([read, summary.tally])
    check_share(summary.tally, export, rules.max_bad)
    if not summary.labels:
        raise TrainingDataError(
            f"no object was drawn by {rules.photo.consensus.min_users} users: {_most(summary.tally)} "
            f"(of {summary.tally.rows} rows); give more events, or lower --min-users"
        )
    return Carried(summary, finished, rows, modes)


def records_of(finished: DataFrame) -> Iterator[PhotoRecord]:
    """The records in the order of photo ids, one partition in memory at a time."""
    ordered = finished.filter(finished.kind == LISTED).select("photo", "told").orderBy("photo")
    for row in ordered.toLocalIterator():
        yield PhotoRecord.from_json(row.told)


def sides_of(finished: DataFrame, rules: SplitRules) -> dict[str, tuple[str, str]]:
    """For each photo its side of the split, and the photo that its group of near-duplicates is named by."""
    ordered = finished.filter(finished.kind == LISTED).select("photo", "sha256", "phash").orderBy("photo")
    table = collect_table(ordered)
    photos, sha256s = table["photo"].to_pylist(), table["sha256"].to_pylist()
    hashes = np.array([int(phash, 16) for phash in table["phash"].to_pylist()], dtype=np.uint64)
    groups = near_duplicates(hashes, max_distance=rules.max_distance)
    sides = split(sha256s, groups, rules)
    return {photo: (side, photos[group]) for photo, side, group in zip(photos, sides, groups.tolist(), strict=True)}


def users_boxes(rows: DataFrame, photos: Sequence[str], *, most: int) -> dict[str, list[DrawnBox]]:
    """Of some photos the boxes as users drew them, at most `most` of each, by rank."""
    found: dict[str, list[DrawnBox]] = {photo: [] for photo in photos}
    if not found:
        return found
    wanted = rows.filter((rows.kind == EVENT) & ~rows.again & rows.photo.isin(list(photos)))
    for row in wanted.orderBy("photo", "rank", "event_id").toLocalIterator():
        if len(found[row.photo]) < most:
            box = (row.x_min, row.y_min, row.x_max, row.y_max)
            found[row.photo].append(DrawnBox(row.event_id, row.user, row.photo, box, row.words, row.at))
    return found


def check_share(tally: Tally, export: exports.Export, most: float) -> None:
    """Refuse an export that is too bad.

    Raises:
        TrainingDataError: it has no rows, or more than `most` of it is bad; says what is wrong most.
    """
    if not tally.rows:
        raise TrainingDataError("the export is empty: there is no event in it")
    worst = max(tally.bad_share, export.broken_share)
    if worst > most:
        raise TrainingDataError(
            f"{worst:.1%} of the export is bad, more than the {most:.1%} of --max-bad: {_most(tally)}; "
            "correct what wrote it, or raise --max-bad"
        )


def _most(tally: Tally) -> str:
    """The commonest reasons with a sample each."""
    ranked = sorted(tally.counts.items(), key=lambda one: (one[0].group != "bad", -one[1], one[0].value))[:3]
    told = [f"{number} {reason.value} ({', '.join(tally.samples(reason)[:1])})" for reason, number in ranked]
    return "; ".join(told) or "no box was drawn"


def _partitions(spark: SparkSession, export: exports.Export) -> int:
    size = sum(file.size * (_UNPACKED if file.can_break else 1) for file in export.files)
    return max(2 * int(spark.sparkContext.defaultParallelism), -(-size // _PARTITION_BYTES))


def _listed(spark: SparkSession, path: str) -> DataFrame:
    try:
        lines = exports.lines_of(spark, [path])
        return map_batches(lines, carrying.read_list, exports.rows_schema())
    except Exception as error:
        raise TrainingDataError(f"the list of photos {path} cannot be read: {exports.java_cause(error)}") from error


def _by_photo(rows: DataFrame) -> DataFrame:
    """The rows of a photo together and sorted, with `again` for an event that came before."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F  # noqa: N812 - as everywhere

    columns = [name for name in carrying.ROWS.names if name != "photo"]
    before = F.lag("event_id").over(Window.partitionBy("photo").orderBy(*columns))
    return rows.withColumn("again", (F.col("kind") == EVENT) & before.eqNullSafe(F.col("event_id")))


def _read_tally(told: Sequence[str], photos: str) -> Tally:
    values = [json.loads(one) for one in told]
    faults = sorted(one["fault"] for one in values if "fault" in one)
    if faults:
        raise TrainingDataError(
            f"{len(faults)} lines of {photos} are no photos, such as: {faults[0]}; correct the list"
        )
    return Tally.sum(Tally.from_dict(one) for one in values)


def _learned_modes(rows: DataFrame, marked: DataFrame, rules: JobRules) -> tuple[DrawingMode, ...]:
    """The ways of drawing, from a sample of photos that is the same on every cluster."""
    from pyspark import StorageLevel
    from pyspark.sql import functions as F  # noqa: N812

    drawn = rows.filter((rows.kind == EVENT) & ~rows.again).groupBy("photo").agg(F.count("*").alias("boxes"))
    enough = drawn.filter(F.col("boxes") >= rules.modes.min_users)
    chosen = enough.orderBy(F.xxhash64("photo"), "photo").limit(rules.sampled_photos).select("photo")
    sampled = marked.join(F.broadcast(chosen), "photo", "left_semi")
    cleaned = map_batches(sampled, partial(carrying.clean_photos, rules=rules.photo), exports.ddl(carrying.SAMPLES))
    cleaned = cleaned.persist(StorageLevel.DISK_ONLY)  # to sort them Spark goes through them twice
    photos: list[list[DrawnBox]] = []
    boxes = 0
    for row in cleaned.orderBy("photo").toLocalIterator():
        photos.append(carrying.cleaned_boxes(row.photo, row.told))
        boxes += len(photos[-1])
        if boxes > rules.sampled_boxes:
            break
    return fit_modes(photos, rules.modes, rules.photo.consensus)
