"""Reading a catalogue folder: ``items.jsonl``, one item a line, and the pictures that it names.

Rules: every line is read and checked, every fault is reported with its line, and a catalogue with a fault is refused
whole, so that nothing is half taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from handlens.errors import DecodeError, HandlensError
from handlens.wire.fields import load_object
from handlens.wire.item import Item

__all__ = ["Catalogue", "CatalogueError", "read_catalogue"]


class CatalogueError(HandlensError):
    """The catalogue cannot be used; `faults` names each line and what is wrong with it."""

    def __init__(self, folder: Path, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        shown = "; ".join(self.faults[:5])
        more = f"; and {len(self.faults) - 5} more" if len(self.faults) > 5 else ""
        super().__init__(f"catalogue {folder} is refused: {shown}{more}")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The items of a folder, in the order of their lines."""

    folder: Path
    items: tuple[Item, ...]

    def picture(self, item: Item) -> Path | None:
        """Where the picture of an item lies, or None when it has none."""
        return None if item.image is None else self.folder / item.image


def read_catalogue(folder: Path) -> Catalogue:
    """Read and check ``items.jsonl`` and the presence of every picture.

    Raises:
        CatalogueError: the file is missing or empty, or any line has a fault.
    """
    path = folder / "items.jsonl"
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise CatalogueError(folder, [f"{path} cannot be read ({error.strerror})"]) from error
    items: list[Item] = []
    faults = list(_take(folder, lines, items))
    if not items and not faults:
        faults = ["items.jsonl has no item"]
    if faults:
        raise CatalogueError(folder, faults)
    return Catalogue(folder, tuple(items))


def _take(folder: Path, lines: Iterable[bytes], items: list[Item]) -> Iterator[str]:
    """Append the good items of `lines` to `items` and yield the faults of the others."""
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            item = Item.from_dict(load_object(line, what="item"))
        except DecodeError as error:
            yield f"line {number}: {error}"
            continue
        fault = _fault(folder, item, seen)
        seen.setdefault(item.item_id, number)
        if fault is None:
            items.append(item)
        else:
            yield f"line {number}: {fault}"


def _fault(folder: Path, item: Item, seen: dict[str, int]) -> str | None:
    if item.item_id in seen:
        return f"item_id {item.item_id!r} stands on line {seen[item.item_id]} already"
    if item.link is not None and not item.link.startswith("https://"):
        return f"item {item.item_id!r} links to {item.link[:80]!r}: only https links are shown"
    if item.image is None:
        return None
    picture = (folder / item.image).resolve()
    if not picture.is_relative_to(folder.resolve()):
        return f"item {item.item_id!r} names a picture outside the catalogue: {item.image}"
    if not picture.is_file():
        return f"item {item.item_id!r} names a picture that is not there: {item.image}"
    return None
