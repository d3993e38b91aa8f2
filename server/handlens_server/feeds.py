"""Reading a feed: rows of a partner's catalogue, from a JSONL file, a folder with ``items.jsonl``, or a CSV file.

Rules:

1. A row that cannot be read is a fault of that row, with its line; the rows after it are read all the same.
2. A file that cannot be read to its end (missing, or a CSV whose quotes do not close) is a `FeedError`.
3. Lines are read one by one and are bounded, so that a feed never has to fit in memory and a line cannot fill it.
4. Pictures are named by paths relative to the folder that holds the file.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from handlens.errors import DecodeError, HandlensError
from handlens.wire.fields import load_object
from handlens_server.item_rules import ItemRefusedError, Refusal
from handlens_server.mapping import ColumnMapping

__all__ = ["Feed", "FeedError", "FeedRow", "open_feed"]

MAX_LINE = 1_000_000  # bytes; an item has at most 64 kB, so more is a mistake or an attack
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
_BOM = b"\xef\xbb\xbf"


class FeedError(HandlensError):
    """The feed cannot be read at all."""


@dataclass(frozen=True, slots=True)
class FeedRow:
    """A row: its line, counted from 1, and the JSON object of an item, or why there is none."""

    line: int
    values: dict[str, Any]
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed that can be read: `name` is what its items are filed under, `mapping` is for CSV."""

    name: str
    path: Path
    mapping: ColumnMapping | None = None

    @property
    def folder(self) -> Path:
        """Where its pictures lie."""
        return self.path.parent

    def rows(self) -> Iterator[FeedRow]:
        """Every row, in the order of the lines.

        Raises:
            FeedError: the file cannot be read to its end. MappingError: the CSV lacks a column.
        """
        try:
            with self.path.open("rb") as file:
                yield from _json_rows(file) if self.mapping is None else _csv_rows(self.path, file, self.mapping)
        except OSError as error:
            raise FeedError(f"feed {self.path} cannot be read ({error.strerror}): check the path") from error


def open_feed(path: Path, *, mapping: ColumnMapping | None = None, name: str | None = None) -> Feed:
    """The feed in `path`: a folder with items.jsonl, a .jsonl file, or a .csv file with its mapping.

    `name` is that of the folder, or of the file without its ending, when it is not given.

    Raises:
        FeedError: there is no such feed, or a CSV has no mapping, or the name cannot be used.
    """
    file = path / "items.jsonl" if path.is_dir() else path
    if not file.is_file():
        raise FeedError(f"there is no feed {file}: give a folder with items.jsonl, a .jsonl file, or a .csv file")
    is_csv = file.suffix.lower() == ".csv"
    if is_csv != (mapping is not None):
        raise FeedError(
            f"feed {file} is CSV: say with --mapping which column is which field"
            if is_csv
            else f"feed {file} is not CSV, so no --mapping applies: leave it out, or name a .csv file"
        )
    known_as = name or (path.resolve().name if path.is_dir() else path.stem)
    if not _NAME.fullmatch(known_as):
        raise FeedError(f"feed name {known_as[:80]!r} cannot be used: give 1 to 200 characters with --feed")
    return Feed(known_as, file, mapping)


def _json_rows(file: BinaryIO) -> Iterator[FeedRow]:
    for number, line in _lines(file):
        if line is None:
            yield _refused(number, "line-too-long", f"the line has more than {MAX_LINE} bytes: an item is far smaller")
        elif line.strip():
            yield _json_row(number, line)


def _json_row(number: int, line: bytes) -> FeedRow:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return _refused(number, "not-utf8", f"byte {error.start} is not UTF-8: save the feed as UTF-8")
    try:
        return FeedRow(number, load_object(text, what="the line"))
    except DecodeError as error:
        return _refused(number, "not-json", str(error))


def _csv_rows(path: Path, file: BinaryIO, mapping: ColumnMapping) -> Iterator[FeedRow]:
    # A byte that is not UTF-8 must cost its row only: it passes the parser as a surrogate, and is looked for after it.
    reader = csv.reader(_csv_lines(path, file), delimiter=mapping.delimiter, strict=True)
    try:
        header = tuple(cell.strip() for cell in next(reader, []))
        if len(set(header)) != len(header):
            raise FeedError(f"feed {path} names a column twice in its header: rename one")
        mapping.check_columns(header)
        for cells in reader:
            if cells:
                yield _csv_row(reader.line_num, header, cells, mapping)
    except csv.Error as error:
        raise FeedError(f"feed {path} is not CSV at line {reader.line_num} ({error}): mend the quotes there") from error


def _csv_lines(path: Path, file: BinaryIO) -> Iterator[str]:
    for number, line in _lines(file):
        if line is None:
            raise FeedError(f"feed {path} has more than {MAX_LINE} bytes in line {number}: it is not CSV of items")
        yield line.decode(errors="surrogateescape")


def _csv_row(number: int, header: tuple[str, ...], cells: list[str], mapping: ColumnMapping) -> FeedRow:
    if len(cells) != len(header):
        return _refused(number, "wrong-columns", f"{len(cells)} fields, the header has {len(header)}: mend the row")
    if _ESCAPED_BYTE.search("\0".join(cells)):
        return _refused(number, "not-utf8", "the row is not UTF-8: save the feed as UTF-8")
    try:
        return FeedRow(number, mapping.item_values(dict(zip(header, cells, strict=True))))
    except ItemRefusedError as error:
        return _refused(number, error.code, str(error))


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Number and bytes of each line, None for one that is too long; the rest of that line is skipped."""
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) <= MAX_LINE:
            yield number, line.removeprefix(_BOM) if number == 1 else line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE)
        yield number, None


def _refused(line: int, code: str, reason: str) -> FeedRow:
    return FeedRow(line, {}, Refusal(line, "", code, reason))
