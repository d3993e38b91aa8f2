"""Damaged, truncated, swapped and newer index files: each gets our error, and hnswlib never sees a byte."""

from __future__ import annotations

import shutil
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlens.errors import IncompatibleError, StoreCorruptError, StoreError, StoreVersionError
from handlens.index import ExactIndex, HnswIndex, available

SPACE, DIM, COUNT = "test-space", 4, 5
needs_hnsw = pytest.mark.skipif(available() is None, reason="hnswlib is not installed: pip install 'handlens[hnsw]'")
every_class = pytest.mark.parametrize("cls", [ExactIndex, pytest.param(HnswIndex, marks=needs_hnsw)])


def save(cls, folder, *, count=COUNT, seed=0):
    index = cls(space=SPACE, dim=DIM)
    index.upsert(np.arange(count), np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32))
    index.save(folder / "index")
    return folder / "index"


def files_of(path):
    return sorted(path.parent.glob("index*"))


def open_again(cls, path, sha256=None):
    return cls.open(path, space=SPACE, dim=DIM, sha256=sha256)


@pytest.fixture
def never_loads(monkeypatch):
    """Once called: hnswlib, were it asked to load anything, would fail the test."""

    def loaded(*_):
        raise AssertionError("a damaged file reached hnswlib")

    return lambda: monkeypatch.setattr("handlens.index.hnsw._load_graph", loaded)


@every_class
def test_every_truncation_of_every_file_is_refused(cls, tmp_path, never_loads):
    path = save(cls, tmp_path)
    never_loads()
    for file in files_of(path):
        whole = file.read_bytes()
        for length in range(len(whole)):
            file.write_bytes(whole[:length])
            with pytest.raises(StoreCorruptError, match="damaged"):
                open_again(cls, path)
        file.write_bytes(whole)


@every_class
def test_bytes_after_the_end_are_refused(cls, tmp_path, never_loads):
    path = save(cls, tmp_path)
    never_loads()
    for file in files_of(path):
        whole = file.read_bytes()
        file.write_bytes(whole + b"\0")
        with pytest.raises(StoreCorruptError):
            open_again(cls, path)
        file.write_bytes(whole)


@every_class
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_in_any_file_is_refused(cls, tmp_path_factory, data):
    path = save(cls, tmp_path_factory.mktemp("index"))
    file = data.draw(st.sampled_from(files_of(path)))
    damaged = bytearray(file.read_bytes())
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(damaged)
    with pytest.raises((StoreCorruptError, StoreVersionError)):
        open_again(cls, path)


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=400))
def test_any_other_bytes_are_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("index") / "index"
    for prefix in (b"", b"HLINDEX\n", b"HLINDEX\n" + struct.pack("<II", 1, 50)):
        path.write_bytes(prefix + content)
        with pytest.raises((StoreCorruptError, StoreVersionError)):
            open_again(ExactIndex, path)


def test_a_header_that_claims_terabytes_is_refused_before_anything_is_allocated(tmp_path):
    path = save(ExactIndex, tmp_path)
    forged = path.read_bytes().replace(b'"shape": [5, 4]', b'"shape": [10000000000, 4]')
    path.write_bytes(forged)
    with pytest.raises(StoreCorruptError):
        open_again(ExactIndex, path)
    header = _with_valid_hash(forged)
    path.write_bytes(header)
    with pytest.raises(StoreCorruptError):
        open_again(ExactIndex, path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"dtype": "<f4"', b'"dtype": "<f8"'),
        (b'"dtype": "<f4"', b'"dtype": "|O8"'),
        (b'"dtype": "<f4"', b'"dtype": "!!!"'),
        (b'"shape": [5, 4]', b'"shape": [5, -4]'),
        (b'"shape": [5, 4]', b'"shape": [4, 5]'),
        (b'"name": "rows"', b'"name": "cows"'),
        (b'"sections": [', b'"sectionz": ['),
        (b'{"kind"', b'["kind"'),
    ],
)
def test_a_header_whose_fields_make_no_sense_is_refused_though_its_hash_is_right(tmp_path, old, new):
    path = save(ExactIndex, tmp_path)
    whole = path.read_bytes()
    assert old in whole
    path.write_bytes(_with_valid_hash(whole.replace(old, new)))
    with pytest.raises(StoreCorruptError):
        open_again(ExactIndex, path)


def test_a_file_of_another_kind_of_machine_is_refused(tmp_path):
    path = save(ExactIndex, tmp_path)
    path.write_bytes(_with_valid_hash(path.read_bytes().replace(b'"little-64"', b'"big-32"')))
    with pytest.raises(IncompatibleError, match="build it again"):
        open_again(ExactIndex, path)


@every_class
def test_a_file_of_a_newer_format_is_refused_with_upgrade_as_the_remedy(cls, tmp_path, never_loads):
    path = save(cls, tmp_path)
    never_loads()
    whole = bytearray(path.read_bytes())
    whole[8:12] = struct.pack("<I", 2)
    path.write_bytes(whole)
    with pytest.raises(StoreVersionError, match="upgrade handlens"):
        open_again(cls, path)


@needs_hnsw
def test_the_graph_of_another_index_is_refused(tmp_path, never_loads):
    (tmp_path / "other").mkdir()
    path, other = save(HnswIndex, tmp_path), save(HnswIndex, tmp_path / "other", seed=1)
    never_loads()
    (graph,) = tmp_path.glob("*.graph")
    (other_graph,) = other.parent.glob("*.graph")
    shutil.copy(other_graph, graph)
    with pytest.raises(StoreCorruptError, match="does not match its hash"):
        open_again(HnswIndex, path)
    graph.unlink()
    with pytest.raises(StoreCorruptError, match="is missing"):
        open_again(HnswIndex, path)


@needs_hnsw
def test_a_graph_that_the_disk_took_only_in_part_is_not_saved(tmp_path, monkeypatch):
    path = save(HnswIndex, tmp_path)
    index = open_again(HnswIndex, path)

    class FullDisk:
        def __init__(self, graph):
            self._graph = graph

        def save_index(self, to):
            self._graph.save_index(to)
            with open(to, "r+b") as file:
                file.truncate(100)

        def __getattr__(self, name):
            return getattr(self._graph, name)

    index._graph = FullDisk(index._graph)
    with pytest.raises(StoreError, match="make room"):
        index.save(path)
    assert len(open_again(HnswIndex, path)) == COUNT
    assert len(files_of(path)) == 2


def test_without_hnswlib_the_error_names_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "hnswlib", None)
    with pytest.raises(StoreError, match=r"handlens\[hnsw-wheel\]"):
        HnswIndex(space=SPACE, dim=DIM)


def _with_valid_hash(content: bytes) -> bytes:
    """The file with its header's length and hash made right again, as a forger would."""
    import hashlib

    end = content.index(b'"graph": null}') + len(b'"graph": null}')
    text = content[16:end]
    head = content[:12] + struct.pack("<I", len(text)) + text
    return head + hashlib.sha256(head).digest() + content[end + 32 :]
