"""What the pipeline must know of a picture: its size, the hash of its bytes, and a hash of what it shows.

The perceptual hash is `imagehash.phash` (the 8 x 8 lowest frequencies of a 32 x 32 grey picture's DCT, each above or
below their median: Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010): the same
picture scaled or compressed again differs in few of its 64 bits.

::

    seen = look(data)        # Look, or the RejectReason that its boxes are left out for
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from handlens.errors import ImageError
from handlens_conversion.boxes.reasons import RejectReason

__all__ = ["Look", "look", "look_at_file"]

_SIDE = 64  # pixels that the short side must keep for the hash
MAX_BYTES = 50_000_000  # of a picture's file


@dataclass(frozen=True, slots=True)
class Look:
    """A picture: `size` is (width, height) in pixels, upright; `sha256` of its bytes; `phash` as 16 hex digits."""

    size: tuple[int, int]
    sha256: str
    phash: str


def look(data: bytes) -> Look | RejectReason:
    """Look at a picture's bytes; `CORRUPT_PHOTO` when they are no whole picture."""
    import imagehash
    from PIL import ImageFile

    from handlens.vision.image import load_photo

    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise RuntimeError("Pillow is set to load truncated images: half a picture would be taken for a whole one")
    try:
        photo = load_photo(data)
    except ImageError:
        return RejectReason.CORRUPT_PHOTO
    return Look(photo.size, hashlib.sha256(data).hexdigest(), str(imagehash.phash(photo.image)))


def look_at_file(path: str) -> Look | RejectReason:
    """Look at a file; `path` is local, or a URI of a file system that pyarrow knows (s3, gs, hdfs).

    `MISSING_PHOTO` when there is no such file.
    """
    data = read_picture(path)
    return data if isinstance(data, RejectReason) else look(data)


def read_picture(path: str) -> bytes | RejectReason:
    """The bytes of a picture's file."""
    try:
        if "://" not in path:
            with open(path, "rb") as file:
                data = file.read(MAX_BYTES + 1)
        else:
            from pyarrow import fs

            system, inside = fs.FileSystem.from_uri(path)
            with system.open_input_stream(inside) as stream:
                data = stream.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return RejectReason.MISSING_PHOTO
    except OSError:
        return RejectReason.CORRUPT_PHOTO
    return data if len(data) <= MAX_BYTES else RejectReason.CORRUPT_PHOTO
