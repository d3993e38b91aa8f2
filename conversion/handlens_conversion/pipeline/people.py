"""What is about a user on all photos, added up by Spark's own operators: who is a program, and who is over the cap.

The counts are Spark's, the verdict is `robots.robot_verdict` over them. Both answers are small tables that are sent to
every worker, so the rows stay where they are; they are kept, as more than one step asks for marked rows.

::

    marked = mark_rows(rows, RobotSettings(), per_user=2000)      # rows with robot_user, cap_rank, cap_event
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from handlens_conversion.boxes.robots import RobotSettings
from handlens_conversion.pipeline import carrying, exports
from handlens_conversion.pipeline.carrying import EVENT
from handlens_conversion.pipeline.session import map_batches

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["HOUR", "SHAPE", "mark_rows"]

# `robots.hour_of` and `robots.shape_of` in SQL: the same doubles, without a way through Python.
HOUR = "cast(floor(at / 3600) as bigint)"
SHAPE = "cast(((f(x_min) * 9 + f(y_min)) * 9 + f(x_max)) * 9 + f(y_max) as int)".replace("f(", "floor(0.5D + 8 * ")


def mark_rows(rows: DataFrame, settings: RobotSettings, *, per_user: int) -> DataFrame:
    """The rows with `robot_user` where the user is a program, and the rank of the last event under the user's cap."""
    from pyspark import StorageLevel
    from pyspark.sql import functions as F  # noqa: N812

    events = rows.filter((rows.kind == EVENT) & ~rows.again).selectExpr(
        "user", "rank", "event_id", f"{HOUR} as hour", f"{SHAPE} as shape"
    )
    totals = events.groupBy("user").agg(F.count("*").alias("boxes"))
    busy = totals.filter(F.col("boxes") >= min(settings.min_boxes, per_user + 1))
    theirs = events.join(F.broadcast(busy), "user")
    robots = _robots(theirs, settings).persist(StorageLevel.DISK_ONLY)
    marks = rows.join(F.broadcast(robots), rows.user == F.col("robot_user"), "left")
    caps = _caps(theirs.filter(F.col("boxes") > per_user), per_user).persist(StorageLevel.DISK_ONLY)
    return marks.join(F.broadcast(caps), rows.user == F.col("cap_user"), "left").drop("cap_user")


def _robots(theirs: DataFrame, settings: RobotSettings) -> DataFrame:
    judge = partial(carrying.robots_among, settings=settings)
    judged = theirs.filter(theirs.boxes >= settings.min_boxes)
    counts = _counts(judged, "hour", "hours").join(_counts(judged, "shape", "shapes"), "user")
    return map_batches(counts, judge, exports.ddl(carrying.ROBOTS))


def _counts(theirs: DataFrame, key: str, name: str) -> DataFrame:
    """For each user how many boxes have each value of a column."""
    from pyspark.sql import functions as F  # noqa: N812

    counted = theirs.groupBy("user", key).agg(F.count("*").alias("count"))
    pair = F.struct(F.col(key).alias("key"), F.col("count"))
    return counted.groupBy("user").agg(F.collect_list(pair).alias(name))


def _caps(theirs: DataFrame, cap: int) -> DataFrame:
    """The last event of each user that stays under the cap."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F  # noqa: N812

    place = F.row_number().over(Window.partitionBy("user").orderBy("rank", "event_id"))
    last = theirs.withColumn("place", place).filter(F.col("place") == cap)
    return last.select(
        F.col("user").alias("cap_user"), F.col("rank").alias("cap_rank"), F.col("event_id").alias("cap_event")
    )
