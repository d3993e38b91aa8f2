"""What stands behind each number of an index: the item and the box of a part of its picture.

Rules:

1. A number is given once. The parts of one change of an item have numbers in a row.
2. One thread changes the table, any may read it. A number that is read in the middle of a change is its former part or
   none, never another item's; `version` tells a reader that there was a change.
3. All of it is arrays, so that a million parts open in a fraction of a second and take some 50 bytes each; an item
   takes a Python string and an entry of a dictionary besides.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlens.geometry import Box
from handlens_server.index_changes import Change

__all__ = ["PartTable"]

_GONE = -1  # the owner of a number whose part was taken away


class PartTable:
    """Parts by number, and the numbers of an item. `items` and `parts` say how many are held."""

    def __init__(self) -> None:
        self.items = 0
        self.parts = 0
        self.version = 0
        self._spans = threading.Lock()  # held while first numbers and counts do not fit together
        self._next = 0
        self._owners: NDArray[np.int32] = np.empty(0, np.int32)  # by number: the place of its item, or _GONE
        self._boxes: NDArray[np.float64] = np.empty((0, 4), np.float64)  # by number
        self._ids: list[str] = []  # by place
        self._places: dict[str, int] = {}
        self._firsts: NDArray[np.int64] = np.empty(0, np.int64)  # by place: the first number of the item's parts
        self._counts: NDArray[np.int32] = np.empty(0, np.int32)  # by place: how many it has
        self._sequences: NDArray[np.int64] = np.empty(0, np.int64)  # by place: of the change that was taken over last

    def part(self, number: int) -> tuple[str, Box] | None:
        """The item id and box of a number, or None when its part was taken away."""
        owner = int(self._owners[number])
        return None if owner == _GONE else (self._ids[owner], Box(*self._boxes[number].tolist()))

    def numbers(self, item_ids: Collection[str]) -> NDArray[np.int64]:
        """The numbers of the parts of those `item_ids` that are held, ascending."""
        with self._spans:
            places = np.array([self._places[one] for one in item_ids if one in self._places], np.int64)
            firsts, counts = self._firsts[places], self._counts[places].astype(np.int64)
        ends = np.cumsum(counts)
        return np.sort(np.arange(ends[-1] if len(ends) else 0) + np.repeat(firsts - ends + counts, counts))

    def put(self, changes: Sequence[Change]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give the parts of `changes` numbers: those, in their order, and the numbers that the items had before.

        The former numbers are still readable: `take` them when the index has the new ones.
        """
        boxes = [_edges(part.box) for change in changes for part in change.parts]
        fresh = np.arange(self._next, self._next + len(boxes))
        counts = np.array([len(change.parts) for change in changes], np.int32)
        former = self.numbers([change.item_id for change in changes])
        with self._spans:
            places = np.array([self._place(change.item_id) for change in changes], np.int64)
            self._grow(len(fresh))
            self._owners[fresh] = np.repeat(places, counts)
            self._boxes[fresh] = np.array(boxes, np.float64).reshape(-1, 4)
            had = self._counts[places] > 0
            self._firsts[places] = self._next + np.cumsum(counts) - counts
            self._counts[places] = counts
            self._sequences[places] = [change.sequence for change in changes]
            self._next += len(fresh)
        self.items += int((counts > 0).sum() - had.sum())
        self.parts += len(fresh)
        self.version += 1
        return fresh, former

    def take(self, numbers: NDArray[np.int64]) -> None:
        """Forget the parts of these numbers."""
        self._owners[numbers] = _GONE
        self.version += 1
        self.parts -= len(numbers)

    def sequences(self) -> dict[str, int]:
        """The items that are held, each with the number of the catalogue at which it was taken over."""
        held = np.flatnonzero(self._counts[: len(self._ids)])
        return {self._ids[place]: int(self._sequences[place]) for place in held.tolist()}

    def to_bytes(self) -> bytes:
        """The table as the bytes of a file."""
        count, numbers = len(self._ids), self._next
        file = io.BytesIO()
        np.savez(
            file,
            owners=self._owners[:numbers],
            boxes=self._boxes[:numbers],
            firsts=self._firsts[:count],
            counts=self._counts[:count],
            sequences=self._sequences[:count],
            ids=np.frombuffer(json.dumps(self._ids).encode(), np.uint8),
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> PartTable:
        """The table that `to_bytes` gave; the caller has checked that they are those bytes."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            table = cls()
            table._owners, table._boxes = arrays["owners"], arrays["boxes"]
            table._firsts, table._counts = arrays["firsts"], arrays["counts"]
            table._sequences = arrays["sequences"]
            table._ids = json.loads(arrays["ids"].tobytes())
        table._places = {item_id: place for place, item_id in enumerate(table._ids)}
        table._next = len(table._owners)
        table.items = int(np.count_nonzero(table._counts))
        table.parts = int(table._counts.sum())
        return table

    def _place(self, item_id: str) -> int:
        place = self._places.get(item_id)
        if place is None:
            place = self._places[item_id] = len(self._ids)
            self._ids.append(item_id)
            self._firsts, self._counts, self._sequences = (
                _with_room(array, place + 1) for array in (self._firsts, self._counts, self._sequences)
            )
        return place

    def _grow(self, more: int) -> None:
        self._boxes = _with_room(self._boxes, self._next + more)
        self._owners = _with_room(self._owners, self._next + more)


def _edges(box: Box) -> tuple[float, float, float, float]:
    return box.x_min, box.y_min, box.x_max, box.y_max  # `to_list` rounds


def _with_room(array: NDArray[Any], needed: int) -> NDArray[Any]:
    """The array, or a copy at least half as long again; what is new is zero."""
    if needed <= len(array):
        return array
    grown = np.zeros((max(needed, len(array) * 3 // 2 + 64), *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
