"""Lists of calibration photographs: the same for all, and strict about what they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from handlens.errors import ModelError
from handlens_conversion.calibration import CalibrationPhoto, check_list, load_list, make_list, save_list


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number:02}.jpg").write_bytes(bytes([number]) * 10)
    return folder


def test_a_list_does_not_depend_on_the_order_of_the_files(photos: Path, tmp_path: Path) -> None:
    files = sorted(photos.iterdir())
    assert make_list(tmp_path, files, count=8) == make_list(tmp_path, reversed(files), count=8)


def test_a_list_is_read_back_as_it_was_written(photos: Path, tmp_path: Path) -> None:
    made = make_list(tmp_path, photos.iterdir(), count=8)
    save_list(made, tmp_path / "list.json")
    assert load_list(tmp_path / "list.json") == made
    assert [path.read_bytes()[0] for path in check_list(made, root=tmp_path)] == [int(p.path[7:9]) for p in made]


def test_two_files_with_the_same_bytes_are_one_photograph(photos: Path, tmp_path: Path) -> None:
    (photos / "copy.jpg").write_bytes((photos / "00.jpg").read_bytes())
    assert len(make_list(tmp_path, photos.iterdir(), count=100)) == 20


def test_a_changed_photograph_is_an_error(photos: Path, tmp_path: Path) -> None:
    made = make_list(tmp_path, photos.iterdir(), count=20)
    (photos / "07.jpg").write_bytes(b"another")
    with pytest.raises(ModelError, match=r"07\.jpg has changed"):
        check_list(made, root=tmp_path)


def test_a_missing_photograph_is_an_error_that_names_the_option(photos: Path, tmp_path: Path) -> None:
    made = make_list(tmp_path, photos.iterdir(), count=20)
    with pytest.raises(ModelError, match="--photos"):
        check_list(made, root=photos)


@pytest.mark.parametrize("path", ["/etc/hostname", "../secret.jpg", "images/../../secret.jpg"])
def test_a_path_that_leaves_the_root_is_refused(tmp_path: Path, path: str) -> None:
    save_list([CalibrationPhoto(path, "0" * 64)], tmp_path / "list.json")
    with pytest.raises(ModelError, match="below the list's root"):
        load_list(tmp_path / "list.json")


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": 1}', '{"format": 1, "images": []}', '{"format": 2, "images": [1]}']
)
def test_a_malformed_list_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "list.json").write_text(text, "utf-8")
    with pytest.raises(ModelError, match=r"list\.json"):
        load_list(tmp_path / "list.json")


def test_a_missing_list_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--calibration"):
        load_list(tmp_path / "list.json")
