"""The bytes of pack format 2: what the code writes, the committed files and docs/formats.md say the same.

The files in tests/data were written by the first version of this format and are never written again: devices and
repositories hold such files for years.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from support.paths import ROOT

from handlens.geometry import WHOLE, Box
from handlens.wire.item import Item
from handlens.wire.pack import (
    NO_ROWS,
    ItemEmbedding,
    PackDelete,
    PackHeader,
    PackRow,
    PackUpsert,
    add_digests,
    decode_codes,
    encode_codes,
    encode_delete,
    encode_row,
    read_pack,
    row_digest,
    write_pack,
)

DATA = ROOT / "tests" / "data"
FORMATS = (ROOT / "docs" / "formats.md").read_text("utf-8")
VECTORS = np.array([[0.5, -0.5, 0.5, 0.5], [0.8, 0.0, -0.6, 0.0]], dtype=np.float32)


def row(item_id: str, title: str, *, parts: tuple[ItemEmbedding, ...] = (), thumbnail: bytes = b"") -> PackRow:
    item = Item(item_id, "photo", "food", title, annotations={"apple": 1.0}, quality=0.8, extra={"season": "autumn"})
    return PackRow(item, parts, thumbnail)


CODES = [code.tobytes() for code in encode_codes(VECTORS)]
PIE = PackRow(Item("pie-1", "recipe", "food", "Tarte à la crème", link="https://example.com/pie"))
APPLE = row(
    "apple-1",
    "Apple",
    parts=(ItemEmbedding(WHOLE, CODES[0]), ItemEmbedding(Box(0.25, 0.1, 0.75, 1.0), CODES[1])),
    thumbnail=b"RIFF",
)
RIPE = row("apple-1", "Ripe apple", parts=(ItemEmbedding(WHOLE, CODES[1]),))
BASE_LINES = [encode_row(one) for one in (APPLE, PIE)]
DELTA_LINES = [encode_delete("pie-1"), encode_row(RIPE)]
BASE_DIGEST = add_digests(added=map(row_digest, BASE_LINES))
DELTA_DIGEST = add_digests(added=[row_digest(encode_row(RIPE))])
BASE = PackHeader("demo", "base", 0, 7, "2026-01-01T00:00:00Z", "e1", 4, 2, 2, 2, BASE_DIGEST)
DELTA = PackHeader("demo", "delta", 7, 9, "2026-01-02T00:00:00Z", "e1", 4, 1, 1, 2, DELTA_DIGEST)
FILES = {"base-7.pack": (BASE, BASE_LINES), "delta-7-9.pack": (DELTA, DELTA_LINES)}


@pytest.mark.parametrize("name", FILES)
def test_what_is_written_unpacks_to_the_text_in_the_committed_file(name: str, tmp_path: Path) -> None:
    write_pack(tmp_path / name, *FILES[name])
    written, committed = ((folder / name).read_bytes() for folder in (tmp_path, DATA))
    assert gzip.decompress(written) == gzip.decompress(committed)
    assert written[:10] == committed[:10] == bytes.fromhex("1f8b08000000000002ff")  # no name, no time


@pytest.mark.parametrize("name", FILES)
def test_the_document_shows_the_text_of_the_committed_file(name: str) -> None:
    block = re.search(rf"`{re.escape(name)}`[^`]*```ndjson\n(.*?)```", FORMATS, re.DOTALL)
    assert block is not None
    assert block[1].encode() == gzip.decompress((DATA / name).read_bytes())


def test_the_document_names_the_digests_of_the_rows_and_of_both_states() -> None:
    for line in (*BASE_LINES, DELTA_LINES[1]):
        assert row_digest(line).hex() in FORMATS
        assert hashlib.sha256(line).digest() == row_digest(line)
    assert f"{sum(int.from_bytes(row_digest(line), 'big') for line in BASE_LINES) % 2**256:064x}" == BASE_DIGEST
    assert BASE_DIGEST in FORMATS
    assert DELTA_DIGEST in FORMATS


def test_the_committed_files_read_as_the_rows_and_lead_from_state_to_state() -> None:
    header, found = read_pack(DATA / "base-7.pack")
    changes = tuple(found)
    assert header == BASE
    assert [one.row for one in changes if isinstance(one, PackUpsert)] == [APPLE, PIE]
    digests = {one.row.item.item_id: one.digest for one in changes if isinstance(one, PackUpsert)}
    state = add_digests(NO_ROWS, added=digests.values())
    assert state == header.digest
    header, found = read_pack(DATA / "delta-7-9.pack")
    gone, changed = found
    assert header == DELTA
    assert gone == PackDelete("pie-1")
    assert isinstance(changed, PackUpsert)
    assert changed.row == RIPE
    assert add_digests(state, added=[changed.digest], removed=digests.values()) == header.digest


def test_the_document_s_codes_are_those_of_its_vectors() -> None:
    assert [list(np.frombuffer(code, dtype=np.int8)) for code in CODES] == [[127, -127, 127, 127], [127, 0, -95, 0]]
    assert "[127, 0, -95, 0]" in FORMATS
    back = decode_codes(np.array([np.frombuffer(CODES[1], dtype=np.int8)]))
    assert back[0] == pytest.approx([0.8008, 0.0, -0.5990, 0.0], abs=1e-4)
