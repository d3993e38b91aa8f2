from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from handlens.errors import DecodeError
from handlens.geometry import WHOLE, Box
from handlens.wire.fields import load_object
from handlens.wire.item import Item
from handlens.wire.model import ModelSpec
from handlens.wire.pack import (
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
from handlens.wire.release import Channel, PackFile, Release, ReleaseFile, cheapest_path, rollout_bucket

APPLE = {
    "item_id": "recipe-apple-pie", "kind": "recipe", "object_type": "food", "title": "Apple pie",
    "annotations": {"apple": 1.0, "pie": 0.5}, "link": "https://example.com/pie", "quality": 0.8,
}  # fmt: skip


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"\xff\xfe", b"null", b"[" * 100_000])
def test_what_is_no_json_object_is_refused_by_name(text: bytes) -> None:
    with pytest.raises(DecodeError, match="the thing"):
        load_object(text, what="the thing")


class TestItem:
    def test_survives_the_wire(self) -> None:
        item = Item.from_dict(APPLE)
        assert Item.from_dict(item.to_dict()) == item
        assert item.to_dict()["annotations"] == {"apple": 1.0, "pie": 0.5}

    def test_keeps_fields_that_it_does_not_know(self) -> None:
        assert Item.from_dict({**APPLE, "colour": "red"}).to_dict()["colour"] == "red"

    @pytest.mark.parametrize(
        ("change", "cause"),
        [
            ({"kind": "song"}, "kind is 'song': expected one of article"),
            ({"object_type": "fruit"}, "object_type"),
            ({"title": "  "}, "title"),
            ({"item_id": 7}, "item_id"),
            ({"quality": 1.5}, "from 0 to 1"),
            ({"quality": float("nan")}, "from 0 to 1"),
            ({"annotations": {"apple": "much"}}, "apple"),
            ({"annotations": ["apple"]}, "object of tags"),
            ({"link": 3}, "link"),
        ],
    )
    def test_refuses_a_wrong_field_by_its_name(self, change: dict[str, Any], cause: str) -> None:
        with pytest.raises(DecodeError, match=cause):
            Item.from_dict({**APPLE, **change})

    @pytest.mark.parametrize("missing", ["item_id", "kind", "object_type", "title"])
    def test_refuses_a_missing_field_by_its_name(self, missing: str) -> None:
        with pytest.raises(DecodeError, match=f"lacks the field '{missing}'"):
            Item.from_dict({name: value for name, value in APPLE.items() if name != missing})


def detector_json(**change: Any) -> dict[str, Any]:
    return {
        "format": 1, "kind": "detector", "name": "net", "version": "1", "file": "model.tflite", "sha256": "0" * 64,
        "size": 10, "input": {"width": 320, "height": 320, "dtype": "uint8"}, "labels": ["cat", "dog"],
        "outputs": {"heatmap": {"position": 0, "shape": [1, 80, 80, 2]},
                    "distances": {"position": 1, "shape": [1, 80, 80, 4]}},
        "decode": {"method": "centernet"}, **change,
    }  # fmt: skip


class TestModelSpec:
    def test_reads_what_the_model_says(self) -> None:
        spec = ModelSpec.from_json(json.dumps(detector_json()))
        assert (spec.model_id, spec.labels, spec.input.mean, spec.input.std) == ("net 1", ("cat", "dog"), 0.0, 1.0)

    @pytest.mark.parametrize(
        ("change", "cause"),
        [
            ({"format": 2}, "upgrade handlens"),
            ({"kind": "oracle"}, "kind"),
            ({"labels": ["cat"]}, "2 labels, one a channel"),
            ({"labels": ["cat", "cat"]}, "all different"),
            ({"file": "../model.tflite"}, "no folder"),
            ({"sha256": "xyz"}, "64 lower-case"),
            ({"outputs": {}}, "heatmap"),
            ({"input": {"width": 320, "height": 320, "dtype": "uint8", "resize": "letterbox"}}, "stretch"),
        ],
    )
    def test_refuses_a_contradiction_with_its_field(self, change: dict[str, Any], cause: str) -> None:
        with pytest.raises(DecodeError, match=cause):
            ModelSpec.from_json(json.dumps(detector_json(**change)))


ROWS = (
    PackRow(Item.from_dict(APPLE)),
    PackRow(
        Item.from_dict({**APPLE, "item_id": "photo-apple", "kind": "photo", "image": "a.jpg"}),
        (ItemEmbedding(Box(0.0, 0.0, 0.5, 1.0), bytes([127, 0, 255, 1])),),
        b"webp",
    ),
)


LINES = [encode_row(row) for row in ROWS]
DIGEST = add_digests(added=map(row_digest, LINES))
HEADER = PackHeader("demo", "base", 0, 3, "2026-01-01T00:00:00Z", "e1", 4, items=2, vectors=1, changes=2, digest=DIGEST)
GOLDEN_LINE = (
    b'{"embeddings":[{"box":[0.0,0.0,0.5,1.0],"code":"fwD/AQ=="}],"item":{"annotations":{"apple":1.0,"pie":0.5},'
    b'"audience":"all","image":"a.jpg","item_id":"photo-apple","kind":"photo","link":"https://example.com/pie",'
    b'"object_type":"food","quality":0.8,"title":"Apple pie"},"thumbnail":"d2VicA=="}'
)
GOLDEN_PACK = "e7aba9aadfb31324f30d5cec147e6198c0dacbc5ba08acfc1cb93d235a16c5fb"


class TestPack:
    def test_survives_the_file(self, tmp_path: Path) -> None:
        write_pack(tmp_path / "a.pack", HEADER, LINES)
        header, changes = read_pack(tmp_path / "a.pack")
        assert header == HEADER
        found = tuple(changes)
        assert [change.row for change in found if isinstance(change, PackUpsert)] == list(ROWS)
        assert [change.digest for change in found if isinstance(change, PackUpsert)] == list(map(row_digest, LINES))

    def test_format_2_has_these_bytes(self, tmp_path: Path) -> None:
        write_pack(tmp_path / "a.pack", HEADER, [*LINES[:1], encode_delete("photo-apple")])
        plain = gzip.decompress((tmp_path / "a.pack").read_bytes())
        assert plain.splitlines()[0] == (
            b'{"as_of":"2026-01-01T00:00:00Z","changes":2,"digest":"' + DIGEST.encode() + b'","dim":4,"format":2,'
            b'"from_sequence":0,"items":2,"kind":"base","pack":"demo","sequence":3,"space":"e1","vectors":1}'
        )
        assert plain.splitlines()[2] == b'{"delete":"photo-apple"}'
        assert LINES[1] == GOLDEN_LINE
        assert hashlib.sha256(plain).hexdigest() == GOLDEN_PACK

    def test_a_delete_is_an_item_id(self, tmp_path: Path) -> None:
        write_pack(tmp_path / "a.pack", HEADER, [encode_delete("a"), encode_delete("b")])
        assert list(read_pack(tmp_path / "a.pack")[1]) == [PackDelete("a"), PackDelete("b")]

    def test_is_the_same_bytes_each_time(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            write_pack(tmp_path / name, HEADER, LINES)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    def test_cut_anywhere_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.pack"
        write_pack(path, HEADER, LINES)
        whole = path.read_bytes()
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            with pytest.raises(DecodeError):
                tuple(read_pack(path)[1])

    @pytest.mark.parametrize(
        ("line", "cause"),
        [
            (b'{"item": 3}', "item"),
            (b'{"delete": 3}', "delete"),
            (b"not json", "not valid JSON"),
            (json.dumps({"item": APPLE, "embeddings": 1}).encode(), "embeddings is 1: expected a list"),
            (json.dumps({"item": APPLE, "embeddings": [{"box": [0, 0, 1, 1], "code": "AA=="}]}).encode(), "4 bytes"),
            (json.dumps({"item": APPLE, "embeddings": [{"box": [1, 0, 0, 1], "code": "AAAAAA=="}]}).encode(), "box"),
            (json.dumps({"item": APPLE, "embeddings": [], "thumbnail": "%%"}).encode(), "base64"),
            (b'"' + b"x" * 4_000_001 + b'"', "line above"),
        ],
        ids=["item", "delete", "json", "embeddings", "code length", "box", "base64", "endless line"],
    )
    def test_refuses_a_bad_row_with_the_cause(self, tmp_path: Path, line: bytes, cause: str) -> None:
        path = tmp_path / "a.pack"
        path.write_bytes(gzip.compress(json.dumps(HEADER.to_dict()).encode() + b"\n" + line + b"\n"))
        with pytest.raises(DecodeError, match=cause):
            tuple(read_pack(path)[1])

    @pytest.mark.parametrize("count", [0, 1, 3, 4])
    def test_refuses_another_count_than_promised(self, tmp_path: Path, count: int) -> None:
        write_pack(tmp_path / "a.pack", HEADER, [encode_delete(f"item-{at}") for at in range(count)])
        with pytest.raises(DecodeError, match="has not the 2 changes"):
            tuple(read_pack(tmp_path / "a.pack")[1])

    @pytest.mark.parametrize(
        ("change", "cause"),
        [
            ({"format": 1}, "upgrade handlens"),
            ({"kind": "patch"}, "base, delta"),
            ({"from_sequence": 2}, "0 for a base"),
            ({"kind": "delta"}, "below the sequence for a delta"),
            ({"kind": "delta", "from_sequence": 3}, "below the sequence"),
            ({"digest": "xyz"}, "64 lower-case"),
        ],
    )
    def test_refuses_a_header_that_contradicts_itself(self, change: dict[str, Any], cause: str) -> None:
        with pytest.raises(DecodeError, match=cause):
            PackHeader.from_dict({**HEADER.to_dict(), **change})


class TestStateDigest:
    @given(st.lists(st.binary(min_size=1, max_size=8), unique=True, max_size=8), st.randoms())
    def test_does_not_depend_on_the_order(self, rows: list[bytes], random: Any) -> None:
        digests = [row_digest(row) for row in rows]
        shuffled = list(digests)
        random.shuffle(shuffled)
        assert add_digests(added=digests) == add_digests(added=shuffled)

    @given(
        st.sets(st.binary(min_size=1, max_size=8), max_size=8), st.sets(st.binary(min_size=1, max_size=8), max_size=8)
    )
    def test_a_change_leads_where_a_fresh_count_does(self, old: set[bytes], new: set[bytes]) -> None:
        before = add_digests(added=map(row_digest, old))
        changed = add_digests(before, added=map(row_digest, new - old), removed=map(row_digest, old - new))
        assert changed == add_digests(added=map(row_digest, new))
        assert (changed == before) == (old == new)


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.just(128)), elements=st.floats(-1, 1, width=32)))
def test_codes_keep_the_direction_of_a_vector(raw: np.ndarray) -> None:
    norms = np.linalg.norm(raw, axis=1, keepdims=True)
    vectors = raw[norms[:, 0] > 1e-3]
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    back = decode_codes(encode_codes(vectors.astype(np.float32)))
    assert back.dtype == np.float32
    assert np.all(np.abs(np.linalg.norm(back, axis=1) - 1) < 1e-5)
    assert np.all((back * vectors).sum(axis=1) > 0.999)


def a_file(path: str) -> dict[str, Any]:
    return {"path": path, "sha256": "a" * 64, "size": 1}


def release_json(**change: Any) -> dict[str, Any]:
    model = {
        "model_id": "net 1",
        "files": {name: a_file(f"models/net/{name}") for name in ("model.json", "model.tflite")},
    }
    pack = {
        "sequence": 2, "items": 1, "vectors": 1, "digest": "b" * 64,
        "files": [{"from_sequence": 0, "sequence": 2, **a_file("packs/demo/base-2.pack")}],
    }  # fmt: skip
    return {
        "format": 2, "release": "r1", "serial": 1, "as_of": "2026-01-01T00:00:00Z", "min_sdk": "0.1.0", "space": "e1",
        "dim": 4, "detector": model, "embedder": model, "taxonomy": a_file("taxonomies/t.json"),
        "policy": a_file("policies/p.json"), "packs": {"demo": pack}, **change,
    }  # fmt: skip


def channel_json(*percents: float) -> dict[str, Any]:
    entries = [
        {"release": f"r{9 - at}", "serial": 9 - at, "percent": percent, **a_file(f"releases/r{9 - at}.json")}
        for at, percent in enumerate(percents)
    ]
    return {"format": 2, "channel": "stable", "releases": entries}


class TestRelease:
    def test_survives_the_wire(self) -> None:
        release = Release.from_json(json.dumps(release_json()))
        assert release.to_dict() == release_json()

    def test_the_folder_of_a_model_is_named_by_its_files(self) -> None:
        first, other = release_json(), release_json()
        other["detector"]["files"]["model.json"]["sha256"] = "c" * 64
        names = {Release.from_json(json.dumps(one)).detector.folder for one in (first, first, other)}
        assert len(names) == 2

    @pytest.mark.parametrize("path", ["../up", "/etc/passwd", "a/../../b", "a//b", "", "a\\b", ".hidden", "a/.."])
    def test_refuses_a_path_that_leaves_the_folder(self, path: str) -> None:
        wrong = a_file(path)
        pack = release_json()["packs"]["demo"]
        model = release_json()["detector"]
        changes: list[dict[str, Any]] = [
            {"policy": wrong},
            {"packs": {"demo": {**pack, "files": [{"from_sequence": 0, "sequence": 2, **wrong}]}}},
            {"detector": {**model, "files": {**model["files"], path: a_file("models/net/x")}}},
            {"packs": {path: pack}},
        ]
        for change in changes:
            with pytest.raises(DecodeError):
                Release.from_json(json.dumps(release_json(**change)))

    @pytest.mark.parametrize(
        ("change", "cause"),
        [
            ({"format": 3}, "upgrade handlens"),
            ({"serial": 0}, "serial"),
            ({"detector": {"model_id": "x", "files": {}}}, "model.json"),
            ({"taxonomy": {"path": "t.json", "sha256": "A" * 64, "size": 1}}, "sha256"),
            ({"taxonomy": {"path": "t.json", "sha256": "a" * 64, "size": -1}}, "size"),
        ],
    )
    def test_refuses_a_wrong_field_by_its_name(self, change: dict[str, Any], cause: str) -> None:
        with pytest.raises(DecodeError, match=cause):
            Release.from_json(json.dumps(release_json(**change)))


class TestChannel:
    def test_survives_the_wire(self) -> None:
        assert Channel.from_json(json.dumps(channel_json(10, 100))).to_dict() == channel_json(10, 100)

    @pytest.mark.parametrize("percents", [(), (50,), (100, 50), (101,), (-1, 100)])
    def test_refuses_a_channel_that_leaves_devices_out(self, percents: tuple[float, ...]) -> None:
        with pytest.raises(DecodeError):
            Channel.from_json(json.dumps(channel_json(*percents)))

    def test_a_release_reaches_its_share_of_the_devices_and_keeps_them_when_it_widens(self) -> None:
        devices = [f"device-{at}" for at in range(2000)]
        reached = []
        for percent in (10, 40, 100):
            channel = Channel.from_json(json.dumps(channel_json(percent, 100)))
            reached.append({device for device in devices if channel.choose(device).release == "r9"})
        assert reached[0] < reached[1] < reached[2] == set(devices)
        assert len(reached[0]) == pytest.approx(200, abs=50)
        assert len(reached[1]) == pytest.approx(800, abs=80)

    def test_other_devices_are_first_with_the_next_release(self) -> None:
        first = {f"d{at}" for at in range(1000) if rollout_bucket("r1", f"d{at}") < 10}
        second = {f"d{at}" for at in range(1000) if rollout_bucket("r2", f"d{at}") < 10}
        assert len(first & second) < 30


def pack_file(start: int, end: int, size: int) -> PackFile:
    return PackFile(start, end, ReleaseFile(f"packs/p/{start}-{end}", "a" * 64, size))


class TestCheapestPath:
    FILES = (pack_file(0, 4, 1000), pack_file(1, 2, 30), pack_file(2, 3, 30), pack_file(3, 5, 30), pack_file(1, 5, 80),
             pack_file(4, 5, 10))  # fmt: skip

    @pytest.mark.parametrize(
        ("held", "steps"),
        [(5, []), (4, [(4, 5)]), (3, [(3, 5)]), (1, [(1, 5)]), (2, [(2, 3), (3, 5)]), (None, [(0, 4), (4, 5)]),
         (9, [(0, 4), (4, 5)])],
    )  # fmt: skip
    def test_takes_the_fewest_bytes(self, held: int | None, steps: list[tuple[int, int]]) -> None:
        path = cheapest_path(self.FILES, held, 5)
        assert path is not None
        assert [(file.from_sequence, file.sequence) for file in path] == steps

    def test_a_base_is_taken_when_it_is_smaller_than_the_deltas(self) -> None:
        path = cheapest_path((pack_file(1, 2, 500), pack_file(0, 2, 300)), 1, 2)
        assert path is not None
        assert [file.from_sequence for file in path] == [0]

    def test_there_may_be_no_path(self) -> None:
        assert cheapest_path((pack_file(1, 2, 500),), None, 2) is None
        assert cheapest_path((), 3, 4) is None


def test_the_whole_picture_is_the_unit_box() -> None:
    assert WHOLE.to_list() == [0, 0, 1, 1]
