"""Packs made of rows, for tests: operations, headers, and the digest of a state."""

from __future__ import annotations

import json
from collections.abc import Iterable

from handlens.wire.pack import (
    PackChange,
    PackDelete,
    PackHeader,
    PackRow,
    PackUpsert,
    add_digests,
    encode_row,
    row_digest,
)

AS_OF = "2026-01-01T00:00:00Z"


def upserts(rows: Iterable[PackRow]) -> list[PackChange]:
    """The operations that bring `rows`."""
    return [PackUpsert(row, row_digest(encode_row(row)), json.dumps(row.item.to_dict())) for row in rows]


def state_header(rows: Iterable[PackRow], pack: str = "demo", **changes: object) -> PackHeader:
    """The header of a base whose state holds exactly `rows`; `changes` sets other fields."""
    held = list(rows)
    fields: dict[str, object] = {
        "kind": "base",
        "from_sequence": 0,
        "sequence": 1,
        "as_of": AS_OF,
        "space": "e1",
        "dim": 2,
        "items": len(held),
        "vectors": sum(len(row.embeddings) for row in held),
        "changes": len(held),
        "digest": add_digests(added=(row_digest(encode_row(row)) for row in held)),
    }
    return PackHeader(pack=pack, **{**fields, **changes})  # type: ignore[arg-type]


def delta(
    old: Iterable[PackRow], new: Iterable[PackRow], pack: str = "demo", **changes: object
) -> tuple[PackHeader, list[PackChange]]:
    """The delta from the state that holds `old` to the one that holds `new`."""
    before, after = {row.item.item_id: row for row in old}, {row.item.item_id: row for row in new}
    gone: list[PackChange] = [PackDelete(item_id) for item_id in before if item_id not in after]
    operations = gone + upserts(row for item_id, row in after.items() if before.get(item_id) != row)
    fields: dict[str, object] = {"kind": "delta", "from_sequence": 1, "sequence": 2, "changes": len(operations)}
    return state_header(after.values(), pack, **{**fields, **changes}), operations
