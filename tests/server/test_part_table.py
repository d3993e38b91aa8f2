"""The table behind an index gives each number its own item and box, whatever came and went, and survives a file."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from handlens.geometry import Box
from handlens.wire.pack import ItemEmbedding
from handlens_server.index_changes import Change
from handlens_server.part_table import PartTable

BOXES = [Box(0, 0, 1, 1), Box(0.1, 0.2, 0.30000000000000004, 0.7), Box(0.25, 0.25, 0.75, 1)]
batches = st.lists(
    st.dictionaries(st.sampled_from(["a", "b", "c", "d#0", "ä"]), st.integers(0, 3), min_size=1, max_size=4),
    max_size=12,
)


def change(item_id: str, sequence: int, parts: int) -> Change:
    return Change(item_id, sequence, tuple(ItemEmbedding(BOXES[at], b"") for at in range(parts)))


@given(batches, st.booleans())
def test_it_holds_what_was_put_last_and_gives_no_number_twice(made: list[dict[str, int]], by_file: bool) -> None:
    table, expected, seen = PartTable(), {}, set()
    for sequence, batch in enumerate(made, start=1):
        fresh, former = table.put([change(item_id, sequence, parts) for item_id, parts in batch.items()])
        assert not seen & set(fresh.tolist())
        seen |= set(fresh.tolist())
        assert all(table.part(number) is not None for number in former.tolist())
        table.take(former)
        assert all(table.part(number) is None for number in former.tolist())
        expected |= {item_id: (sequence, parts) for item_id, parts in batch.items()}
        if by_file:
            table = PartTable.from_bytes(table.to_bytes())
    held = {item_id: (sequence, parts) for item_id, (sequence, parts) in expected.items() if parts}
    assert table.sequences() == {item_id: sequence for item_id, (sequence, _) in held.items()}
    assert (table.items, table.parts) == (len(held), sum(parts for _, parts in held.values()))
    for item_id, (_, parts) in held.items():
        numbers = table.numbers([item_id])
        assert [table.part(number) for number in numbers.tolist()] == [(item_id, box) for box in BOXES[:parts]]
    assert table.numbers([*held, "unknown"]).tolist() == sorted(
        np.concatenate([table.numbers([item_id]) for item_id in held] or [[]]).tolist()
    )
