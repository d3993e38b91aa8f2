"""Checking a whole feed: each row becomes an item with its picture, or a refusal.

Every row is checked, so that a partner learns of all mistakes at once. Nothing is written here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from handlens.errors import HandlensError
from handlens.wire.item import Item
from handlens_server.feeds import Feed, FeedError, FeedRow
from handlens_server.item_rules import ItemRefusedError, Refusal, read_item, usable_id
from handlens_server.pictures import FeedPicture, check_picture

__all__ = ["CheckedFeed", "CheckedItem", "FeedRefusedError", "Track", "check_feed", "untracked"]

_T = TypeVar("_T")
_NAMED = 3  # refusals that the message of the error names


class Track(Protocol):
    """Shows progress: gives back what it was given, and watches it pass."""

    def __call__(self, steps: Iterable[_T], what: str, total: int | None) -> Iterable[_T]: ...


def untracked(steps: Iterable[_T], what: str, total: int | None) -> Iterable[_T]:
    """A `Track` that shows nothing."""
    return steps


class FeedRefusedError(HandlensError):
    """Rows of a feed are refused, so nothing of it was imported; `refused` has all of them."""

    def __init__(self, feed: str, refused: Iterable[Refusal]) -> None:
        self.refused = tuple(refused)
        shown = "; ".join(f"line {one.line}: {one.reason}" for one in self.refused[:_NAMED])
        more = f"; and {len(self.refused) - _NAMED} more" if len(self.refused) > _NAMED else ""
        super().__init__(
            f"feed {feed}: {len(self.refused)} rows are refused, so nothing was imported: {shown}{more}. Mend them, or "
            "import the others with --skip-refused"
        )


@dataclass(frozen=True, slots=True)
class CheckedItem:
    """A good row."""

    line: int
    item: Item
    picture: FeedPicture | None


@dataclass(frozen=True, slots=True)
class CheckedFeed:
    """All rows of a feed, in its order."""

    name: str
    items: tuple[CheckedItem, ...]
    refused: tuple[Refusal, ...]

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of a report."""
        return {
            "feed": self.name,
            "good": len(self.items),
            "kinds": dict(sorted(Counter(one.item.kind for one in self.items).items())),
            "pictures": len({one.picture.sha256 for one in self.items if one.picture}),
            "refused": [one.to_dict() for one in self.refused],
        }

    def refuse(self, is_refused: Callable[[CheckedItem], Refusal | None]) -> CheckedFeed:
        """The feed with more rows refused."""
        verdicts = [(one, is_refused(one)) for one in self.items]
        more = [refusal for _, refusal in verdicts if refusal]
        return CheckedFeed(
            self.name,
            tuple(one for one, refusal in verdicts if refusal is None),
            tuple(sorted((*self.refused, *more), key=lambda refusal: refusal.line)),
        )


def check_feed(
    feed: Feed, *, is_known: Callable[[str], bool] = lambda _: False, track: Track = untracked
) -> CheckedFeed:
    """Check every row of a feed; pictures whose SHA-256 `is_known` are not decoded again.

    Raises:
        FeedError: the file cannot be read, or has no row. MappingError: a CSV lacks a column of its mapping.
    """
    checker = _Checker(feed.folder, is_known)
    items: list[CheckedItem] = []
    refused: list[Refusal] = []
    for row in track(feed.rows(), f"check {feed.name}", None):
        found = checker.check(row)
        if isinstance(found, Refusal):
            refused.append(found)
        else:
            items.append(found)
    if not items and not refused:
        raise FeedError(f"feed {feed.path} has no row: nothing to import")
    return CheckedFeed(feed.name, tuple(items), tuple(refused))


class _Checker:
    """Checks rows one after another; remembers their ids and the pictures it has seen."""

    def __init__(self, folder: Path, is_known: Callable[[str], bool]) -> None:
        self._folder = folder
        self._is_known = is_known
        self._lines: dict[str, int] = {}
        self._pictures: dict[str, FeedPicture | ItemRefusedError] = {}

    def check(self, row: FeedRow) -> CheckedItem | Refusal:
        if row.refusal is not None:
            return row.refusal
        try:
            self._check_first(row)
            item = read_item(row.values)
            return CheckedItem(row.line, item, None if item.image is None else self._picture(item.image))
        except ItemRefusedError as error:
            return Refusal(row.line, usable_id(row.values.get("item_id")), error.code, str(error))

    def _check_first(self, row: FeedRow) -> None:
        item_id = row.values.get("item_id")
        first = self._lines.setdefault(item_id, row.line) if isinstance(item_id, str) else row.line
        if first != row.line:
            raise ItemRefusedError(
                "duplicate-id", f"item_id {json.dumps(item_id)[:80]} stands on line {first} already: keep one of them"
            )

    def _picture(self, name: str) -> FeedPicture:
        found = self._pictures.get(name)
        if found is None:
            found = self._pictures[name] = self._look(name)
        if isinstance(found, ItemRefusedError):
            raise found
        return found

    def _look(self, name: str) -> FeedPicture | ItemRefusedError:
        try:
            return check_picture(self._folder, name, is_known=self._is_known)
        except ItemRefusedError as error:
            return error
