"""A seeded catalogue of any size, and the same catalogue after a change: rows as a publisher takes them.

What a row is made of:

- a subject, one of the demo catalogue's items: its object type and some of its tags with their weights;
- a title and one to three sentences by a word chain over the demo's own titles and texts (pairs of words lead to the
  word that followed them there), so that they compress as prose does, not as noise or as one repeated sentence;
- a link, a picture's path, author and licence, quality and date, as a feed has them;
- one embedding of the whole picture and, for one row in five, one or two of parts: unit vectors around the subject's
  own direction, as codes (`handlens.wire.pack`);
- no thumbnail, or, with `thumbnail_bytes`, so many random bytes, which compress as little as WebP does.

A change touches a share of the rows, drawn: of ten rows four get new words (the embedding stays), four get a new
picture (new embeddings), one is withdrawn and one is new.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlens.geometry import WHOLE, Box
from handlens.wire.item import Item
from handlens.wire.pack import ItemEmbedding, PackRow, encode_codes, encode_row

__all__ = ["DIM", "Catalogue", "Row"]

DIM = 128
_SHARE_WITH_PARTS = 0.2
_SPREAD = 0.6  # length of the noise around a subject's direction of length 1
_BEGIN = ("", "")
_WORDS = 40  # at most, in one sentence
_EDITS = ("words", "words", "words", "words", "picture", "picture", "picture", "picture", "withdrawn", "new")


@dataclass(frozen=True, slots=True)
class Row:
    """What makes a row: its number, and how often its words and its picture were changed."""

    number: int
    words: int = 0
    picture: int = 0

    @property
    def item_id(self) -> str:
        return f"item-{self.number:08d}"


@dataclass(frozen=True)
class Catalogue:
    """`rows` of a catalogue drawn from `seed`; `items` is the demo's file of items, where words and tags come from."""

    items: Path
    rows: tuple[Row, ...]
    seed: int
    thumbnail_bytes: int = 0

    @classmethod
    def made(cls, items: Path, count: int, *, seed: int, thumbnail_bytes: int = 0) -> Catalogue:
        """The first state, of `count` rows."""
        return cls(items, tuple(Row(number) for number in range(count)), seed, thumbnail_bytes)

    def changed(self, count: int, *, draw: int) -> Catalogue:
        """The state after a change of `count` rows; `draw` tells one change from the next."""
        random = np.random.default_rng((self.seed, 2, draw))
        chosen = random.choice(len(self.rows), size=count, replace=False).tolist()
        edits = {at: _EDITS[place % len(_EDITS)] for place, at in enumerate(chosen)}
        fresh = 1 + max(row.number for row in self.rows)
        rows: list[Row] = []
        for at, row in enumerate(self.rows):
            match edits.get(at):
                case "words":
                    rows.append(replace(row, words=row.words + 1))
                case "picture":
                    rows.append(replace(row, picture=row.picture + 1))
                case "withdrawn":
                    pass
                case "new":
                    rows += [row, Row(fresh)]
                    fresh += 1
                case _:
                    rows.append(row)
        rows.sort(key=lambda row: row.number)
        return replace(self, rows=tuple(rows))

    def lines(self) -> Iterator[tuple[str, bytes]]:
        """Item id and canonical text of each row, by item id."""
        return ((row.item_id, self.line(row)) for row in self.rows)

    def line(self, row: Row) -> bytes:
        """The canonical text of one row."""
        random = np.random.default_rng((self.seed, 1, row.number))
        subject = self._subjects[int(random.integers(len(self._subjects)))]
        draws = np.random.default_rng((self.seed, 3, row.number, row.picture))
        parts = tuple(map(ItemEmbedding, _boxes(draws), (code.tobytes() for code in self.codes(row))))
        thumbnail = draws.bytes(self.thumbnail_bytes)
        return encode_row(PackRow(self._item(row, subject, random), parts, thumbnail))

    def codes(self, row: Row) -> NDArray[np.int8]:
        """The codes (parts, DIM) of a row."""
        subject = int(np.random.default_rng((self.seed, 1, row.number)).integers(len(self._subjects)))
        parts = len(_boxes(np.random.default_rng((self.seed, 3, row.number, row.picture))))
        noise = np.random.default_rng((self.seed, 4, row.number, row.picture)).standard_normal((parts, DIM))
        vectors = self._directions[subject] + noise * (_SPREAD / np.sqrt(DIM))
        return encode_codes((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32))

    def _item(self, row: Row, subject: dict[str, Any], random: np.random.Generator) -> Item:
        words = np.random.default_rng((self.seed, 5, row.number, row.words))
        tags = subject["annotations"]
        kept = words.permutation(list(tags))[: 2 + int(words.integers(5))].tolist()
        made = int(random.integers(365 * 3))
        return Item(
            item_id=row.item_id,
            kind=subject["kind"],
            object_type=subject["object_type"],
            title=self._titles.sentence(words),
            text=" ".join(self._texts.sentence(words) for _ in range(1 + int(words.integers(3)))),
            link=f"https://example.com/{subject['kind']}/{row.number:08d}-{int(random.integers(1 << 32)):08x}",
            image=f"images/{int(random.integers(1 << 48)):012x}-{row.picture}.jpg",
            annotations={
                tag: round(min(1.0, tags[tag] + 0.05 * int(words.integers(-2, 3))), 2) for tag in sorted(kept)
            },
            attributes={
                key: subject["attributes"][key] for key in ("author", "licence") if key in subject["attributes"]
            },
            locale="en",
            quality=round(0.4 + 0.01 * int(random.integers(60)), 2),
            created_at=str(np.datetime64("2023-01-01T00:00:00") + np.timedelta64(made, "D")) + "Z",
        )

    @cached_property
    def _subjects(self) -> Sequence[dict[str, Any]]:
        subjects = [json.loads(line) for line in self.items.read_text("utf-8").splitlines()]
        return [subject for subject in subjects if subject["annotations"]]

    @cached_property
    def _directions(self) -> NDArray[np.float64]:
        drawn = np.random.default_rng((self.seed, 0)).standard_normal((len(self._subjects), DIM))
        return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))

    @cached_property
    def _titles(self) -> _Chain:
        return _Chain([subject["title"] for subject in self._subjects])

    @cached_property
    def _texts(self) -> _Chain:
        return _Chain([text for subject in self._subjects for text in subject["text"].split(". ")])


class _Chain:
    """Sentences like those it was given: the last two words choose among the words that followed them."""

    def __init__(self, sentences: Sequence[str]) -> None:
        self._next: dict[tuple[str, str], list[str]] = defaultdict(list)
        for sentence in sentences:
            before = _BEGIN
            for word in [*sentence.split(), ""]:
                self._next[before].append(word)
                # One word leads on as well: with two alone a chain over so little text would repeat its sentences.
                self._next["", before[1]].append(word)
                before = (before[1], word)

    def sentence(self, random: np.random.Generator) -> str:
        words: list[str] = []
        draws = random.random((_WORDS, 2))
        before = _BEGIN
        for choice, width in draws:
            following = self._next[before if width < 0.5 else ("", before[1])]
            word = following[int(choice * len(following))]
            if not word:
                break
            words.append(word)
            before = (before[1], word)
        return " ".join(words) or "Untitled"


def _near(weight: float, random: np.random.Generator) -> float:
    return round(min(1.0, weight + 0.05 * int(random.integers(-2, 3))), 2)


def _boxes(random: np.random.Generator) -> list[Box]:
    """The whole picture and, for some rows, one or two parts of it."""
    parts = 1 + int(random.integers(2)) if random.random() < _SHARE_WITH_PARTS else 0
    corners = np.round(random.uniform(0.0, 0.5, (parts, 2)), 4).tolist()
    sizes = np.round(random.uniform(0.2, 0.5, (parts, 2)), 4).tolist()
    boxes = [
        Box(left, top, round(left + width, 4), round(top + height, 4))
        for (left, top), (width, height) in zip(corners, sizes, strict=True)
    ]
    return [WHOLE, *boxes]
