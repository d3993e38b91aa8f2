"""COCO JSON is read whole, or refused with the entry that is wrong and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.taught import DEMO, TRAINED, coco, windmill_dataset, write

from handlens.errors import TrainingDataError
from handlens_conversion.training.coco import read_background, read_dataset, read_guard, require_photos


def changed(part: str, **values: Any) -> dict[str, Any]:
    """The windmills with the first entry of a list changed."""
    content = coco(TRAINED)
    content[part][0] = {**content[part][0], **values}
    return content


def test_a_folder_has_the_photos_to_train_with_and_the_photos_held_out(tmp_path: Path) -> None:
    data = read_dataset(windmill_dataset(tmp_path, supercategory="place"), photos=DEMO)
    assert data.labels == ("windmill",)
    assert data.types == {"windmill": "place"}
    assert data.licences == ("CC BY-SA 3.0",)
    assert (len(data.train), len(data.held_out)) == (16, 2)
    require_photos([*data.train, *data.held_out])


def test_boxes_are_fractions_of_the_photo(tmp_path: Path) -> None:
    data = read_dataset(windmill_dataset(tmp_path), photos=DEMO)
    assert data.train[0].boxes == pytest.approx(np.array([[0.07, 0.01, 0.85, 0.92]]))


def test_one_file_is_split_by_the_photos_names_the_same_way_each_time(tmp_path: Path) -> None:
    first = read_dataset(write(tmp_path / "all.json", coco(TRAINED)), photos=DEMO)
    turned = read_dataset(write(tmp_path / "turned.json", coco(TRAINED[::-1])), photos=DEMO)
    assert first.held_out
    assert {photo.path for photo in first.held_out} == {photo.path for photo in turned.held_out}
    assert len(first.train) + len(first.held_out) == len(TRAINED)


def test_objects_of_unknown_label_crowds_and_unsettled_places_are_places_to_ignore(tmp_path: Path) -> None:
    content = changed("annotations", iscrowd=1)
    content["unlabelled"] = [{"image_id": 2, "bbox": [1, 1, 20, 20]}]
    content["unsettled"] = [{"image_id": 3, "bbox": [1, 1, 20, 20]}]
    content["images"] = content["images"][:3]
    content["annotations"] = [row for row in content["annotations"] if row["image_id"] <= 3]
    write(tmp_path / "train.json", content)
    data = read_dataset(write(tmp_path / "val.json", coco(TRAINED[:1])).parent, photos=DEMO)
    assert [len(photo.ignored) for photo in data.train] == [1, 1, 1]
    assert [len(photo.boxes) for photo in data.train] == [0, 1, 1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "COCO JSON"),
        ({"images": []}, "annotations"),
        ({"images": [], "annotations": [], "categories": []}, "no box to train with"),
        (changed("images", width=0), "file_name, width and height"),
        (changed("images", file_name=None), "file_name, width and height"),
        (changed("images", id=2), "ids are missing or not unique"),
        (changed("annotations", image_id=99), "image 99"),
        (changed("annotations", category_id=99), "category 99"),
        (changed("annotations", bbox=[1, 2, 3]), "left, top, width, height in pixels"),
        (changed("annotations", bbox=[1, 2, float("nan"), 3]), "left, top, width, height in pixels"),
        (changed("annotations", bbox=[5, 5, 0, 10]), "must lie in the photo and have an area"),
        (changed("annotations", bbox=[5, 5, 5000, 10]), "must lie in the photo and have an area"),
        (changed("annotations", bbox=[-50, 5, 100, 10]), "must lie in the photo and have an area"),
        (changed("categories", name=" "), "each needs a name"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_what_is_wrong_is_named(tmp_path: Path, content: Any, said: str) -> None:
    path = write(tmp_path / "data.json", content)
    with pytest.raises(TrainingDataError) as raised:
        read_dataset(path, photos=DEMO)
    assert said in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_file_that_is_not_there_or_no_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match=r"train\.json cannot be read"):
        read_dataset(tmp_path)
    (tmp_path / "train.json").write_text("{", "utf-8")
    with pytest.raises(TrainingDataError, match="give a COCO JSON file"):
        read_dataset(tmp_path)


def test_a_photo_that_is_missing_or_has_another_size_is_named(tmp_path: Path) -> None:
    data = read_dataset(windmill_dataset(tmp_path / "data"))
    with pytest.raises(TrainingDataError, match="--photos"):
        require_photos(data.train)
    other = read_dataset(write(tmp_path / "other.json", changed("images", width=333)), photos=DEMO)
    with pytest.raises(TrainingDataError, match="its boxes are for 333 x 320"):
        require_photos([*other.train, *other.held_out])


def test_the_guard_may_be_json_lines_of_which_val_is_used(tmp_path: Path) -> None:
    row = {"image": TRAINED[0], "width": 232, "height": 320, "boxes": [[10, 10, 100, 100, "cow"]]}
    rows = [{**row, "split": "train"}, {**row, "split": "val"}, {**row, "boxes": []}]
    path = tmp_path / "guard.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    guard = read_guard(path, photos=DEMO)
    assert [photo.labels for photo in guard] == [("cow",), ()]
    path.write_text('{"image": 3}', "utf-8")
    with pytest.raises(TrainingDataError, match="each line needs image, width, height and boxes"):
        read_guard(path, photos=DEMO)


def test_a_folder_without_photographs_is_no_background(tmp_path: Path) -> None:
    assert len(read_background(DEMO / "queries" / "images")) > 10
    with pytest.raises(TrainingDataError, match="holds no photographs"):
        read_background(tmp_path)
