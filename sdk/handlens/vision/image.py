"""Photos: anything Pillow reads becomes an upright 8-bit RGB image, scaled while it is decoded.

Rules:

- The size in the header is checked before a pixel is decoded, so a decompression bomb costs nothing.
- A JPEG is scaled by libjpeg while decoding (1/2, 1/4, 1/8); other formats are box-reduced right after.
- EXIF orientation is applied; transparency lies on white; of an animation the first frame is used; 16 bits become 8.
- Whatever is wrong with the input is an `ImageError` that says what to do.

>>> photo = load_photo("street.jpg")          # doctest: +SKIP
>>> photo.pixels(Box(0.2, 0.2, 0.6, 0.9), size=(224, 224)).shape      # doctest: +SKIP
(224, 224, 3)
"""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from handlens.errors import ImageError
from handlens.geometry import WHOLE, Box

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Photo", "PhotoSource", "load_photo", "read_size"]

_Undecoded: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO | Image.Image | NDArray[np.uint8]"
PhotoSource: TypeAlias = "_Undecoded | Photo"

MIN_SIDE = 16  # pixels; below this nothing can be recognised
_CROP_SIDE = 320  # pixels that the long side of a wanted crop should have, above what any embedder takes
_REDUCING_GAP = 1.1  # whole pixels are averaged first where that leaves so much more than is wanted: 3.4 -> 2.0 ms
_RESAMPLE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
# EXIF 2.32, tag 0x0112: what undoes each orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif")


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded photo: `image` is upright RGB, perhaps smaller than the original, whose (width, height) is `size`."""

    image: Image.Image
    size: tuple[int, int]

    def pixels(self, box: Box = WHOLE, *, size: tuple[int, int], resample: str = "bilinear") -> NDArray[np.uint8]:
        """The part in `box`, stretched to `size` (width, height): (height, width, 3) uint8 RGB.

        `resample` is bilinear, bicubic, or quad: the mean of four samples a pixel, which costs the same for any crop, a
        quarter of bilinear, and is worth as much to an embedder (see its card). The crop is never cut out first: the
        resize reads only its part of the image.
        """
        cut = box.to_pixels(self.image.size)
        if resample == "quad":
            fourfold = (2 * size[0], 2 * size[1])
            return np.asarray(self.image.resize(fourfold, Image.Resampling.NEAREST, box=cut).reduce(2))
        return np.asarray(self.image.resize(size, _RESAMPLE[resample], box=cut, reducing_gap=_REDUCING_GAP))


def load_photo(
    source: PhotoSource, *, max_pixels: int = 89_000_000, decode_side: int = 960, box: Box | None = None
) -> Photo:
    """Decode a photo from a path, bytes, an open file, a Pillow image or an (h, w, 3) uint8 RGB array.

    A `Photo` is returned as it is.

    The decoded long side is at least `decode_side` pixels where the original has them, and more when a small `box` of
    it is wanted, so that the crop keeps its detail.

    Raises:
        ImageError: it cannot be read, is no image, is damaged, too small, or has more than `max_pixels` pixels.
    """
    if isinstance(source, Photo):
        return source
    image = _open(source)
    name = _name(source)
    _check_size(image, name, max_pixels)
    side = decode_side if box is None else max(decode_side, round(_CROP_SIDE / max(box.width, box.height)))
    try:
        return _decode(image, side)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ImageError(f"{name} is damaged or cut short ({error}): send the photo again") from error
    except MemoryError as error:
        raise ImageError(f"{name} does not fit in memory: send a smaller photo") from error


def read_size(source: PhotoSource) -> tuple[int, int]:
    """Width and height of a photo in pixels, upright, from its header alone.

    Raises:
        ImageError: it cannot be read or is no image.
    """
    if isinstance(source, Photo):
        return source.size
    image = _open(source)
    width, height = image.size
    return (height, width) if _orientation(image) >= 5 else (width, height)


def _decode(image: Image.Image, side: int) -> Photo:
    width, height = image.size
    orientation = _orientation(image)
    scale = side / max(width, height)
    if scale < 1:
        image.draft("RGB", (max(1, round(width * scale)), max(1, round(height * scale))))
    image.load()
    shrink = max(image.size) // side
    if shrink >= 2 and image.mode in ("L", "RGB", "RGBA", "CMYK"):
        image = image.reduce(shrink)
    turn = _TURNS.get(orientation)
    upright = _to_rgb(image if turn is None else image.transpose(turn))
    return Photo(image=upright, size=(height, width) if orientation >= 5 else (width, height))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; a photo whose EXIF block is broken is taken as upright, its pixels are still good."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (OSError, ValueError, SyntaxError, EOFError, KeyError, TypeError, struct.error):
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _open(source: _Undecoded) -> Image.Image:
    if isinstance(source, Image.Image):
        return source.copy()
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, str | os.PathLike):
        return _open_file(Path(source))
    return _identify(source if isinstance(source, bytes) else source.read(), "the photo")


def _from_array(pixels: NDArray[np.uint8]) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ImageError(f"a photo as an array is (height, width, 3) uint8 RGB, not {pixels.shape} {pixels.dtype}")
    return Image.fromarray(pixels)


def _open_file(path: Path) -> Image.Image:
    try:
        data = path.expanduser().read_bytes()
    except FileNotFoundError as error:
        raise ImageError(f"there is no file {path}: check the name") from error
    except IsADirectoryError as error:
        raise ImageError(f"{path} is a folder: name one photo in it") from error
    except PermissionError as error:
        raise ImageError(f"{path} may not be read: give this user read permission") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be read: {error}") from error
    return _identify(data, str(path))


def _identify(data: bytes, name: str) -> Image.Image:
    if not data:
        raise ImageError(f"{name} is empty (0 bytes): send the photo again")
    try:
        return Image.open(io.BytesIO(data))
    except UnidentifiedImageError as error:
        if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
            return _open_heif(data, name)
        raise ImageError(f"{name} is not an image that Pillow reads: give JPEG, PNG, WebP, HEIC or the like") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} has too many pixels ({error}): send a smaller photo") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise ImageError(f"{name} is damaged ({error}): send the photo again") from error


def _open_heif(data: bytes, name: str) -> Image.Image:
    try:
        import pillow_heif
    except ImportError as error:
        raise ImageError(f"{name} is a HEIC photo: pip install 'handlens[heif]' to read it, or send a JPEG") from error
    try:
        heif: Image.Image = pillow_heif.open_heif(io.BytesIO(data)).to_pillow()
    except (OSError, ValueError, RuntimeError, EOFError) as error:
        raise ImageError(f"{name} is a damaged HEIC photo ({error}): send it again") from error
    return heif


def _name(source: PhotoSource) -> str:
    return str(source) if isinstance(source, str | os.PathLike) else "the photo"


def _check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(f"{name} has {width} x {height} pixels, more than {max_pixels:,}: send a smaller photo")
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{name} has {width} x {height} pixels: each side must have at least {MIN_SIDE}")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep(image)
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        return _on_white(image.convert("RGBA"))
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", image.size, (255, 255, 255))
    canvas.paste(image, mask=image.getchannel("A"))
    return canvas


def _from_deep(image: Image.Image) -> Image.Image:
    """16-bit and 32-bit grey to 8 bits; Pillow's own conversion clips at 255, which turns such photos white."""
    values = np.asarray(image).astype(np.float32)
    top = float(values.max(initial=0.0))
    full = 1.0 if image.mode == "F" and top <= 1.0 else 255.0 if top <= 255.0 else 65535.0
    grey = np.clip(values * (255.0 / full), 0, 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")
