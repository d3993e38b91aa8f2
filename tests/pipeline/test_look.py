"""What is seen of a picture: near-duplicates look alike, other pictures do not, and half a picture is none."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.paths import CATALOG

from handlens_conversion.boxes.reasons import RejectReason
from handlens_conversion.pipeline.groups import SplitRules, near_duplicates
from handlens_conversion.pipeline.look import Look, look, look_at_file
from handlens_conversion.pipeline.opening import Pictures
from handlens_conversion.pipeline.photo_rows import ListedPhoto

pytest.importorskip("imagehash", reason="pictures are hashed with imagehash")
PICTURES = sorted((CATALOG / "images").glob("*.jpg"))[:60]


def seen(data: bytes) -> Look:
    found = look(data)
    assert isinstance(found, Look)
    return found


def saved(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def test_a_picture_scaled_and_compressed_again_is_a_near_duplicate_and_others_are_not() -> None:
    hashes = []
    for picture in PICTURES:
        with Image.open(picture) as image:
            small = image.convert("RGB").resize((image.width * 2 // 3, image.height * 2 // 3))
        hashes += [int(seen(data).phash, 16) for data in (picture.read_bytes(), saved(small, 60))]
    groups = near_duplicates(np.array(hashes, dtype=np.uint64), max_distance=SplitRules().max_distance).tolist()
    alike = sum(first == second for first, second in zip(groups[::2], groups[1::2], strict=True))
    assert alike >= 0.95 * len(PICTURES)
    assert len(set(groups)) >= 0.9 * len(PICTURES)


def test_the_size_is_upright_and_the_hash_is_of_the_bytes(tmp_path: Path) -> None:
    with Image.open(PICTURES[0]) as image:
        exif = image.getexif()
        exif[0x0112] = 6  # turned by a quarter
        image.save(tmp_path / "turned.jpg", exif=exif)
        turned = (image.height, image.width)
    data = (tmp_path / "turned.jpg").read_bytes()
    assert seen(data).size == turned
    assert seen(data).sha256 != seen(PICTURES[0].read_bytes()).sha256


@pytest.mark.parametrize("data", [b"", b"no picture", PICTURES[0].read_bytes()[:-2000]], ids=["empty", "text", "half"])
def test_what_is_no_whole_picture_is_corrupt(data: bytes) -> None:
    assert look(data) is RejectReason.CORRUPT_PHOTO


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    assert look_at_file(str(tmp_path / "none.jpg")) is RejectReason.MISSING_PHOTO


def test_a_picture_is_read_by_uri_too(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="URIs are opened with pyarrow")
    (tmp_path / "a.jpg").write_bytes(PICTURES[0].read_bytes())
    listed = ListedPhoto("a", "a.jpg")
    assert Pictures(tmp_path.as_uri())(listed) == Pictures(str(tmp_path))(listed)
    assert Pictures(tmp_path.as_uri())(ListedPhoto("b", "b.jpg")) is RejectReason.MISSING_PHOTO


def test_unseen_pictures_take_their_size_from_the_list() -> None:
    unseen = Pictures("nowhere", unseen=True)
    found = unseen(ListedPhoto("a", "a.jpg", (640, 480)))
    assert isinstance(found, Look)
    assert found.size == (640, 480)
    assert unseen(ListedPhoto("a", "a.jpg")) is RejectReason.MISSING_PHOTO
