"""The demo catalogue may be shipped and is fit to search in: credits, labels, sizes, and queries it does not hold."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import struct
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from support.paths import CATALOG, QUERIES, ROOT

from handlens.wire.item import KINDS, OBJECT_TYPES, Item

Bits = npt.NDArray[np.bool_]

FREE_LICENCES = re.compile(
    r"Public domain|CC0 1\.0|CC BY(-SA)? \d\.\d( \(original CC BY(-SA)? \d\.\d\))?|GPL-2\.0-or-later"
)
NEAR_DUPLICATE = 0.35  # the same photo rescaled and saved again measures at most 0.32; two round apricots 0.40
MAX_DEMO_BYTES = 16_000_000


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def credit_rows(folder: Path) -> dict[str, list[str]]:
    """The cells of CREDITS.md behind the file name: author, licence, source, package."""
    lines = (folder / "CREDITS.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if ".jpg | " in line]
    return {row[0]: row[1:] for row in rows}


def difference_hash(picture: Image.Image, *, side: int = 16, noise: int = 3) -> Bits:
    """dHash (Krawetz): is the right neighbour brighter, is it darker, by more than noise? shape (2 * side * side,)."""
    small = np.asarray(picture.convert("L").resize((side + 1, side), Image.Resampling.BOX)).astype(np.int16)
    step = small[:, 1:] - small[:, :-1]
    return np.concatenate([(step > noise).ravel(), (step < -noise).ravel()])


def hash_distance(left: Bits, right: Bits) -> float:
    """Jaccard distance 0..1: flat white ground, which cut-out pictures share, does not count."""
    return 1.0 - float((left & right).sum()) / max(1, int((left | right).sum()))


def hashes(folder: Path) -> dict[str, Bits]:
    result = {}
    for path in sorted((folder / "images").iterdir()):
        with Image.open(path) as picture:
            result[path.name] = difference_hash(picture)
    return result


ITEMS = read_lines(CATALOG / "items.jsonl")
PHOTOS = [item for item in ITEMS if item["kind"] == "photo"]
WRITTEN = [item for item in ITEMS if item["kind"] != "photo"]
QUERY_LINES = read_lines(QUERIES / "queries.jsonl")


def names(lines: Sequence[dict[str, Any]]) -> list[str]:
    return sorted(line["image"].removeprefix("images/") for line in lines)


def test_it_holds_enough_photographs_written_items_and_queries() -> None:
    assert len(PHOTOS) >= 300
    assert len(WRITTEN) >= 200
    assert len(QUERY_LINES) >= 20


def test_every_item_is_one_the_sdk_reads() -> None:
    items = [Item.from_dict(line) for line in ITEMS]
    assert not [item.item_id for item in items if item.extra]


def test_item_ids_are_unique() -> None:
    assert len({item["item_id"] for item in ITEMS}) == len(ITEMS)


def test_every_item_has_a_title_a_text_and_a_tag() -> None:
    assert not [item["item_id"] for item in ITEMS if not (item["title"].strip() and item["text"].strip())]
    assert not [item["item_id"] for item in ITEMS if not item["annotations"]]


def test_no_two_items_share_a_text() -> None:
    assert len({item["text"] for item in ITEMS}) == len(ITEMS)


def test_tags_are_lower_case_and_their_weights_within_0_and_1() -> None:
    tags = {tag: weight for item in ITEMS for tag, weight in item["annotations"].items()}
    assert not [tag for tag in tags if tag != tag.strip().lower()]
    assert not [tag for tag, weight in tags.items() if not 0.0 < weight <= 1.0]


def test_every_kind_and_every_object_type_appears() -> None:
    assert {item["kind"] for item in ITEMS} == set(KINDS)
    assert {item["object_type"] for item in ITEMS} == set(OBJECT_TYPES)


def test_links_lead_to_the_example_domain_only() -> None:
    assert not [item["link"] for item in ITEMS if not item["link"].startswith("https://example.com/")]


def test_written_items_are_found_by_the_tags_of_photographs() -> None:
    photo_tags = {tag for item in PHOTOS for tag in item["annotations"]}
    alone = [item["item_id"] for item in WRITTEN if not photo_tags & set(item["annotations"])]
    assert len(alone) <= 0.03 * len(WRITTEN), alone


@pytest.mark.parametrize(
    ("folder", "lines", "longest_side"),
    [(CATALOG, PHOTOS, 384), (QUERIES, QUERY_LINES, 1024)],
    ids=["catalog", "queries"],
)
class TestPictures:
    def test_files_and_lines_match(self, folder: Path, lines: list[dict[str, Any]], longest_side: int) -> None:
        assert names(lines) == sorted(path.name for path in (folder / "images").iterdir())

    def test_file_names_are_plain(self, folder: Path, lines: list[dict[str, Any]], longest_side: int) -> None:
        assert not [name for name in names(lines) if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*\.jpg", name)]

    def test_every_picture_opens_is_small_and_carries_no_exif(
        self, folder: Path, lines: list[dict[str, Any]], longest_side: int
    ) -> None:
        for name in names(lines):
            with Image.open(folder / "images" / name) as picture:
                picture.load()
                assert picture.mode == "RGB", name
                assert max(picture.size) <= longest_side, name
                assert not picture.getexif(), name

    def test_every_picture_is_credited(self, folder: Path, lines: list[dict[str, Any]], longest_side: int) -> None:
        rows = credit_rows(folder)
        assert sorted(rows) == names(lines)
        for name, (author, licence, source, package) in rows.items():
            assert author, name
            assert FREE_LICENCES.fullmatch(licence), (name, licence)
            assert source.startswith("https://"), name
            assert package, name


def test_the_items_name_the_author_and_licence_of_the_credits() -> None:
    rows = credit_rows(CATALOG)
    for item in PHOTOS:
        author, licence, source, _ = rows[item["image"].removeprefix("images/")]
        assert item["attributes"] == {"author": author, "licence": licence, "source": source}


def test_the_queries_name_the_credit_and_licence_of_the_credits() -> None:
    rows = credit_rows(QUERIES)
    for line in QUERY_LINES:
        author, licence, source, _ = rows[line["image"].removeprefix("images/")]
        assert (line["credit"], line["licence"]) == (f"{author}, {source}", licence)


def test_queries_expect_types_of_the_taxonomy_and_tags_that_the_catalogue_holds() -> None:
    catalogue_tags = {tag for item in ITEMS for tag in item["annotations"]}
    for line in QUERY_LINES:
        assert set(line["expect_any_type"]) <= set(OBJECT_TYPES), line["image"]
        assert line["expect_type"] in line["expect_any_type"], line["image"]
        assert set(line["expect_tags"]) <= catalogue_tags, line["image"]
        assert line["objects"] >= 1, line["image"]


def test_several_queries_show_more_than_one_object() -> None:
    assert sum(line["objects"] > 1 for line in QUERY_LINES) >= 5


def test_no_query_is_a_near_duplicate_of_a_catalogue_picture() -> None:
    catalogue = hashes(CATALOG)
    close = [
        (query, name)
        for query, bits in hashes(QUERIES).items()
        for name, other in catalogue.items()
        if hash_distance(bits, other) < NEAR_DUPLICATE
    ]
    assert close == []


def test_the_near_duplicate_check_sees_a_rescaled_copy() -> None:
    for path in sorted((QUERIES / "images").iterdir()):
        with Image.open(path) as picture:
            copy = io.BytesIO()
            picture.resize((picture.width // 2, picture.height // 2)).save(copy, "JPEG", quality=60)
            distance = hash_distance(difference_hash(picture), difference_hash(Image.open(copy)))
        assert distance < NEAR_DUPLICATE, path.name


def test_the_demo_is_small() -> None:
    size = sum(path.stat().st_size for path in (ROOT / "demo").rglob("*") if path.is_file())
    assert size < MAX_DEMO_BYTES


# --- the tool that extracts the pictures again ------------------------------------------------------------------------

SOURCE = {
    "image": "catalog/images/a.jpg", "package": "p.deb", "member": "x.rcc!a.webp",
    "author": "Ada", "licence": "CC0 1.0", "source": "https://example.com/a",
}  # fmt: skip


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_demo_catalog", ROOT / "scripts" / "make_demo_catalog.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def qt_resources(*, version: int = 2, flags: int = 1) -> bytes:
    """A resource file that holds pets/cat.txt (of the given flags) and pets/dog.txt (stored plainly)."""
    texts = ("", "pets", "cat.txt", "dog.txt")
    name_block, name_at = b"", []
    for text in texts:
        name_at.append(len(name_block))
        name_block += struct.pack(">HI", len(text), 0) + text.encode("utf-16-be")
    packed = struct.pack(">I", 3) + zlib.compress(b"meo")
    blobs = struct.pack(">I", len(packed)) + packed, struct.pack(">I", 4) + b"woof"
    stamp = b"\0" * 8 if version >= 2 else b""
    tree = b"".join(
        [
            struct.pack(">IHII", name_at[0], 2, 1, 1) + stamp,
            struct.pack(">IHII", name_at[1], 2, 2, 2) + stamp,
            struct.pack(">IHHHI", name_at[2], flags, 0, 0, 0) + stamp,
            struct.pack(">IHHHI", name_at[3], 0, 0, 0, len(blobs[0])) + stamp,
        ]
    )
    start = 20
    offsets = start, start + len(tree) + len(name_block), start + len(tree)
    return struct.pack(">4sIIII", b"qres", version, *offsets) + tree + name_block + b"".join(blobs)


@pytest.mark.parametrize("version", [1, 2])
def test_the_tool_reads_stored_and_compressed_files_of_a_qt_resource_file(tool: ModuleType, version: int) -> None:
    rcc = tool.Rcc.parse(qt_resources(version=version))
    assert {path: rcc.read(node) for path, node in rcc.files()} == {"pets/cat.txt": b"meo", "pets/dog.txt": b"woof"}


def test_the_tool_refuses_a_compression_it_does_not_know(tool: ModuleType) -> None:
    rcc = tool.Rcc.parse(qt_resources(flags=4))
    with pytest.raises(tool.DemoError, match="zstd"):
        rcc.read(dict(rcc.files())["pets/cat.txt"])


@pytest.mark.parametrize("content", [b"", b"qres", b"nope" + b"\0" * 40], ids=["empty", "short", "other magic"])
def test_the_tool_refuses_what_is_no_qt_resource_file(tool: ModuleType, content: bytes) -> None:
    with pytest.raises(tool.DemoError):
        tool.Rcc.parse(content)


@pytest.mark.parametrize("missing", ["author", "licence", "source"])
def test_the_tool_refuses_a_picture_without_a_full_credit(tool: ModuleType, tmp_path: Path, missing: str) -> None:
    path = tmp_path / "sources.jsonl"
    path.write_text(json.dumps({**SOURCE, missing: " "}), encoding="utf-8")
    with pytest.raises(tool.DemoError, match=missing):
        tool.read_sources(path)


def test_the_tool_names_a_package_that_is_not_there(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sources.jsonl").write_text(json.dumps(SOURCE), encoding="utf-8")
    assert tool.main(["--packages", str(tmp_path), "--demo", str(tmp_path)]) == 1
    assert "p.deb is missing; download it" in capsys.readouterr().err


def test_cut_out_pictures_are_put_on_their_background_and_scaled_down(tool: ModuleType) -> None:
    content = io.BytesIO()
    Image.new("RGBA", (800, 400), (0, 0, 0, 0)).save(content, "PNG")
    picture = tool.render(content.getvalue(), max_side=384, background="white")
    assert (picture.mode, max(picture.size), picture.getpixel((10, 10))) == ("RGB", 384, (255, 255, 255))


def test_the_credits_are_those_of_the_source_list(tool: ModuleType) -> None:
    sources = tool.read_sources(ROOT / "demo" / "sources.jsonl")
    for folder in (CATALOG, QUERIES):
        assert tool.credits_table(sources, folder.name) == (folder / "CREDITS.md").read_text(encoding="utf-8")
