"""Sample sheets: a photo three times, with its users' boxes, with what was made of them, and with what a detector sees.

::

    sheet = draw_sheet(data, drawn, record, detections)      # JPEG bytes
"""

from __future__ import annotations

import colorsys
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from handlens.geometry import Box
from handlens.vision.image import load_photo
from handlens_conversion.boxes.drawn import DrawnBox, Edges
from handlens_conversion.pipeline.photo_work import PhotoRecord

__all__ = ["Seen", "draw_sheet", "photos_to_show"]

_SIDE = 360  # pixels of the longer side of one picture
_GAP = 6
_QUALITY = 82


@dataclass(frozen=True, slots=True)
class Seen:
    """What a detector sees: a box as fractions, a label, a score."""

    box: Edges
    label: str
    score: float


def photos_to_show(photos: Iterable[str], count: int) -> list[str]:
    """Some of the photos, the same in whatever order they come: those of the least hash."""
    return sorted(sorted(photos, key=lambda one: hashlib.sha256(f"show {one}".encode()).digest())[:count])


def draw_sheet(data: bytes, drawn: Sequence[DrawnBox], record: PhotoRecord, seen: Sequence[Seen] | None) -> bytes:
    """One sheet as a JPEG: users' boxes (a colour a user), consensus, and `seen` where there is a detector.

    Raises:
        ImageError: `data` is no picture.
    """
    photo = load_photo(data, decode_side=_SIDE).image.convert("RGB")
    photo.thumbnail((_SIDE, _SIDE))
    users = [(one.box, _colour(one.user), "") for one in drawn]
    found = [(one.box, _colour(one.label or ""), f"{one.label or '?'} {one.users}") for one in record.objects]
    panels = [_with(photo, users, width=1), _with(photo, found, width=3)]
    if seen is not None:
        panels.append(
            _with(photo, [(one.box, _colour(one.label), f"{one.label} {one.score:.2f}") for one in seen], width=3)
        )
    sheet = Image.new("RGB", (len(panels) * (photo.width + _GAP) - _GAP, photo.height), "white")
    for at, panel in enumerate(panels):
        sheet.paste(panel, (at * (photo.width + _GAP), 0))
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _with(photo: Image.Image, boxes: Sequence[tuple[Edges, tuple[int, int, int], str]], *, width: int) -> Image.Image:
    panel = photo.copy()
    pen = ImageDraw.Draw(panel)
    for edges, colour, text in boxes:
        left, top, right, bottom = Box(*edges).to_pixels(panel.size)
        pen.rectangle((left, top, max(right, left + 1), max(bottom, top + 1)), outline=colour, width=width)
        if text:
            # Pillow's built-in font may lack a letter; it then draws a box for it.
            space = pen.textbbox((left + 2, top + 1), text)
            pen.rectangle((space[0] - 2, space[1] - 1, space[2] + 2, space[3] + 1), fill=colour)
            pen.text((left + 2, top + 1), text, fill="white")
    return panel


def _colour(name: str) -> tuple[int, int, int]:
    hue = hashlib.sha256(name.encode()).digest()[0] / 256
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.85, 0.8))
    return red, green, blue
