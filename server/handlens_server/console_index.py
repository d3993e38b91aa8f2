"""``handlens-server index``: look at the server's own index, build it again, compare it with the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import click

from handlens.errors import HandlensError
from handlens_server.config import Config
from handlens_server.console_options import echo_json, json_option, server_options
from handlens_server.database import Database, open_database
from handlens_server.full_index import FullIndex

__all__ = ["group"]

_T = TypeVar("_T")


class IndexDiffersError(HandlensError):
    """The index has not what the database has."""


_models_option = click.option(
    "--models",
    type=click.Path(path_type=Path),
    default=Path("models"),
    show_default=True,
    help="Folder with detector/ and embedder/: the embedder says which space is meant.",
)


@click.group()
def group() -> None:
    """Look at the server's own index, build it again, compare it with the catalogue."""


@group.command()
@_models_option
@json_option
@server_options
def status(models: Path, as_json: bool, config: Config) -> None:
    """Show what the saved index holds, and how far behind the catalogue it is."""
    from handlens_server.index_changes import catalogue_sequence, count_items

    with _opened(models, config) as (database, index):
        told = index.status()
        with database.read() as session:
            newest, items = catalogue_sequence(session), count_items(session, index.space)
    values = {**told.to_dict(), "catalogue_sequence": newest, "catalogue_items": items}
    if as_json:
        echo_json(values)
        return
    click.echo(f"{told.kind} index of {told.space}: {told.parts} parts, at {told.place}")
    click.echo(f"{told.reason}; it shows change {told.sequence}, the catalogue has {newest} ({items} items)")


@group.command()
@_models_option
@json_option
@server_options
def build(models: Path, as_json: bool, config: Config) -> None:
    """Build the index again beside the one that answers, then switch. Running servers take it over by themselves."""
    with _opened(models, config) as (database, index):
        index.rebuild(database, track=_bar)
        told = index.status()
    if as_json:
        echo_json(told.to_dict())
    else:
        click.echo(f"built: {told.kind} index of {told.space}, {told.parts} parts, at {told.place}")


@group.command()
@_models_option
@json_option
@server_options
def check(models: Path, as_json: bool, config: Config) -> None:
    """Bring the index up to date and compare it with the catalogue, item by item; exit code 1 when they differ."""
    with _opened(models, config) as (database, index), database.read() as session:
        verdict, reason = index.check(session), index.status().reason
    if as_json:
        echo_json(verdict.to_dict())
    elif verdict.is_good:
        click.echo(f"good: the index has the {verdict.items} items of the catalogue ({reason})")
    if not verdict.is_good:
        shown = {"missing": verdict.missing, "surplus": verdict.surplus, "former state": verdict.stale}
        told = "; ".join(f"{what}: {', '.join(ids[:5])}" for what, ids in shown.items() if ids)
        raise IndexDiffersError(f"the index differs from the catalogue ({told}): run `handlens-server index build`")


@contextmanager
def _opened(models: Path, config: Config) -> Iterator[tuple[Database, FullIndex]]:
    from handlens.vision.runtime import read_spec
    from handlens_server.index_choice import open_full_index
    from handlens_server.logs import configure_logs

    configure_logs()  # what the index logs must not stand among what a program reads
    spec = read_spec(models / "embedder", "embedder")
    with open_database(config) as database:
        index = open_full_index(config, space=spec.space, dim=spec.dim)
        try:
            yield database, index
        finally:
            index.close()


def _bar(steps: Iterable[_T], what: str, total: int | None) -> Iterable[_T]:
    from tqdm import tqdm

    bar: Iterable[_T] = tqdm(steps, desc=what, total=total, disable=None)
    return bar
