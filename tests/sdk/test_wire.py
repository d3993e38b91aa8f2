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
from handlens.wire.pack import ItemEmbedding, PackHeader, PackRow, decode_codes, encode_codes, read_pack, write_pack
from handlens.wire.release import Release

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
            ({"quality": float("nan")}, "finite"),
            ({"annotations": {"apple": "much"}}, "apple"),
            ({"annotations": ["apple"]}, "JSON object"),
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


GOLDEN_PACK = "7c4b678824679cf4960635b3034b53ff9a9ed2b9f02c7d8cdb63132427805b56"
HEADER = PackHeader("demo", 3, "2026-01-01T00:00:00Z", "e1", 4, items=2, vectors=1)
ROWS = (
    PackRow(Item.from_dict(APPLE)),
    PackRow(
        Item.from_dict({**APPLE, "item_id": "photo-apple", "kind": "photo", "image": "a.jpg"}),
        (ItemEmbedding(Box(0.0, 0.0, 0.5, 1.0), bytes([127, 0, 255, 1])),),
        b"webp",
    ),
)


class TestPack:
    def test_survives_the_file(self, tmp_path: Path) -> None:
        write_pack(tmp_path / "a.pack", HEADER, ROWS)
        header, rows = read_pack(tmp_path / "a.pack")
        assert header == HEADER
        assert tuple(rows) == ROWS

    def test_format_1_has_these_bytes(self, tmp_path: Path) -> None:
        write_pack(tmp_path / "a.pack", HEADER, ROWS)
        plain = gzip.decompress((tmp_path / "a.pack").read_bytes())
        assert plain.splitlines()[0] == (
            b'{"as_of":"2026-01-01T00:00:00Z","dim":4,"format":1,"items":2,"pack":"demo","sequence":3,"space":"e1",'
            b'"vectors":1}'
        )
        assert b'"embeddings":[{"box":[0.0,0.0,0.5,1.0],"code":"fwD/AQ=="}]' in plain
        assert hashlib.sha256(plain).hexdigest() == GOLDEN_PACK

    def test_is_the_same_bytes_each_time(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            write_pack(tmp_path / name, HEADER, ROWS)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    def test_cut_anywhere_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.pack"
        write_pack(path, HEADER, ROWS)
        whole = path.read_bytes()
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            with pytest.raises(DecodeError):
                tuple(read_pack(path)[1])

    @pytest.mark.parametrize(
        ("line", "cause"),
        [
            (b'{"item": 3}', "item"),
            (b"not json", "not valid JSON"),
            (json.dumps({"item": APPLE, "embeddings": [{"box": [0, 0, 1, 1], "code": "AA=="}]}).encode(), "4 bytes"),
            (json.dumps({"item": APPLE, "embeddings": [{"box": [1, 0, 0, 1], "code": "AAAAAA=="}]}).encode(), "box"),
            (json.dumps({"item": APPLE, "embeddings": [], "thumbnail": "%%"}).encode(), "base64"),
            (b'"' + b"x" * 4_000_001 + b'"', "line above"),
        ],
        ids=["item", "json", "code length", "box", "base64", "endless line"],
    )
    def test_refuses_a_bad_row_with_the_cause(self, tmp_path: Path, line: bytes, cause: str) -> None:
        path = tmp_path / "a.pack"
        path.write_bytes(gzip.compress(json.dumps(HEADER.to_dict()).encode() + b"\n" + line + b"\n"))
        with pytest.raises(DecodeError, match=cause):
            tuple(read_pack(path)[1])

    def test_refuses_another_count_than_promised(self, tmp_path: Path) -> None:
        write_pack(tmp_path / "a.pack", HEADER, ROWS[:1])
        with pytest.raises(DecodeError, match="promises 2"):
            tuple(read_pack(tmp_path / "a.pack")[1])


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.just(128)), elements=st.floats(-1, 1, width=32)))
def test_codes_keep_the_direction_of_a_vector(raw: np.ndarray) -> None:
    norms = np.linalg.norm(raw, axis=1, keepdims=True)
    vectors = raw[norms[:, 0] > 1e-3]
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    back = decode_codes(encode_codes(vectors.astype(np.float32)))
    assert back.dtype == np.float32
    assert np.all(np.abs(np.linalg.norm(back, axis=1) - 1) < 1e-5)
    assert np.all((back * vectors).sum(axis=1) > 0.999)


def release_json(**change: Any) -> dict[str, Any]:
    one = {"sha256": "a" * 64, "size": 1}
    return {
        "format": 1, "release": "r1", "as_of": "2026-01-01T00:00:00Z", "detector": "models/detector",
        "embedder": "models/embedder", "taxonomy": "taxonomy.json", "policy": "policy.json",
        "packs": {"demo": "packs/demo.pack"},
        "files": {"taxonomy.json": one, "policy.json": one, "packs/demo.pack": one, "models/detector/model.json": one},
        **change,
    }  # fmt: skip


class TestRelease:
    def test_survives_the_wire_and_lists_a_model_folder(self) -> None:
        release = Release.from_json(json.dumps(release_json()))
        assert release.to_dict() == release_json()
        assert list(release.files_in("models/detector")) == ["model.json"]

    @pytest.mark.parametrize("path", ["../up", "/etc/passwd", "a/../../b", "a//b", "", "a\\b", ".hidden", "a/.."])
    def test_refuses_a_path_that_leaves_the_folder(self, path: str) -> None:
        for change in ({"policy": path}, {"packs": {"demo": path}}, {"files": {path: {"sha256": "a" * 64, "size": 1}}}):
            with pytest.raises(DecodeError):
                Release.from_json(json.dumps(release_json(**change)))

    def test_refuses_a_pack_without_a_hash(self) -> None:
        with pytest.raises(DecodeError, match="other.pack"):
            Release.from_json(json.dumps(release_json(packs={"demo": "packs/other.pack"})))


def test_the_whole_picture_is_the_unit_box() -> None:
    assert WHOLE.to_list() == [0, 0, 1, 1]
