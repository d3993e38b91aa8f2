"""Which photographs are asked, which are searched, and which a head may be trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from handlens.errors import ModelError
from handlens_conversion.retrieval_data import load_set, save_training_list, training_photos

MIT = "MIT (repo LICENSE)"


def row(image: str, label: str, split: str, **more: str) -> dict[str, str]:
    return {"image": image, "label": label, "split": split, "object_type": "food", "license": MIT, **more}


def write(data: Path, photos: dict[str, bytes], **sets: list[dict[str, str]]) -> Path:
    (data / "retrieval").mkdir(parents=True)
    for name, content in photos.items():
        (data / name).write_bytes(content)
    for name, rows in sets.items():
        lines = "".join(json.dumps(one) + "\n" for one in rows)
        (data / "retrieval" / f"{name}.jsonl").write_text(lines, "utf-8")
    return data


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One photo a case, its bytes equal to its name but for `twin`, which has the bytes of the query."""
    names = ("apple", "pear", "query", "studio", "loose", "milk", "asked")
    photos = {name: name.encode() for name in names} | {"twin": b"query"}
    return write(
        tmp_path / "data",
        photos,
        multi_domain=[
            row("apple", "grocery:Apple", "gallery"),
            row("pear", "grocery:Pear", "gallery"),
            row("twin", "grocery:Apple", "gallery"),
            row("query", "grocery:Apple", "val"),
        ],
        grocery_sku=[
            row("studio", "Apple", "gallery", license="MIT (repo LICENSE) but from a shop site", level="variety"),
            row("apple", "Apple", "train", level="variety"),
            row("loose", "Grapefruit", "train", level="variety"),
            row("milk", "Milk", "train", level="instance"),
            row("asked", "Milk", "val", level="instance"),
        ],
    )


def test_a_set_is_its_gallery_and_the_queries_of_one_split(data: Path) -> None:
    one = load_set(data, "grocery_sku")
    assert [photo.image for photo in one.gallery] == ["studio"]
    assert [photo.image for photo in one.queries] == ["asked"]


def test_restricting_a_set_keeps_its_whole_gallery(data: Path) -> None:
    one = load_set(data, "multi_domain").restricted(["grocery:Pear"])
    assert len(one.gallery) == 3
    assert one.queries == ()


def test_training_leaves_out_queries_studio_pictures_loose_fruit_and_twins_of_queries(data: Path) -> None:
    assert {photo.image for photo in training_photos(data)} == {"apple", "pear", "milk"}


def test_a_training_photo_has_the_same_label_in_both_sets(data: Path) -> None:
    labels = {photo.image: photo.label for photo in training_photos(data)}
    assert labels == {"apple": "grocery:Apple", "pear": "grocery:Pear", "milk": "grocery:Milk"}


def test_a_licence_that_is_not_known_to_allow_shipping_stops_training(data: Path) -> None:
    path = data / "retrieval" / "multi_domain.jsonl"
    path.write_text(path.read_text("utf-8").replace(MIT, "CC BY-NC 4.0", 1), "utf-8")
    with pytest.raises(ModelError, match=r"apple is under 'CC BY-NC 4\.0'"):
        training_photos(data)


def test_a_folder_without_the_lists_is_an_error_that_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--data"):
        load_set(tmp_path, "multi_domain")


def test_a_row_without_a_label_is_an_error_that_names_its_line(tmp_path: Path) -> None:
    data = write(tmp_path / "data", {}, multi_domain=[row("a", "b", "gallery"), {"image": "a"}])
    with pytest.raises(ModelError, match="line 2"):
        load_set(data, "multi_domain")


def test_a_set_without_queries_is_an_error(tmp_path: Path) -> None:
    data = write(tmp_path / "data", {}, multi_domain=[row("a", "b", "gallery")])
    with pytest.raises(ModelError, match="0 rows of split 'val'"):
        load_set(data, "multi_domain")


def test_the_training_list_holds_hash_label_source_and_licence_of_each(data: Path, tmp_path: Path) -> None:
    photos = training_photos(data)
    save_training_list(photos, tmp_path / "list.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "list.jsonl").read_text("utf-8").splitlines()]
    assert [line["sha256"] for line in lines] == [photo.sha256 for photo in photos]
    assert {line["licence"] for line in lines} == {"MIT"}
    assert all(set(line) == {"sha256", "label", "source", "licence"} for line in lines)
