"""What runs in Spark's Python processes, on lists: however rows are cut into batches, each is used or counted."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support.drawn_boxes import drawn_on, events_of

from handlens_conversion.boxes.drawn import DrawnBox, EventRules, read_event
from handlens_conversion.boxes.reasons import RejectReason
from handlens_conversion.boxes.robots import RobotSettings
from handlens_conversion.pipeline.look import Look
from handlens_conversion.pipeline.photo_rows import ListedPhoto
from handlens_conversion.pipeline.photo_work import PhotoRecord, PhotoRules, work_on
from handlens_conversion.pipeline.tally import Tally

pa = pytest.importorskip("pyarrow", reason="rows travel as Arrow batches")
from handlens_conversion.pipeline import carrying  # noqa: E402 - needs pyarrow
from handlens_conversion.pipeline.carrying import EVENT, LISTED, ROWS, TALLY, Summary  # noqa: E402

PHOTOS = ["cat", "dog", "owl"]
EXTRA = [("again", pa.bool_()), ("robot_user", pa.string()), ("cap_rank", pa.int64()), ("cap_event", pa.string())]


def seen(listed: ListedPhoto) -> Look:
    return Look((640, 480), listed.photo * 8, "0" * 16)


def batches_of(lines: list[bytes], size: int) -> Iterator[object]:
    for begin in range(0, max(len(lines), 1), size):
        yield pa.RecordBatch.from_arrays([pa.array(lines[begin : begin + size], pa.binary())], names=["line"])


def rows_of(batches: Iterator[object]) -> list[dict[str, object]]:
    return [row for batch in batches for row in batch.to_pylist()]  # type: ignore[attr-defined]


def lines(events: list[dict[str, object]]) -> list[bytes]:
    return [json.dumps(event).encode() for event in events]


MESSY = [
    *lines(events_of(drawn_on(PHOTOS))),
    b"{",
    b"\xff\xfe",
    b"   ",
    b'{"format":9}',
    b'{"format":1,"kind":"click"}',
]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_lines_become_rows_and_a_tally_however_they_are_cut(size: int) -> None:
    rows = rows_of(carrying.read_lines(batches_of(MESSY, size), EventRules()))
    tally = Tally.from_dict(json.loads(next(str(row["told"]) for row in rows if row["kind"] == TALLY)))
    assert [row["kind"] for row in rows].count(EVENT) == len(MESSY) - 5
    assert tally.rows == len(MESSY) - 1  # an empty line is no row
    assert tally.counts == {
        RejectReason.NOT_JSON: 1,
        RejectReason.NOT_UNICODE: 1,
        RejectReason.UNKNOWN_FORMAT: 1,
        RejectReason.OTHER_KIND: 1,
    }


def test_rows_of_a_table_are_read_like_lines() -> None:
    events = events_of(drawn_on(PHOTOS))
    table = pa.Table.from_pylist(events)
    from_table = rows_of(carrying.read_records(iter(table.to_batches(max_chunksize=11)), EventRules()))
    assert from_table == rows_of(carrying.read_lines(batches_of(lines(events), 13), EventRules()))


def test_a_line_of_the_list_that_is_no_photo_is_told() -> None:
    rows = rows_of(carrying.read_list(batches_of([b'{"image":"a.jpg"}', b"{", b"", b'{"item_id":"text"}'], 2)))
    assert [row["kind"] for row in rows] == [LISTED, TALLY]
    assert "not JSON" in json.loads(str(rows[1]["told"]))["fault"]


def sorted_rows(photos: list[str], **marks: object) -> list[dict[str, object]]:
    """Rows as the shuffle brings them, with marks of what lies beyond a photo."""
    drawn = rows_of(carrying.read_lines(batches_of(lines(events_of(drawn_on(PHOTOS))), 64), EventRules()))
    listed = [
        dict.fromkeys(ROWS.names) | {"kind": LISTED, "photo": one, "told": ListedPhoto(one, "a").to_json()}
        for one in photos
    ]
    unmarked = {"again": False, "robot_user": None, "cap_rank": None, "cap_event": None}
    rows = [{**row, **unmarked, **marks} for row in (*listed, *(row for row in drawn if row["kind"] == EVENT))]
    return sorted(rows, key=lambda row: (row["photo"], row["kind"], row["rank"] or 0, row["event_id"] or ""))


def finished(rows: list[dict[str, object]], size: int, rules: PhotoRules) -> tuple[list[PhotoRecord], Summary]:
    schema = pa.schema([*ROWS, *(pa.field(name, kind) for name, kind in EXTRA)])
    batches = iter(pa.Table.from_pylist(rows, schema=schema).to_batches(max_chunksize=size))
    made = rows_of(carrying.finish_photos(batches, rules, look_at=seen))
    records = [PhotoRecord.from_json(str(row["told"])) for row in made if row["kind"] == LISTED]
    return records, Summary.sum(str(row["told"]) for row in made if row["kind"] == TALLY)


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_photos_are_worked_on_one_by_one_however_their_rows_are_cut(size: int) -> None:
    records, summary = finished(sorted_rows(PHOTOS), size, PhotoRules())
    drawn = [read_event(event) for event in events_of(drawn_on(PHOTOS))]
    for photo, record in zip(PHOTOS, records, strict=True):
        own = [one for one in drawn if isinstance(one, DrawnBox) and one.photo == photo]
        assert record == work_on(ListedPhoto(photo, "a"), own, PhotoRules(), look_at=seen)[0]
    assert summary.used + summary.tally.left_out == len(drawn)
    assert summary.photos == 3


@pytest.mark.parametrize(
    ("marks", "reason"),
    [
        ({"again": True, "robot_user": "u"}, RejectReason.SEEN_BEFORE),
        ({"robot_user": "u", "cap_rank": -1}, RejectReason.ROBOT),
        ({"cap_rank": -1, "cap_event": ""}, RejectReason.OVER_USER_CAP),
    ],
)
def test_marks_leave_boxes_out_for_the_first_reason_that_holds(marks: dict[str, object], reason: RejectReason) -> None:
    records, summary = finished(sorted_rows(PHOTOS, **marks), 100, PhotoRules())
    assert records == []
    assert summary.tally.counts == {reason: len(drawn_on(PHOTOS))}


def test_boxes_on_photos_that_are_not_listed_are_left_out() -> None:
    records, summary = finished(sorted_rows(["cat"]), 100, PhotoRules())
    assert [record.listed.photo for record in records] == ["cat"]
    assert summary.tally.counts[RejectReason.UNKNOWN_PHOTO] == 32


def test_of_a_very_busy_photo_the_boxes_of_least_rank_are_read() -> None:
    rows = sorted_rows(["cat"])
    records, summary = finished(rows, 100, PhotoRules(read=10))
    assert records[0].drawn == 10
    assert summary.tally.counts[RejectReason.OVER_PHOTO_CAP] == 6


def test_rows_that_are_not_sorted_are_refused() -> None:
    with pytest.raises(RuntimeError, match="not sorted"):
        finished(sorted_rows(PHOTOS)[::-1], 100, PhotoRules())


def test_a_user_whose_boxes_are_all_alike_is_a_robot() -> None:
    users = [
        {"user": "machine", "hours": [{"key": 1, "count": 100}], "shapes": [{"key": 5, "count": 100}]},
        {
            "user": "person",
            "hours": [{"key": at, "count": 10} for at in range(10)],
            "shapes": [{"key": at, "count": 1} for at in range(100)],
        },
    ]
    pair = pa.list_(pa.struct([("key", pa.int64()), ("count", pa.int64())]))
    schema = pa.schema([("user", pa.string()), ("hours", pair), ("shapes", pair)])
    batch = pa.RecordBatch.from_pylist(users, schema=schema)
    assert rows_of(carrying.robots_among(iter([batch]), RobotSettings())) == [{"robot_user": "machine"}]
