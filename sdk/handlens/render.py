"""The answer as a picture: the photo with its boxes, and beside it the sections with thumbnails, titles and scores."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from handlens.errors import ImageError
from handlens.results import FoundObject, Match, SearchResult, Section
from handlens.vision.image import PhotoSource, load_photo

__all__ = ["render", "save_picture"]

Thumbnail = Callable[[Match], "bytes | None"]

_PHOTO_SIDE = 720  # pixels
_CARD = (148, 176)  # width, height of one match
_GAP = 12
_PANEL_CARDS = 6  # matches shown a section, and cards side by side
_PANEL_WIDTH = _PANEL_CARDS * (_CARD[0] + _GAP)
_PAPER, _INK, _FAINT = (250, 249, 246), (33, 37, 41), (120, 124, 130)
_COLOURS = ((208, 62, 62), (38, 112, 186), (46, 138, 87), (178, 106, 20), (124, 74, 168))
_KIND_COLOURS = {
    "article": (88, 104, 140),
    "how_to": (64, 128, 120),
    "idea": (164, 120, 60),
    "photo": (110, 110, 110),
    "place": (92, 132, 74),
    "product": (150, 82, 106),
    "recipe": (186, 92, 58),
}
_KIND_WORDS = {"how_to": "how-to"}


@dataclass(frozen=True, slots=True)
class _Fonts:
    title: ImageFont.FreeTypeFont | ImageFont.ImageFont
    text: ImageFont.FreeTypeFont | ImageFont.ImageFont
    small: ImageFont.FreeTypeFont | ImageFont.ImageFont


def render(photo: PhotoSource, result: SearchResult, thumbnail: Thumbnail) -> Image.Image:
    """Draw a result: RGB, as wide and high as it needs. `thumbnail` gives a match's WebP bytes, or None.

    Raises:
        ImageError: the photo cannot be read again.
    """
    fonts = _Fonts(*(ImageFont.load_default(size) for size in (22, 15, 12)))
    left = _photo_with_boxes(load_photo(photo, decode_side=_PHOTO_SIDE).image, result, fonts)
    panels = [_object_panel(found, at, thumbnail, fonts) for at, found in enumerate(result.objects)]
    right = _stack(panels)
    width = left.width + right.width + 3 * _GAP
    canvas = Image.new("RGB", (width, max(left.height, right.height) + 2 * _GAP), _PAPER)
    canvas.paste(left, (_GAP, _GAP))
    canvas.paste(right, (left.width + 2 * _GAP, _GAP))
    return canvas


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write the picture in the format that the file's name asks for.

    Raises:
        ImageError: the folder cannot be written, or Pillow knows no such format.
    """
    try:
        picture.save(path, quality=88)
    except ValueError as error:
        raise ImageError(f"{path}: {error}: give a name that ends in .jpg, .png or .webp") from error
    except OSError as error:
        raise ImageError(f"{path} cannot be written ({error.strerror}): choose another --out") from error


def _photo_with_boxes(image: Image.Image, result: SearchResult, fonts: _Fonts) -> Image.Image:
    image = image.copy()
    image.thumbnail((_PHOTO_SIDE, _PHOTO_SIDE))
    draw = ImageDraw.Draw(image)
    for at, found in enumerate(result.objects):
        colour = _COLOURS[at % len(_COLOURS)]
        left, top, right, bottom = found.box.to_pixels(image.size)
        draw.rectangle((left + 1, top + 1, right - 2, bottom - 2), outline=colour, width=4)
        _tag(draw, (left + 4, top + 4), f"{at + 1} {_headline(found)}", colour, fonts)
    return image


def _tag(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, colour: tuple[int, int, int], fonts: _Fonts
) -> None:
    left, top, right, bottom = draw.textbbox(at, text, font=fonts.text)
    draw.rectangle((left - 4, top - 3, right + 4, bottom + 3), fill=colour)
    draw.text(at, text, fill="white", font=fonts.text)


def _headline(found: FoundObject) -> str:
    return found.annotations[0].tag if found.annotations else found.type


def _object_panel(found: FoundObject, at: int, thumbnail: Thumbnail, fonts: _Fonts) -> Image.Image:
    words = ", ".join(f"{note.tag} {note.confidence:.2f}" for note in found.annotations[:4])
    heading = f"{at + 1}  {found.type} {found.understanding.type_confidence:.2f}"
    rows = [_line(heading, fonts.title, _COLOURS[at % len(_COLOURS)]), _line(words, fonts.text, _FAINT)]
    return _stack([*rows, *_flow([_section(section, thumbnail, fonts) for section in found.sections])])


def _flow(blocks: Sequence[Image.Image]) -> list[Image.Image]:
    """Blocks side by side, in rows no wider than the panel: short sections share a row."""
    rows: list[list[Image.Image]] = []
    for block in blocks:
        if rows and sum(one.width for one in rows[-1]) + block.width <= _PANEL_WIDTH:
            rows[-1].append(block)
        else:
            rows.append([block])
    return [_beside(row) for row in rows]


def _beside(blocks: Sequence[Image.Image]) -> Image.Image:
    canvas = Image.new("RGB", (sum(block.width for block in blocks), max(block.height for block in blocks)), _PAPER)
    left = 0
    for block in blocks:
        canvas.paste(block, (left, 0))
        left += block.width
    return canvas


def _section(section: Section, thumbnail: Thumbnail, fonts: _Fonts) -> Image.Image:
    shown = section.matches[:_PANEL_CARDS]
    width = len(shown) * (_CARD[0] + _GAP)
    title = _line(section.title, fonts.text, _INK)
    canvas = Image.new("RGB", (max(width, title.width + _GAP), _CARD[1] + title.height + 4), _PAPER)
    canvas.paste(title, (0, 0))
    for column, match in enumerate(shown):
        canvas.paste(_card(match, thumbnail(match), fonts), (column * (_CARD[0] + _GAP), title.height + 4))
    return canvas


def _card(match: Match, thumbnail: bytes | None, fonts: _Fonts) -> Image.Image:
    card = Image.new("RGB", _CARD, "white")
    draw = ImageDraw.Draw(card)
    picture_height = 104
    if thumbnail is None or not _paste_thumbnail(card, thumbnail, picture_height):
        _paste_kind(draw, match.kind, picture_height, fonts)
    _wrapped(draw, (6, picture_height + 6), match.title, fonts.small, lines=3, width=_CARD[0] - 12)
    score = f"{match.score:.2f} {match.why.source}"
    draw.text((6, _CARD[1] - 18), score, fill=_FAINT, font=fonts.small)
    draw.rectangle((0, 0, _CARD[0] - 1, _CARD[1] - 1), outline=(222, 220, 214))
    return card


def _paste_thumbnail(card: Image.Image, data: bytes, height: int) -> bool:
    try:
        picture = Image.open(io.BytesIO(data)).convert("RGB")
    except (UnidentifiedImageError, OSError):
        return False
    scale = max(_CARD[0] / picture.width, height / picture.height)
    picture = picture.resize((round(picture.width * scale + 0.5), round(picture.height * scale + 0.5)))
    left, top = (picture.width - _CARD[0]) // 2, (picture.height - height) // 2
    card.paste(picture.crop((left, top, left + _CARD[0], top + height)), (0, 0))
    return True


def _paste_kind(draw: ImageDraw.ImageDraw, kind: str, height: int, fonts: _Fonts) -> None:
    draw.rectangle((0, 0, _CARD[0], height), fill=_KIND_COLOURS.get(kind, _FAINT))
    draw.text((_CARD[0] / 2, height / 2), _KIND_WORDS.get(kind, kind), fill="white", font=fonts.title, anchor="mm")


def _wrapped(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    *,
    lines: int,
    width: int,
) -> None:
    rows: list[str] = []
    for word in text.split():
        longer = f"{rows[-1]} {word}" if rows else word
        if rows and draw.textlength(longer, font=font) <= width:
            rows[-1] = longer
        else:
            rows.append(word)
    if len(rows) > lines:
        rows = [*rows[: lines - 1], f"{rows[lines - 1]}..."]
    for row, words in enumerate(rows):
        draw.text((at[0], at[1] + row * 15), words, fill=_INK, font=font)


def _line(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, colour: tuple[int, int, int]) -> Image.Image:
    right, bottom = font.getbbox(text or " ")[2], font.getbbox("Ag")[3]  # one height, so that cards stand in line
    canvas = Image.new("RGB", (max(1, int(right)), int(bottom) + 6), _PAPER)
    ImageDraw.Draw(canvas).text((0, 2), text, fill=colour, font=font)
    return canvas


def _stack(parts: Iterable[Image.Image]) -> Image.Image:
    rows = list(parts)
    height = sum(row.height + _GAP for row in rows)
    canvas = Image.new("RGB", (max((row.width for row in rows), default=1), max(1, height)), _PAPER)
    top = 0
    for row in rows:
        canvas.paste(row, (0, top))
        top += row.height + _GAP
    return canvas
