"""A partner's rows: what is read, and what is refused under which name. Nothing is written here."""

from __future__ import annotations

import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.catalogue import an_item
from support.paths import ROOT

from handlens.wire.item import Item
from handlens_server.checking import CheckedFeed, check_feed
from handlens_server.feeds import FeedError, open_feed
from handlens_server.item_rules import CODES, ItemRefusedError, item_record, read_item
from handlens_server.mapping import MappingError, read_mapping

DOCUMENT = (ROOT / "docs" / "catalogue.md").read_text("utf-8")


def checked(folder: Path, *lines: bytes | str | dict[str, Any]) -> CheckedFeed:
    """The feed of these lines."""
    raw = [json.dumps(line) if isinstance(line, dict) else line for line in lines]
    text = b"\n".join(line.encode() if isinstance(line, str) else line for line in raw)
    (folder / "items.jsonl").write_bytes(text + b"\n")
    return check_feed(open_feed(folder))


def codes(found: CheckedFeed) -> list[tuple[int, str]]:
    return [(one.line, one.code) for one in found.refused]


REFUSED = [
    ("bad-id", an_item(item_id=None)),
    ("bad-id", an_item(item_id=7)),
    ("bad-id", an_item(item_id="")),
    ("bad-id", an_item(item_id=" lamp ")),
    ("bad-id", an_item(item_id="lamp\x00")),
    ("bad-id", an_item(item_id="lamp\udc80")),
    ("bad-id", an_item(item_id="x" * 201)),
    ("unknown-kind", an_item(kind="advert")),
    ("unknown-type", an_item(object_type="spaceship")),
    ("bad-field", an_item(kind=None)),
    ("bad-field", an_item(kind=["product"])),
    ("bad-field", an_item(title="  ")),
    ("bad-field", an_item(quality=2)),
    ("bad-field", an_item(quality=float("nan"))),
    ("bad-field", an_item(annotations=["lamp"])),
    ("bad-field", an_item(annotations={"lamp": "much"})),
    ("bad-field", an_item(attributes={"weight": float("inf")})),
    ("bad-field", an_item(attributes="red")),
    ("bad-text", an_item(title="La\x00mp")),
    ("bad-text", an_item(title="two\nlines")),
    ("bad-text", an_item(text="half \ud800 a pair")),
    ("bad-text", an_item(attributes={"colour": "\udfff"})),
    ("too-large", an_item(title="x" * 501)),
    ("too-large", an_item(text="x" * 10_001)),
    ("too-large", an_item(attributes={"story": "x" * 65_000})),
    ("too-large", an_item(locale="x" * 41)),
    ("too-many-tags", an_item(annotations={f"tag {at}": 0.5 for at in range(201)})),
    ("bad-tag", an_item(annotations={"x" * 81: 1.0})),
    ("bad-tag", an_item(annotations={"": 1.0})),
    ("bad-tag", an_item(annotations={"Lamp": 1.0})),
    ("bad-link", an_item(link="javascript:alert(1)")),
    ("bad-link", an_item(link="http://example.com/lamp")),
    ("bad-link", an_item(link="https:///lamp")),
    ("bad-link", an_item(link="https://[::1/lamp")),
    ("bad-link", an_item(link="https://exa mple.com/")),
    ("bad-link", an_item(link="//example.com/lamp")),
    ("bad-link", an_item(link="data:text/html,<script>")),
    ("bad-date", an_item(created_at="yesterday")),
    ("picture-missing", an_item(image="lamp.jpg")),
    ("picture-missing", an_item(image="x" * 400)),
    ("picture-missing", an_item(image=".")),
    ("picture-outside", an_item(image="../outside.png")),
    ("picture-outside", an_item(image="/etc/hostname")),
    ("picture-outside", an_item(image="https://example.com/lamp.jpg")),
]


@pytest.mark.parametrize(("code", "values"), REFUSED, ids=[f"{at}-{code}" for at, (code, _) in enumerate(REFUSED)])
def test_a_row_is_refused_by_name_and_the_rows_around_it_are_read(
    tmp_path: Path, code: str, values: dict[str, Any]
) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "outside.png")
    feed = tmp_path / "feed"
    feed.mkdir()
    found = checked(feed, an_item(item_id="before"), values, an_item(item_id="after"))
    assert codes(found) == [(2, code)]
    assert [one.item.item_id for one in found.items] == ["before", "after"]
    assert code in CODES
    assert found.refused[0].reason


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("not-json", b"{"),
        ("not-json", b"[1, 2]"),
        ("not-json", b"null"),
        ("not-json", b"[" * 100_000),
        ("not-json", b'{"item_id": ' + b"9" * 5000 + b"}"),
        ("not-utf8", b'{"item_id": "caf\xe9"}'),
        ("not-utf8", '{"item_id": "lamp"}'.encode("utf-16")),
        ("line-too-long", b'{"annotations": {' + b",".join(b'"%d": 1' % at for at in range(1_000_000)) + b"}}"),
    ],
    ids=["open", "list", "null", "deep", "huge number", "latin-1", "utf-16", "a million tags"],
)
def test_a_line_that_cannot_be_read_is_refused_by_name(tmp_path: Path, code: str, line: bytes) -> None:
    found = checked(tmp_path, an_item(item_id="before"), line, an_item(item_id="after"))
    assert codes(found) == [(2, code)]
    assert [one.item.item_id for one in found.items] == ["before", "after"]


def test_an_item_nested_too_deeply_is_refused_or_taken_whole(tmp_path: Path) -> None:
    for depth in (900, 5000, 100_000):
        text = (
            json.dumps(an_item(item_id="deep"))[:-1] + ', "attributes": ' + '{"x": ' * depth + "1" + "}" * depth + "}"
        )
        found = checked(tmp_path, text, an_item())
        assert [one.item.item_id for one in found.items][-1] == "lamp-1"
        assert len(found.items) + len(found.refused) == 2


def test_the_second_row_with_an_id_is_refused_and_names_the_first(tmp_path: Path) -> None:
    found = checked(tmp_path, an_item(title="one"), "", an_item(title="two"), an_item(title="three"))
    assert codes(found) == [(3, "duplicate-id"), (4, "duplicate-id")]
    assert "line 1" in found.refused[0].reason
    assert [one.item.title for one in found.items] == ["one"]


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(an_item()).encode() + b"\r\n\r\n")
    assert len(check_feed(open_feed(tmp_path)).items) == 1


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header promises so many pixels, and whose data are a few bytes."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(100))))
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + struct.pack(">I", 0) + b"IEND\xaeB`\x82"


@pytest.mark.parametrize(
    ("code", "data"),
    [
        ("picture-is-html", b"<!DOCTYPE html><html><body>404 Not Found</body></html>"),
        ("picture-is-html", b"\xef\xbb\xbf \n<HTML><head><title>Sign in</title>"),
        ("picture-is-html", b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'),
        ("picture-too-large", png_of(9000, 6000)),
        ("picture-too-large", png_of(11_000, 11_000)),
        ("picture-too-large", png_of(60_000, 60_000)),
        ("picture-too-large", bytes(20_000_001)),
        ("picture-unreadable", png_of(8, 8)),
        ("picture-unreadable", png_of(200, 200)),
        ("picture-unreadable", b"lamp"),
        ("picture-unreadable", b""),
    ],
    ids=["html", "html in capitals", "svg", "54 Mpx", "121 Mpx", "3.6 Gpx", "20 MB", "8 px", "cut", "text", "empty"],
)
def test_a_picture_that_cannot_be_used_is_refused_by_name(tmp_path: Path, code: str, data: bytes) -> None:
    (tmp_path / "lamp.jpg").write_bytes(data)
    found = checked(tmp_path, an_item(image="lamp.jpg"), an_item(item_id="other"))
    assert codes(found) == [(1, code)]


def test_a_photograph_cut_short_is_refused(tmp_path: Path) -> None:
    Image.effect_noise((640, 480), 50).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:20_000])
    found = checked(tmp_path, an_item(image="whole.jpg"), an_item(item_id="cut", image="cut.jpg"))
    assert codes(found) == [(2, "picture-unreadable")]


def test_a_link_out_of_the_folder_is_followed_and_refused(tmp_path: Path) -> None:
    feed = tmp_path / "feed"
    feed.mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "secret.png")
    (feed / "lamp.png").symlink_to(tmp_path / "secret.png")
    assert codes(checked(feed, an_item(image="lamp.png"))) == [(1, "picture-outside")]


def test_items_may_share_a_picture(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "lamp.png")
    found = checked(tmp_path, an_item(image="lamp.png"), an_item(item_id="other", image="lamp.png"))
    assert len({one.picture.sha256 for one in found.items if one.picture}) == 1


@pytest.mark.parametrize("name", ["nowhere", "items.txt", "feed.csv"])
def test_a_feed_that_is_not_there_or_cannot_be_read_says_what_to_give(tmp_path: Path, name: str) -> None:
    (tmp_path / "feed.csv").write_text("a,b\n")
    with pytest.raises(FeedError, match=r"give a folder|--mapping"):
        open_feed(tmp_path / name)


def test_a_feed_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="no row"):
        checked(tmp_path, b"\n\n")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(["item_id", "title", "link", "quality", "annotations", "attributes", "kind", "more"])


@given(st.dictionaries(FIELDS, ANYTHING))
def test_whatever_a_row_holds_it_is_refused_by_name_or_comes_back_as_it_was(values: dict[str, Any]) -> None:
    try:
        item = read_item({**an_item(), **values})
    except ItemRefusedError as error:
        code: str | None = error.code
    else:
        code = None
        record = item_record(item).encode()
        assert Item.from_dict(json.loads(record)) == item
    assert code is None or code in CODES


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
def acme(tmp_path: Path) -> Path:
    """The CSV and the mapping of docs/catalogue.md, with a picture."""
    (tmp_path / "acme.csv").write_text(block("csv"), "utf-8")
    (tmp_path / "acme.toml").write_text(block("toml"), "utf-8")
    Image.new("RGB", (64, 64)).save(tmp_path / "17.jpg")
    return tmp_path


def read_csv(folder: Path, text: str | bytes | None = None) -> CheckedFeed:
    if text is not None:
        (folder / "acme.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return check_feed(open_feed(folder / "acme.csv", mapping=read_mapping(folder / "acme.toml")))


def test_the_csv_of_the_documentation_becomes_the_items_it_should(acme: Path) -> None:
    found = read_csv(acme)
    assert not found.refused
    assert [one.item.to_dict() for one in found.items] == [
        {
            "item_id": "acme-17",
            "kind": "product",
            "object_type": "home",
            "title": "Desk lamp",
            "link": "https://acme.example.com/17",
            "image": "17.jpg",
            "annotations": {"lamp": 0.8, "desk": 0.8, "light": 0.8},
            "attributes": {"colour": "red"},
            "audience": "all",
            "quality": 0.9,
        },
        {
            "item_id": "acme-18",
            "kind": "product",
            "object_type": "fashion",
            "title": "Running shoe",
            "link": "https://acme.example.com/18",
            "annotations": {"shoe": 0.8, "running": 0.8},
            "attributes": {"colour": "blue"},
            "audience": "all",
            "quality": 0.5,
        },
    ]


def test_the_documentation_lists_every_code_with_its_meaning() -> None:
    listed = re.findall(r"^\| `([a-z0-9-]+)` \| (.*) \|$", DOCUMENT, re.MULTILINE)
    assert {code: why for code, why in listed if code in CODES} == dict(CODES)


HEADER = "sku;name;category;url;picture;keywords;stars;colour"


@pytest.mark.parametrize(
    ("code", "row"),
    [
        ("wrong-columns", b"17;Lamp"),
        ("not-utf8", b"17;Caf\xe9;Lamps;;;;;"),
        ("bad-field", b"17;Lamp;Lamps;;;;many;"),
        ("bad-field", b"17;;Lamps;;;;;"),
        ("bad-link", b"17;Lamp;Lamps;javascript:x;;;;"),
        ("bad-field", b"17;Lamp;Lamps;;;;nan;"),
    ],
)
def test_a_csv_row_is_refused_by_name_and_the_rows_around_it_are_read(acme: Path, code: str, row: bytes) -> None:
    found = read_csv(acme, HEADER.encode() + b"\n1;One;Lamps;;;;;\n" + row + b"\n3;Three;Lamps;;;;;\n")
    assert codes(found) == [(3, code)]
    assert len(found.items) == 2


def test_a_word_that_the_values_have_not_is_refused_when_there_is_no_default(acme: Path) -> None:
    mapping = (acme / "acme.toml").read_text("utf-8").replace(', default = "other"', "")
    (acme / "acme.toml").write_text(mapping, "utf-8")
    assert codes(read_csv(acme, f"{HEADER}\n1;One;Boats;;;;;\n")) == [(2, "wrong-columns")]


def test_quoted_cells_may_hold_the_delimiter_and_line_ends(acme: Path) -> None:
    found = read_csv(acme, f'\ufeff{HEADER}\r\n1;"One; or ""two""";Lamps;;;"lamp|\nred";;\r\n')
    assert found.items[0].item.title == 'One; or "two"'
    assert set(found.items[0].item.annotations) == {"lamp", "red"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'{HEADER}\n1;"One;Lamps;;;;;\n2;Two;;;;;;\n', "not CSV at line"),
        (f"{HEADER}\n{'x' * 1_100_000}\n", "bytes in line 2"),
        ("sku;sku\n", "twice"),
        ("sku;title\n1;2\n", "the CSV has: 'sku', 'title'"),
        ("", "the CSV has"),
    ],
)
def test_a_csv_that_cannot_be_read_to_its_end_is_refused_whole(acme: Path, text: str, said: str) -> None:
    with pytest.raises((FeedError, MappingError), match=said):
        read_csv(acme, text)


GOOD = 'fields.item_id.column = "a"\nfields.kind.constant = "product"\nfields.object_type.constant = "home"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fields = [", "not TOML"),
        ("fields = 3", "give a table"),
        (GOOD, "fields.title is missing"),
        (f'{GOOD}fields.title = "name"', "give a table"),
        (f"{GOOD}fields.title.column = 3", "give a text"),
        (f'{GOOD}fields.title = {{ column = "a", constant = "b" }}', "exactly one"),
        (f'{GOOD}fields.title = {{ colum = "a" }}', "has the key 'colum'"),
        (f'{GOOD}fields.title = {{ column = "a", split = "|" }}', "has the key 'split'"),
        (f'{GOOD}fields.title.column = "a"\nfields.price.column = "b"', "has the key 'price'"),
        (f'{GOOD}fields.title.column = "a"\nfields.annotations = {{ column = "b", weight = 7 }}', "from 0 to 1"),
        (f'{GOOD}fields.title = {{ column = "a", values = {{ b = 1 }} }}', "texts to texts"),
        (f'delimiter = ";;"\n{GOOD}fields.title.column = "a"', "one character"),
    ],
)
def test_a_mapping_that_breaks_a_rule_is_refused_and_names_the_key(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "acme.toml").write_text(text, "utf-8")
    with pytest.raises(MappingError, match=re.escape(said)):
        read_mapping(tmp_path / "acme.toml")


def test_a_mapping_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match="check --mapping"):
        read_mapping(tmp_path / "acme.toml")
