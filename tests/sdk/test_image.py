from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from handlens.errors import ImageError
from handlens.geometry import Box
from handlens.vision.image import load_photo, read_size

LEFT_RED = np.zeros((60, 80, 3), np.uint8)
LEFT_RED[:, :40] = (220, 20, 20)
LEFT_RED[:, 40:] = (20, 20, 220)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def colour_at(data: bytes, x: float, y: float) -> tuple[int, ...]:
    photo = load_photo(data)
    return photo.image.getpixel((int(x * photo.image.width), int(y * photo.image.height)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(orientation: int) -> None:
    # Each stored picture is what a camera held that way writes, so that all eight show red on the left.
    undo = {
        1: [], 2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM], 5: [Image.Transpose.TRANSPOSE], 6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE], 8: [Image.Transpose.ROTATE_270],
    }[orientation]  # fmt: skip
    stored = Image.fromarray(LEFT_RED)
    for step in undo:
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, "JPEG", exif=exif, quality=95)
    assert load_photo(data).size == (80, 60) == read_size(data)
    red, _, blue = colour_at(data, 0.2, 0.5)
    assert red > 150 > blue


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "YCbCr", "HSV", "LAB", "RGBA", "LA", "I;16", "I", "F"])
def test_every_mode_of_pillow_becomes_8_bit_rgb(mode: str) -> None:
    grey = Image.fromarray(np.full((32, 32), 200, np.uint8))
    image = Image.new(mode, (32, 32)) if mode in ("I;16", "I", "F") else grey.convert("RGB").convert(mode) \
        if mode != "LAB" else Image.new("LAB", (32, 32))  # fmt: skip
    photo = load_photo(image)
    assert photo.image.mode == "RGB"
    assert photo.pixels(size=(16, 16)).shape == (16, 16, 3)


def test_16_bit_grey_keeps_its_tones() -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    pixels = load_photo(encoded(Image.fromarray(ramp), "PNG")).pixels(size=(64, 64))
    assert pixels[0, 0, 0] < 5
    assert 120 < pixels[32, 0, 0] < 136
    assert pixels[-1, -1, 0] > 250


def test_transparent_pixels_lie_on_white_in_every_format_that_has_them() -> None:
    glass = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    palette = Image.new("P", (32, 32), 0)
    palette.putpalette([255, 0, 0] * 256)
    for data in (encoded(glass, "PNG"), encoded(glass, "WEBP"), encoded(palette, "PNG", transparency=0)):
        assert colour_at(data, 0.5, 0.5) == (255, 255, 255)


def test_cmyk_jpeg_shows_its_colour() -> None:
    data = encoded(Image.new("RGB", (32, 32), (200, 30, 30)).convert("CMYK"), "JPEG")
    red, green, blue = colour_at(data, 0.5, 0.5)
    assert red > 150 > green
    assert blue < 100


def test_of_an_animation_the_first_frame_is_used() -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ((0, 200, 0), (200, 0, 0))]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    red, green, _ = colour_at(data, 0.5, 0.5)
    assert green > 150 > red


def test_a_large_jpeg_is_scaled_while_decoding_and_says_its_true_size() -> None:
    data = encoded(Image.new("RGB", (4000, 3000), (90, 90, 90)), "JPEG")
    photo = load_photo(data, decode_side=960)
    assert photo.size == (4000, 3000)
    assert photo.image.size == (1000, 750)


def test_a_large_png_is_reduced_too() -> None:
    photo = load_photo(encoded(Image.new("RGB", (3000, 2000)), "PNG"), decode_side=960)
    assert photo.size == (3000, 2000)
    assert 960 <= max(photo.image.size) < 1920


def test_a_small_box_keeps_the_detail_that_the_embedder_needs() -> None:
    data = encoded(Image.new("RGB", (4000, 3000)), "JPEG")
    small = Box(0.4, 0.4, 0.5, 0.5)
    assert round(load_photo(data, box=small).image.width * small.width) >= 224


def test_a_crop_is_the_part_in_its_box() -> None:
    left = load_photo(Image.fromarray(LEFT_RED)).pixels(Box(0, 0, 0.5, 1), size=(10, 10))
    assert left[5, 5, 0] > 150
    assert left[5, 5, 2] < 100


def test_a_photo_may_come_as_path_bytes_file_image_or_array(tmp_path: Path) -> None:
    image = Image.fromarray(LEFT_RED)
    path = tmp_path / "photo.png"
    image.save(path)
    sources = (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), image, LEFT_RED)
    for source in sources:
        assert np.array_equal(np.asarray(load_photo(source).image), LEFT_RED)


@pytest.mark.filterwarnings("ignore:.*EXIF:UserWarning")
def test_broken_exif_does_not_cost_the_photo() -> None:
    data = encoded(Image.fromarray(LEFT_RED), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert load_photo(data).size == (80, 60)


def test_heic_is_read_when_pillow_heif_is_there_and_named_when_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="pip install pillow-heif to run this")
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(LEFT_RED)).save(file)
    assert load_photo(file.getvalue()).size == (80, 60)
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"handlens\[heif\]"):
        load_photo(file.getvalue())


JPEG = encoded(Image.fromarray(np.random.default_rng(1).integers(0, 255, (300, 400, 3), np.uint8)), "JPEG")


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "empty"),
        (b"hello, world", "not an image"),
        (JPEG[: len(JPEG) // 2], "damaged or cut short"),
        (JPEG[:60], "damaged|not an image"),
        (encoded(Image.new("RGB", (1, 1)), "PNG"), "at least 16"),
        (encoded(Image.new("RGB", (30000, 10)), "PNG"), "at least 16"),
        (encoded(Image.new("1", (20000, 20000)), "PNG"), "too many pixels|more than"),
        (encoded(Image.new("1", (9600, 9600)), "PNG"), "more than 89,000,000"),
    ],
    ids=["empty", "text", "truncated", "header only", "1x1", "strip", "bomb", "above the limit"],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_no_usable_photo_is_refused_with_cause_and_remedy(data: bytes, cause: str) -> None:
    with pytest.raises(ImageError, match=cause):
        load_photo(data)


def test_paths_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="folder"):
        load_photo(tmp_path)
    with pytest.raises(ImageError, match="no file"):
        load_photo(tmp_path / "missing.jpg")
    with pytest.raises(ImageError, match="cannot be read"):
        load_photo("\0")


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="Windows has other permissions")
def test_a_photo_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "private.png"
    Image.fromarray(LEFT_RED).save(path)
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may read everything; nobody may not
    try:
        with pytest.raises(ImageError, match="may not be read: give this user read permission"):
            load_photo(path)
    finally:
        os.seteuid(user)


def test_an_array_of_another_shape_or_dtype_is_refused() -> None:
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((40, 40, 3), np.float32), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ImageError, match=r"\(height, width, 3\) uint8"):
            load_photo(wrong)  # type: ignore[arg-type]


def test_a_photo_that_is_loaded_already_is_taken_as_it_is() -> None:
    photo = load_photo(LEFT_RED)
    assert load_photo(photo) is photo
    assert read_size(photo) == (80, 60)


@pytest.mark.parametrize("resample", ["bilinear", "bicubic", "quad"])
@pytest.mark.parametrize("side", [(600, 400), (230, 221), (90, 120)])
def test_every_way_of_resizing_gives_the_same_picture_up_to_its_fine_detail(
    resample: str, side: tuple[int, int]
) -> None:
    x, y = np.meshgrid(np.linspace(0, 255, side[0]), np.linspace(0, 255, side[1]))
    smooth = np.stack([x, y, 255 - x], axis=2).astype(np.uint8)
    box = Box(0.1, 0.2, 0.9, 0.7)
    pixels = load_photo(smooth).pixels(box, size=(100, 80), resample=resample).astype(int)
    expected = np.asarray(Image.fromarray(smooth).resize((100, 80), Image.Resampling.BILINEAR, box=(
        0.1 * side[0], 0.2 * side[1], 0.9 * side[0], 0.7 * side[1])), int)  # fmt: skip
    assert np.abs(pixels - expected).mean() < 2.5


@settings(max_examples=60)
@given(st.floats(0, 0.99), st.floats(0, 0.99), st.floats(0.001, 1), st.floats(0.001, 1))
def test_quad_resizing_reads_any_box_of_the_image(x: float, y: float, width: float, height: float) -> None:
    box = Box(x, y, min(1.0, x + width), min(1.0, y + height))
    assert load_photo(LEFT_RED).pixels(box, size=(7, 5), resample="quad").shape == (5, 7, 3)
