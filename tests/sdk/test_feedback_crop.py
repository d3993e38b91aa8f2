"""What is sent of a photo where the user agreed to crops."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from handlens.feedback import crop_of
from handlens.geometry import Box
from handlens.vision.image import load_photo
from handlens.wire.event import MAX_CROP_BYTES


def photo_bytes(kind: str) -> bytes:
    image = Image.new("RGB", (640, 480), (200, 10, 10))
    exif = Image.Exif()
    exif[0x010F] = "SECRET camera"
    exif.get_ifd(0x8825)[1] = "SECRET place"
    file = io.BytesIO()
    more = {"comment": b"SECRET comment"} if kind == "JPEG" else {}
    image.save(file, kind, exif=exif, icc_profile=b"SECRET profile" * 20, **more)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_crop_carries_pixels_and_nothing_else_of_the_photo(kind: str) -> None:
    data = photo_bytes(kind)
    assert b"SECRET" in data or kind == "PNG"  # PNG compresses what it holds
    crop = crop_of(load_photo(data), Box(0.25, 0.25, 0.75, 0.75))
    assert b"SECRET" not in crop
    opened = Image.open(io.BytesIO(crop))
    assert (opened.format, opened.size) == ("JPEG", (320, 240))
    assert set(opened.info) == {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_a_crop_stays_small_whatever_is_in_it() -> None:
    noise = np.random.default_rng(7).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    crop = crop_of(load_photo(noise), Box(0.0, 0.0, 1.0, 1.0))
    assert len(crop) <= MAX_CROP_BYTES
