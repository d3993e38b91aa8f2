"""The list of photos is the catalogue's, or a detection data set's; what is no photo is refused by name."""

from __future__ import annotations

import json

import pytest

from handlens.errors import DecodeError
from handlens_conversion.pipeline.photo_rows import ListedPhoto, read_photo_row


def row(**values: object) -> bytes:
    return json.dumps(values).encode()


def test_an_item_of_the_catalogue_is_a_photo() -> None:
    item = row(
        item_id="cup-1",
        image="images/cup.jpg",
        annotations={"mug": 0.5, "cup": 1},
        attributes={"author": "A", "licence": "CC0"},
    )
    assert read_photo_row(item) == ListedPhoto("cup-1", "images/cup.jpg", None, "CC0", "A", ("cup", "mug"))


def test_a_row_of_a_detection_data_set_is_a_photo() -> None:
    listed = row(image="images/1.jpg", width=640, height=480, license="CC BY 4.0", credit="B", boxes=[])
    assert read_photo_row(listed) == ListedPhoto("images/1.jpg", "images/1.jpg", (640, 480), "CC BY 4.0", "B")


def test_an_item_without_a_picture_is_none() -> None:
    assert read_photo_row(row(item_id="pie-1", kind="recipe")) is None


def test_the_record_survives_its_json() -> None:
    listed = ListedPhoto("ä", "b.jpg", (3, 4), "CC0", "B", ("x", "y"))
    assert ListedPhoto.from_json(listed.to_json()) == listed


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[1]",
        b"\xff",
        row(image=3),
        row(image=""),
        row(image="/etc/passwd"),
        row(image="../secret.jpg"),
        row(image="http://example.com/a.jpg"),
        row(item_id=7, image="a.jpg"),
        row(image="a.jpg", width=640),
        row(image="a.jpg", width=640.5, height=480),
        row(image="a.jpg", width=0, height=480),
        row(image="a.jpg", annotations=["cup"]),
    ],
)
def test_what_is_no_photo_is_refused(line: bytes) -> None:
    with pytest.raises(DecodeError):
        read_photo_row(line)
