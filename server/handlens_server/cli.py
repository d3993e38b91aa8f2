"""The command line of the backend: ``handlens-server {check,bundle}``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from handlens.console import ErrorGroup

if TYPE_CHECKING:
    from handlens.wire.pack import PackRow

__all__ = ["main"]


@click.group(cls=ErrorGroup, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """The handlens backend: catalogues in, releases out."""


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def check(folder: Path) -> None:
    """Check the catalogue in FOLDER: items.jsonl and its pictures."""
    from collections import Counter

    from handlens_server.catalogue import read_catalogue

    items = read_catalogue(folder).items
    kinds = Counter(item.kind for item in items)
    click.echo(f"{len(items)} items are good: {', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))}")


@main.command()
@click.argument("catalogues", metavar="[NAME=]FOLDER...", nargs=-1, required=True)
@click.option("--models", type=click.Path(path_type=Path), default=Path("models"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The release folder to write.")
@click.option("--release", default="local", show_default=True, help="The release's name.")
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
def bundle(catalogues: tuple[str, ...], models: Path, out: Path, release: str, threads: int) -> None:
    """Embed each catalogue FOLDER as a pack (named NAME, or like the folder) and write a release folder.

    `handlens install` takes it to a device.
    """
    from handlens_server.bundle import PackSource, build_bundle
    from handlens_server.catalogue import read_catalogue

    sources = []
    for entry in catalogues:
        name, _, folder = entry.rpartition("=")
        sources.append(PackSource(name or Path(folder).resolve().name, read_catalogue(Path(folder))))
    made = build_bundle(sources, models, out, name=release, threads=threads, progress=_bar)
    size = sum(file.size for file in made.files.values())
    click.echo(f"release {made.name} in {out}: packs {', '.join(made.packs)}, {size / 1e6:.1f} MB")


def _bar(rows: Iterable[PackRow], name: str, total: int) -> Iterable[PackRow]:
    from tqdm import tqdm

    bar: Iterable[PackRow] = tqdm(rows, desc=f"pack {name}", total=total, unit="item", disable=None)
    return bar
