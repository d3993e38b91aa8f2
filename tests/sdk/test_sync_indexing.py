"""The index file and what came since: when a file is written, and that a search never misses a change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.packs import delta, state_header, upserts
from support.paths import MODELS

from handlens.geometry import WHOLE
from handlens.index import available
from handlens.options import Options
from handlens.store import Store
from handlens.sync.indexing import INDEX_SLOT, build_index, open_index
from handlens.sync.reports import no_progress
from handlens.vision.runtime import read_spec
from handlens.wire.item import Item
from handlens.wire.pack import ItemEmbedding, PackRow, encode_codes

pytestmark = pytest.mark.skipif(available() is None, reason="hnswlib is not installed: pip install 'handlens[hnsw]'")

SPEC = read_spec(MODELS / "embedder", "embedder")
COUNT = 400
CENTRES = np.random.default_rng(9).standard_normal((10, SPEC.dim))  # like pictures of ten kinds of things


def near(number, seed):
    """A vector around one of the centres, (1, dim) float32."""
    noise = np.random.default_rng(seed).standard_normal((1, SPEC.dim))
    return (CENTRES[number % len(CENTRES)] + 0.6 * noise).astype(np.float32)


QUERIES = [near(number, (number, 99))[0] for number in range(30)]


def row(number, *, version=0):
    item = Item(f"item-{number}", "photo", "tool", f"Thing {number}", locale="en")
    return PackRow(item, (ItemEmbedding(WHOLE, encode_codes(near(number, (number, version)))[0].tobytes()),))


class Device:
    """A store whose pack goes from state to state, and the index files beside it."""

    def __init__(self, folder):
        self.folder = folder
        self.rows = [row(number) for number in range(COUNT)]
        self.sequence = 1
        self.store = Store.open(folder, create=True)
        with self.store.write() as writer:
            writer.apply(self._spaced(state_header(self.rows)), upserts(self.rows))

    def change(self, rows):
        header, changes = delta(self.rows, rows, from_sequence=self.sequence, sequence=self.sequence + 1)
        with self.store.write() as writer:
            writer.apply(self._spaced(header), changes)
        self.rows, self.sequence = rows, self.sequence + 1

    def change_first(self, count, *, version):
        """New pictures for the first items: their vectors go, and as many others come."""
        self.change([*(row(number, version=version) for number in range(count)), *self.rows[count:]])

    def build(self, *, anew=False):
        return build_index(self.store, self.folder, self.options("hnsw"), SPEC, anew=anew, progress=no_progress)

    def open(self, kind="hnsw", **settings):
        return open_index(self.store, self.folder, self.options(kind), SPEC, **settings)

    def options(self, kind):
        return Options(data_dir=self.folder, index=kind)

    def file(self):
        return self.store.slot(INDEX_SLOT).file

    def _spaced(self, header):
        return replace(header, space=SPEC.space, dim=SPEC.dim)


@pytest.fixture
def device(tmp_path):
    made = Device(tmp_path)
    yield made
    made.store.close()


def assert_all_found(device, opened):
    exact = device.open("exact").index
    assert len(opened.index) == len(exact) == len(device.rows)
    for query in QUERIES:
        assert opened.index.search(query, 10).ids.tolist() == exact.search(query, 10).ids.tolist()


def test_a_small_change_is_searched_without_a_new_file(device):
    device.build()
    before = device.file()
    device.change_first(5, version=1)
    assert device.build() is None
    assert device.file() == before
    opened = device.open()
    assert str(opened).endswith("5 newer vectors beside it)")
    assert opened.kind == "hnsw"
    assert_all_found(device, opened)


def test_withdrawn_rows_are_not_found_by_the_old_file(device):
    device.build()
    device.change(device.rows[7:])
    assert device.build() is None
    assert_all_found(device, device.open())


def test_an_index_that_is_open_follows_small_changes(device):
    device.build()
    opened = device.open()
    for version in range(1, 4):
        device.change_first(3, version=version)
        opened = device.open(held=opened.index)
        assert_all_found(device, opened)


def test_changes_that_add_up_are_written_to_a_new_file(device):
    device.build()
    files = [device.file()]
    for version in range(1, 6):
        device.change_first(8 * version, version=version)
        device.build()
        files.append(device.file())
        assert device.open().kind == "hnsw"
        assert_all_found(device, device.open())
    assert 2 <= len(set(files)) < len(files)
    assert {path.name.partition(".")[0] for path in (device.folder / "index").iterdir()} == {
        files[-1].partition("/")[2].partition(".")[0]
    }


def test_the_old_index_answers_until_a_changed_file_is_there(device):
    device.build()
    held = device.open().index
    device.change_first(30, version=1)
    for opened in (device.open(), device.open(held=held)):
        assert opened.kind == "hnsw"
        assert "30 newer vectors" in opened.reason
        assert_all_found(device, opened)
    assert device.build() is not None
    opened = device.open(held=held)
    assert str(opened) == f"hnsw ({available()})"
    assert_all_found(device, opened)


def test_a_large_change_makes_exact_search_answer_until_the_file_is_there(device):
    device.build()
    held = device.open().index
    device.change_first(200, version=1)
    assert device.open(held=held).kind == "exact"
    assert device.build() is not None
    opened = device.open(held=held)
    assert str(opened) == f"hnsw ({available()})"
    assert_all_found(device, opened)


def test_what_was_just_built_is_searched_without_reading_it(device):
    built = device.build()
    assert device.open(held=built).index is built


def test_an_index_is_built_anew_when_asked(device):
    device.build()
    before = device.store.slot(INDEX_SLOT).sha256
    device.change_first(5, version=1)
    device.build(anew=True)
    assert device.store.slot(INDEX_SLOT).sha256 != before
    assert str(device.open()) == f"hnsw ({available()})"
