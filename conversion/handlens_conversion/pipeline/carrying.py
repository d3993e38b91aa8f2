"""Batches of Arrow rows to the functions of `boxes` and back: what runs in Spark's Python processes.

Rules:

1. A function takes an iterator of batches and gives one, and holds one batch, one photo and one tally at a time.
2. What a partition left out goes out as one row of its own (`TALLY`), with the rows it belongs to, so that a task that
   is run again counts once.
3. `finish_photos` needs the rows of a photo one after the other, the photo's own row (`LISTED`) first and events by
   rank; it raises when they are not.

Rows have the columns of `ROWS`; `finish_photos` makes the columns of `RECORDS`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from handlens.errors import DecodeError
from handlens_conversion.boxes.cleaning import clean_photo, rank_of
from handlens_conversion.boxes.drawn import DrawnBox, EventRules, read_event, read_line
from handlens_conversion.boxes.modes import CAREFUL, DrawingMode
from handlens_conversion.boxes.reasons import Reject, RejectReason
from handlens_conversion.boxes.robots import RobotSettings, UserStatistics, robot_verdict
from handlens_conversion.pipeline.photo_rows import ListedPhoto, read_photo_row
from handlens_conversion.pipeline.photo_work import ImageVotes, LookAt, PhotoRules, work_on
from handlens_conversion.pipeline.tally import Tally

__all__ = [
    "EVENT",
    "LISTED",
    "RECORDS",
    "ROWS",
    "SAMPLES",
    "TALLY",
    "Summary",
    "clean_photos",
    "cleaned_boxes",
    "finish_photos",
    "read_lines",
    "read_list",
    "read_records",
    "robots_among",
]

TALLY, LISTED, EVENT = 0, 1, 2  # kinds of rows, in the order of a photo's run
ROWS = pa.schema(
    [
        ("kind", pa.int8()),
        ("photo", pa.string()),
        ("rank", pa.int64()),
        ("event_id", pa.string()),
        ("user", pa.string()),
        ("words", pa.string()),
        ("at", pa.float64()),
        ("x_min", pa.float64()),
        ("y_min", pa.float64()),
        ("x_max", pa.float64()),
        ("y_max", pa.float64()),
        ("told", pa.string()),  # of LISTED the photo, of TALLY the tally; JSON
    ]
)
RECORDS = pa.schema(
    [
        ("kind", pa.int8()),
        ("photo", pa.string()),
        ("sha256", pa.string()),
        ("phash", pa.string()),
        ("told", pa.string()),
    ]
)
ROBOTS = pa.schema([("robot_user", pa.string())])
SAMPLES = pa.schema([("photo", pa.string()), ("told", pa.string())])
Batches = Iterator[pa.RecordBatch]


@dataclass
class Summary:
    """What a partition of photos adds to the totals."""

    tally: Tally = field(default_factory=Tally)
    used: int = 0  # boxes that no rule left out
    photos: int = 0  # listed, with at least one box
    labels: Counter[str] = field(default_factory=Counter)  # objects by label
    licences: Counter[str] = field(default_factory=Counter)  # photos with objects by licence

    def to_json(self) -> str:
        """The summary as one line."""
        return json.dumps(
            {
                "tally": self.tally.to_dict(),
                "used": self.used,
                "photos": self.photos,
                "labels": self.labels,
                "licences": self.licences,
            },
            ensure_ascii=False,
        )

    @classmethod
    def sum(cls, lines: Iterable[str]) -> Summary:
        """All summaries that `to_json` wrote, as one."""
        total, tallies = cls(), []
        for values in map(json.loads, lines):
            tallies.append(Tally.from_dict(values["tally"]))
            total.used += values["used"]
            total.photos += values["photos"]
            total.labels.update(values["labels"])
            total.licences.update(values["licences"])
        total.tally = Tally.sum(tallies)
        return total


def read_lines(batches: Batches, rules: EventRules) -> Batches:
    """Lines of an export, as bytes in the first column -> rows."""
    return _read(
        batches, lambda batch: (line for line in batch.column(0).to_pylist() if line.strip()), read_line, rules
    )


def read_records(batches: Batches, rules: EventRules) -> Batches:
    """Rows of a Parquet export -> rows; what is null is not there."""

    def records(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
        for row in batch.to_pylist():
            yield {name: value for name, value in row.items() if value is not None}

    return _read(batches, records, read_event, rules)


def _read(
    batches: Batches,
    rows_of: Callable[[pa.RecordBatch], Iterable[Any]],
    read: Callable[[Any, EventRules], DrawnBox | Reject],
    rules: EventRules,
) -> Batches:
    tally = Tally()
    for batch in batches:
        rows: list[tuple[Any, ...]] = []
        for row in rows_of(batch):
            tally.rows += 1
            found = read(row, rules)
            if isinstance(found, Reject):
                tally.add(found)
            else:
                rows.append(_row(found))
        yield _batch(rows, ROWS)
    yield _batch([_told(TALLY, "", json.dumps(tally.to_dict()))], ROWS)


def read_list(batches: Batches) -> Batches:
    """Lines of the list of photos -> rows; a line that cannot be read goes out as a `TALLY` row with its `fault`."""
    for batch in batches:
        rows = []
        for line in batch.column(0).to_pylist():
            if not line.strip():
                continue
            try:
                listed = read_photo_row(line)
            except DecodeError as error:
                rows.append(_told(TALLY, "", json.dumps({"fault": str(error)})))
            else:
                rows += [] if listed is None else [_told(LISTED, listed.photo, listed.to_json())]
        yield _batch(rows, ROWS)


def robots_among(batches: Batches, settings: RobotSettings) -> Batches:
    """Users with their counts by hour and by shape -> those of them that are robots."""
    for batch in batches:
        robots = []
        for row in batch.to_pylist():
            counts = [{one["key"]: one["count"] for one in row[name]} for name in ("hours", "shapes")]
            if robot_verdict(UserStatistics(*counts), settings).is_robot:
                robots.append((row["user"],))
        yield _batch(robots, ROBOTS)


def clean_photos(batches: Batches, rules: PhotoRules) -> Batches:
    """Runs of rows, as `finish_photos` takes them -> the cleaned boxes of each photo, for `cleaned_boxes`."""
    for listed, boxes in _runs(batches, Summary(), rules.read):
        kept = clean_photo(boxes, rules.cleaning).kept
        told = json.dumps([(one.event_id, one.user, one.box, one.words, one.at) for one in kept])
        yield _batch([(listed.photo, told)], SAMPLES)


def cleaned_boxes(photo: str, told: str) -> list[DrawnBox]:
    """The boxes of one row of `clean_photos`."""
    return [DrawnBox(event, user, photo, tuple(box), words, at) for event, user, box, words, at in json.loads(told)]


def finish_photos(
    batches: Batches,
    rules: PhotoRules,
    *,
    look_at: LookAt,
    modes: Sequence[DrawingMode] = (CAREFUL,),
    image_votes: ImageVotes | None = None,
) -> Batches:
    """Runs of rows with `again`, `robot_user`, `cap_rank` and `cap_event` -> a record a photo, and one summary."""
    summary = Summary()
    rows: list[tuple[Any, ...]] = []
    for listed, boxes in _runs(batches, summary, rules.read):
        record, used, rejects = work_on(listed, boxes, rules, look_at=look_at, modes=modes, image_votes=image_votes)
        summary.used += used
        summary.photos += 1
        for reject in rejects:
            summary.tally.add(reject)
        if record is None:
            continue
        summary.licences[listed.licence] += 1
        summary.labels.update(one.label or "" for one in record.objects)
        rows.append((LISTED, listed.photo, record.look.sha256, record.look.phash, record.to_json()))
        if len(rows) == _RECORDS_AT_ONCE:
            yield _batch(rows, RECORDS)
            rows = []
    yield _batch([*rows, (TALLY, "", "", "", summary.to_json())], RECORDS)


_RECORDS_AT_ONCE = 256


def _runs(batches: Batches, summary: Summary, most: int) -> Iterator[tuple[ListedPhoto, list[DrawnBox]]]:
    """The listed photos that have boxes, each with those boxes that nothing about other photos leaves out."""
    photo, listed = "", None
    boxes: list[DrawnBox] = []
    for row in _tuples(batches, _EVENT_COLUMNS):
        kind, name = row[0], row[1]
        if name != photo:
            if name < photo:
                raise RuntimeError(f"the rows of {name!r} come after those of {photo!r}: they are not sorted")
            if listed is not None and boxes:
                yield listed, boxes
            photo, listed, boxes = name, None, []
        if kind == LISTED:
            listed = ListedPhoto.from_json(row[-1])
        elif kind == EVENT:
            fault = _fault_among_all(row, known=listed is not None, full=len(boxes) >= most)
            if fault is None:
                boxes.append(DrawnBox(row[3], row[4], name, row[7:11], row[5], row[6]))
            else:
                summary.tally.add(Reject(fault, f"event {row[3]}: photo {name}"))
    if listed is not None and boxes:
        yield listed, boxes


_EVENT_COLUMNS = [*ROWS.names[:11], "again", "robot_user", "cap_rank", "cap_event", "told"]


def _fault_among_all(row: tuple[Any, ...], *, known: bool, full: bool) -> RejectReason | None:
    """Why a box is left out for what lies beyond its photo; the first rule that holds."""
    again, robot, cap_rank, cap_event = row[11:15]
    if again:
        return RejectReason.SEEN_BEFORE
    if robot is not None:
        return RejectReason.ROBOT
    if cap_rank is not None and (row[2], row[3]) > (cap_rank, cap_event):
        return RejectReason.OVER_USER_CAP
    if not known:
        return RejectReason.UNKNOWN_PHOTO
    return RejectReason.OVER_PHOTO_CAP if full else None


def _tuples(batches: Batches, names: list[str]) -> Iterator[tuple[Any, ...]]:
    for batch in batches:
        yield from zip(*(batch.column(name).to_pylist() for name in names), strict=True)


def _row(drawn: DrawnBox) -> tuple[Any, ...]:
    return (
        EVENT,
        drawn.photo,
        rank_of(drawn.event_id),
        drawn.event_id,
        drawn.user,
        drawn.words,
        drawn.at,
        *drawn.box,
        None,
    )


def _told(kind: int, photo: str, told: str) -> tuple[Any, ...]:
    return (kind, photo, *(None,) * (len(ROWS) - 3), told)


def _batch(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    return pa.RecordBatch.from_arrays(
        [pa.array(column, type=kind.type) for column, kind in zip(columns, schema, strict=True)], schema=schema
    )
