"""One index of the full catalogue in the process, from its making on: vectors, and what stands behind their numbers."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy.orm import Session

from handlens.index import Index, add_codes, available
from handlens_server.checking import Track, untracked
from handlens_server.full_index import SPARE, Found
from handlens_server.index_changes import Change, catalogue_sequence, read_changes
from handlens_server.index_files import SavedIndex
from handlens_server.part_table import PartTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Build", "follow", "from_saved", "nearest_parts"]


@dataclass(slots=True)
class Build:
    """One index from its making on; `build` names it in all processes, `replaced` counts parts taken from it."""

    index: Index
    kind: str
    reason: str
    table: PartTable = field(default_factory=PartTable)
    build: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    sequence: int = 0
    replaced: int = 0
    is_verified: bool = False
    is_filled: bool = False  # whether a refresh has ended

    def apply(self, changes: Sequence[Change]) -> None:
        """Put the parts of changed items in, then take their former ones out: an item is never absent between."""
        codes = b"".join(part.code for change in changes for part in change.parts)
        fresh, former = self.table.put(changes)
        if len(fresh):
            add_codes(self.index, fresh, np.frombuffer(codes, np.int8).reshape(len(fresh), -1))
        self.index.delete(former)
        self.table.take(former)
        self.replaced += len(former)
        self.sequence = changes[-1].sequence


def from_saved(saved: SavedIndex) -> Build:
    """The build that was saved."""
    told = saved.manifest
    reason = str(available()) if told.kind == "hnsw" else "as it was saved"
    return Build(saved.index, told.kind, reason, saved.table, told.build, told.sequence, told.replaced)


def follow(build: Build, session: Session, space: str, track: Track = untracked) -> int:
    """Take over what changed since the build's number; how many items that were."""
    newest, count = catalogue_sequence(session), 0
    for batch in read_changes(session, space, after=build.sequence, track=track):
        build.apply(batch)
        count += len(batch)
    build.sequence = max(build.sequence, newest)
    return count


def nearest_parts(
    build: Build, vector: NDArray[np.float32], k: int, allowed: Collection[str] | None
) -> tuple[list[Found], bool]:
    """The answer of `build`, and whether no part of it was taken away meanwhile."""
    numbers = None if allowed is None else build.table.numbers(set(allowed))
    near = build.index.search(vector, k + SPARE, allowed=numbers)
    parts = [build.table.part(number) for number in near.ids.tolist()]
    pairs = zip(parts, near.distances.tolist(), near.ids.tolist(), strict=True)
    rows = sorted((distance, part[0], number, part[1]) for part, distance, number in pairs if part is not None)
    return [(item_id, box, distance) for distance, item_id, _, box in rows[:k]], None not in parts
