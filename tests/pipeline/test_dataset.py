"""The data set's files: what COCO's own reader and Parquet's read back is what was found, the same bytes each time."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from support.drawn_boxes import drawn_on

from handlens.geometry import Box
from handlens_conversion.boxes.drawn import DrawnBox
from handlens_conversion.pipeline.look import Look
from handlens_conversion.pipeline.photo_rows import ListedPhoto
from handlens_conversion.pipeline.photo_work import PhotoRecord, PhotoRules, work_on

pa = pytest.importorskip("pyarrow", reason="tables are written with pyarrow")
import pyarrow.parquet as pq  # noqa: E402 - needs pyarrow

from handlens_conversion.pipeline.dataset import Figures, write_dataset  # noqa: E402

PHOTOS = [f"photo-{at}" for at in range(8)]
SIDES = {photo: (("train", "val", "test")[at % 3], photo) for at, photo in enumerate(PHOTOS)} | {
    "photo-3": ("train", "photo-0")
}


def record(photo: str) -> PhotoRecord:
    listed = ListedPhoto(photo, f"images/{photo}.jpg", licence="CC0-1.0", credit="Å")
    sha256 = hashlib.sha256(photo.encode()).hexdigest()
    found, *_ = work_on(
        listed, drawn_on([photo]), PhotoRules(), look_at=lambda _: Look((640, 480), sha256, sha256[:16])
    )
    assert found is not None
    return found


def written(folder: Path) -> Figures:
    folder.mkdir()
    return write_dataset(folder, map(record, PHOTOS), SIDES, labels=["cup", "lamp"], info={"description": "test"})


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        written(tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["objects.parquet", "photos.parquet", "test.json", "train.json", "val.json"]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_tables_and_the_json_hold_the_same_objects(tmp_path: Path) -> None:
    figures = written(tmp_path / "set")
    objects = pq.read_table(tmp_path / "set" / "objects.parquet").to_pylist()
    photos = {row["photo"]: row for row in pq.read_table(tmp_path / "set" / "photos.parquet").to_pylist()}
    assert photos["photo-3"]["group"] == "photo-0"
    assert figures.near_duplicates == 1
    for side in ("train", "val", "test"):
        coco = json.loads((tmp_path / "set" / f"{side}.json").read_bytes())
        names = {one["id"]: one["name"] for one in coco["categories"]}
        by_id = {one["id"]: one for one in coco["images"]}
        told = [
            (by_id[one["image_id"]]["photo"], names[one["category_id"]], one["bbox"]) for one in coco["annotations"]
        ]
        edges = [(row["x_min"], row["y_min"], row["x_max"], row["y_max"]) for row in objects if row["split"] == side]
        pixels = [Box(*one).to_pixels((640, 480)) for one in edges]
        boxes = [pytest.approx([x, y, right - x, bottom - y], abs=0.01) for x, y, right, bottom in pixels]
        labels = [(row["photo"], row["label"]) for row in objects if row["split"] == side]
        assert told == [(photo, label, box) for (photo, label), box in zip(labels, boxes, strict=True)]
        assert figures.objects[side] == len(told) + len(coco["unlabelled"])


def test_cocos_own_reader_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="COCO's reader is a package of its own")
    written(tmp_path / "set")
    read = coco.COCO(str(tmp_path / "set" / "train.json"))
    assert len(read.getImgIds()) == 3
    assert {read.loadCats(one["category_id"])[0]["name"] for one in read.loadAnns(read.getAnnIds())} == {"cup", "lamp"}
    capsys.readouterr()


def test_an_object_without_a_label_is_listed_apart(tmp_path: Path) -> None:
    drawn = [one for one in drawn_on(["cat"]) if one.box[0] < 0.3]
    unnamed = [type(one)(one.event_id, one.user, one.photo, one.box, None, one.at) for one in drawn]
    found, *_ = work_on(
        ListedPhoto("cat", "cat.jpg"), unnamed, PhotoRules(), look_at=lambda _: Look((100, 100), "0", "0" * 16)
    )
    assert found is not None
    write_dataset(tmp_path, [found], {"cat": ("train", "cat")}, labels=[], info={})
    coco = json.loads((tmp_path / "train.json").read_bytes())
    assert coco["annotations"] == []
    assert len(coco["unlabelled"]) == len(found.objects) > 0
    assert json.loads((tmp_path / "val.json").read_bytes())["images"] == []


def test_where_nobody_agreed_is_listed_as_a_place_without_a_word(tmp_path: Path) -> None:
    alone = DrawnBox("alone", "somebody", "photo-0", (0.013, 0.523, 0.187, 0.947), "secret", 0.0)
    for name, rules in (("told", PhotoRules()), ("untold", PhotoRules(places=False))):
        found, *_ = work_on(
            ListedPhoto("photo-0", "cat.jpg"),
            [*drawn_on(["photo-0"]), alone],
            rules,
            look_at=lambda _: Look((640, 480), "0", "0" * 16),
        )
        assert found is not None
        assert PhotoRecord.from_json(found.to_json()) == found
        (tmp_path / name).mkdir()
        figures = write_dataset(tmp_path / name, [found], SIDES, labels=["cup", "lamp"], info={})
        assert figures.places == len(found.places)
    side, _ = SIDES["photo-0"]
    told, untold = (json.loads((tmp_path / name / f"{side}.json").read_bytes()) for name in ("told", "untold"))
    assert {"image_id": 1, "bbox": [20.0, 300.0, 80.0, 105.0]} in told["unsettled"]
    assert untold["unsettled"] == []
    assert told["annotations"] == untold["annotations"]
    assert "secret" not in json.dumps(told)
    assert "somebody" not in json.dumps(told)


def test_a_run_that_breaks_off_writes_no_json(tmp_path: Path) -> None:
    def broken() -> object:
        yield record("photo-0")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_dataset(tmp_path, broken(), SIDES, labels=["cup", "lamp"], info={})  # type: ignore[arg-type]
    assert not list(tmp_path.glob("*.json"))
