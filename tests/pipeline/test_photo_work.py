"""One photo: cleaned, looked at, its objects found and named; each box is used or counted."""

from __future__ import annotations

import random

from support.drawn_boxes import drawn_on

from handlens_conversion.boxes.reasons import RejectReason
from handlens_conversion.pipeline.look import Look
from handlens_conversion.pipeline.photo_rows import ListedPhoto
from handlens_conversion.pipeline.photo_work import PhotoRecord, PhotoRules, work_on

LISTED = ListedPhoto("cat", "cat.jpg", tags=("cup",))


def seen(listed: ListedPhoto) -> Look:
    return Look((640, 480), "0" * 64, "0" * 16)


def test_both_objects_are_found_and_named_and_the_record_survives_its_json() -> None:
    record, used, rejects = work_on(LISTED, drawn_on(["cat"]), PhotoRules(), look_at=seen)
    assert record is not None
    assert [one.label for one in record.objects] == ["cup", "lamp"]
    assert [one.label_sources for one in record.objects] == [("users", "tags"), ("users",)]
    assert used + len(rejects) == record.drawn == 16
    assert PhotoRecord.from_json(record.to_json()) == record


def test_the_order_of_boxes_leaves_no_trace() -> None:
    boxes = drawn_on(["cat"])
    told = work_on(LISTED, boxes, PhotoRules(), look_at=seen)
    assert work_on(LISTED, random.Random(1).sample(boxes, len(boxes)), PhotoRules(), look_at=seen)[:2] == told[:2]


def test_all_boxes_of_a_photo_that_is_missing_are_left_out_for_that() -> None:
    boxes = drawn_on(["cat"])
    record, used, rejects = work_on(LISTED, boxes, PhotoRules(), look_at=lambda _: RejectReason.MISSING_PHOTO)
    assert record is None
    assert used == 0
    assert len(rejects) == len(boxes)
    assert all(str(user) not in one.sample for one in rejects for user in {drawn.user for drawn in boxes})


def test_a_photo_that_too_few_users_drew_on_is_not_opened() -> None:
    def refuse(listed: ListedPhoto) -> Look:
        raise AssertionError("opened")

    boxes = [one for one in drawn_on(["cat"]) if one.user in {drawn_on(["cat"])[0].user}]
    assert work_on(LISTED, boxes, PhotoRules(), look_at=refuse)[0] is None


def test_a_label_that_the_picture_does_not_bear_out_is_not_given() -> None:
    record, *_ = work_on(
        LISTED,
        drawn_on(["cat"]),
        PhotoRules(),
        look_at=seen,
        image_votes=lambda listed, boxes: [{"cup": 0.9}, {"cup": 0.9}],
    )
    assert record is not None
    assert [one.label for one in record.objects] == ["cup", None]
    assert record.objects[0].label_sources == ("users", "tags", "image")
