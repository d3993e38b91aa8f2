"""``handlens-server catalog``: the catalogue's commands. Reports go to standard output, progress to standard error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from handlens.wire.item import KINDS, OBJECT_TYPES
from handlens_server.config import Config
from handlens_server.console_options import echo_json, echo_table, json_option, server_options

if TYPE_CHECKING:
    from handlens_server.database import Database
    from handlens_server.feeds import Feed
    from handlens_server.item_rules import Refusal

__all__ = ["group"]

_T = TypeVar("_T")
Command = TypeVar("Command", bound=Callable[..., Any])
_SHOWN = 20  # refused rows in the table; the report file has all

_models_options = (
    click.option("--models", type=click.Path(path_type=Path), default=Path("models"), show_default=True),
    click.option("--threads", type=click.IntRange(1), default=2, show_default=True, help="Threads a model."),
)
_feed_options = (
    click.option("--mapping", type=click.Path(path_type=Path), help="For CSV: a TOML file, see docs/catalogue.md."),
    click.option("--feed", "name", help="File the items under this name; else that of the folder or file."),
    click.option("--report", type=click.Path(path_type=Path), help="Write the report with all refused rows: JSON."),
)


def _with(options: Sequence[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group()
def group() -> None:
    """Import, check, embed and withdraw items."""


@group.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@_with(_feed_options)
@click.option("--skip-refused", is_flag=True, help="Import the good rows, though others are refused.")
@click.option("--withdraw-missing", is_flag=True, help="Withdraw the feed's items that it lists no more.")
@click.option("--restore", is_flag=True, help="Bring back withdrawn items that the feed lists.")
@_with(_models_options)
@json_option
@server_options
def import_(
    path: Path,
    mapping: Path | None,
    name: str | None,
    report: Path | None,
    skip_refused: bool,
    withdraw_missing: bool,
    restore: bool,
    models: Path,
    threads: int,
    as_json: bool,
    config: Config,
) -> None:
    """Import the feed PATH: a folder with items.jsonl, a .jsonl file, or a .csv file with its mapping.

    Killed or stopped, it goes on where it stopped when it is run again; until its end the catalogue is as it was.
    """
    from handlens_server.checking import FeedRefusedError
    from handlens_server.embedding import PictureEmbedder
    from handlens_server.importing import ImportOptions, import_feed

    feed = _feed(path, mapping, name)
    options = ImportOptions(skip_refused=skip_refused, withdraw_missing=withdraw_missing, restore=restore)
    embedder = PictureEmbedder.open(models, threads=threads)
    with _opened(config, create=True) as database:
        try:
            done = import_feed(config, database, feed, embedder, options=options, track=_bar)
        except FeedRefusedError as error:
            values = {"feed": feed.name, "refused": [one.to_dict() for one in error.refused]}
            _tell_refused(error.refused, values, report, as_json)
            raise
    _tell_refused(done.refused, done.to_dict(), report, as_json)
    if not as_json:
        _tell_import(done.to_dict())


@group.command()
@click.argument("path", type=click.Path(path_type=Path))
@_with(_feed_options)
@json_option
def validate(path: Path, mapping: Path | None, name: str | None, report: Path | None, as_json: bool) -> None:
    """Check the feed PATH as `import` does, and change nothing. Exit code 1 when a row is refused."""
    from handlens_server.checking import check_feed

    checked = check_feed(_feed(path, mapping, name), track=_bar)
    values = checked.to_dict()
    _tell_refused(checked.refused, values, report, as_json)
    if not as_json:
        kinds = ", ".join(f"{count} {kind}" for kind, count in values["kinds"].items())
        click.echo(f"{values['good']} rows are good ({kinds}), {values['pictures']} pictures")
    if checked.refused:
        raise click.ClickException(f"{len(checked.refused)} rows are refused: mend them")


@group.command()
@click.argument("item_ids", metavar="ID...", nargs=-1, required=True)
@json_option
@server_options
def withdraw(item_ids: tuple[str, ...], as_json: bool, config: Config) -> None:
    """Withdraw items: the next release takes them from every device. Imports do not bring them back."""
    from handlens_server.catalogue import withdraw_items

    _mark(config, withdraw_items, item_ids, "withdrawn", as_json)


@group.command()
@click.argument("item_ids", metavar="ID...", nargs=-1, required=True)
@json_option
@server_options
def restore(item_ids: tuple[str, ...], as_json: bool, config: Config) -> None:
    """Bring withdrawn items back."""
    from handlens_server.catalogue import restore_items

    _mark(config, restore_items, item_ids, "restored", as_json)


@group.command()
@_with(_models_options)
@json_option
@server_options
def embed(models: Path, threads: int, as_json: bool, config: Config) -> None:
    """Embed every picture that lacks an embedding by the models in --models, such as after a new embedder.

    Killed or stopped, it goes on where it stopped when it is run again.
    """
    from handlens_server.embedding import PictureEmbedder
    from handlens_server.embedding_rows import embed_all

    embedder = PictureEmbedder.open(models, threads=threads)
    with _opened(config) as database:
        count = embed_all(config, database, embedder, track=_bar)
    _tell({"space": embedder.space, "embedded": count}, f"{count} pictures embedded in {embedder.space}", as_json)


@group.command("list")
@click.option("--feed", default="", help="Items of this feed only.")
@click.option("--kind", type=click.Choice(KINDS), help="Items of this kind only.")
@click.option("--type", "object_type", type=click.Choice(OBJECT_TYPES), help="Items of this object type only.")
@click.option("--withdrawn", is_flag=True, help="Withdrawn items instead of the others.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True)
@json_option
@server_options
def list_(
    feed: str,
    kind: str | None,
    object_type: str | None,
    withdrawn: bool,
    limit: int,
    as_json: bool,
    config: Config,
) -> None:
    """List items by id."""
    from handlens_server.catalogue import ItemFilter, list_items

    wanted = ItemFilter(feed, kind or "", object_type or "", withdrawn)
    with _opened(config) as database, database.read() as session:
        found = [one.to_dict() for one in list_items(session, wanted, limit=limit)]
    if as_json:
        echo_json(found)
    else:
        rows = [{**one["item"], **one} for one in found]
        echo_table(rows, columns=("item_id", "kind", "object_type", "feed", "sequence", "title"))


@group.command()
@click.argument("item_id")
@json_option
@server_options
def show(item_id: str, as_json: bool, config: Config) -> None:
    """Show an item and what the server knows of it."""
    from handlens_server.catalogue import find_item

    with _opened(config) as database, database.read() as session:
        found = find_item(session, item_id).to_dict()
    if as_json:
        echo_json(found)
        return
    for name, value in {**found.pop("item"), **found}.items():
        click.echo(f"{name:12}  {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")


@group.command()
@click.argument("feed")
@click.argument("out", type=click.Path(path_type=Path))
@json_option
@server_options
def export(feed: str, out: Path, as_json: bool, config: Config) -> None:
    """Write the items of FEED, without the withdrawn ones, to the new folder OUT, which `import` takes."""
    from handlens_server.exporting import export_feed
    from handlens_server.pictures import PictureStore

    with _opened(config) as database, database.read() as session:
        count = export_feed(session, PictureStore(config.pictures_path), feed, out)
    _tell({"feed": feed, "items": count, "out": str(out)}, f"{count} items written to {out}", as_json)


@contextmanager
def _opened(config: Config, *, create: bool = False) -> Iterator[Database]:
    from handlens_server.database import open_database

    database = open_database(config, create=create)
    try:
        yield database
    finally:
        database.close()


def _feed(path: Path, mapping: Path | None, name: str | None) -> Feed:
    from handlens_server.feeds import open_feed
    from handlens_server.mapping import read_mapping

    return open_feed(path, mapping=None if mapping is None else read_mapping(mapping), name=name)


def _mark(config: Config, change: Any, item_ids: tuple[str, ...], done: str, as_json: bool) -> None:
    with _opened(config) as database, database.session() as session:
        count = change(session, item_ids)
    _tell({done: count}, f"{count} items {done}", as_json)


def _tell_refused(refused: Sequence[Refusal], values: dict[str, Any], report: Path | None, as_json: bool) -> None:
    if report is not None:
        _write_report(report, values)
    if as_json:
        echo_json(values)
    elif refused:
        shown = [one.to_dict() for one in refused[:_SHOWN]]
        echo_table(shown, columns=("line", "item_id", "code", "reason"))
        if len(refused) > _SHOWN:
            click.echo(f"... and {len(refused) - _SHOWN} more: --report FILE has all")


def _write_report(path: Path, values: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"report {path} cannot be written ({error.strerror}): name another file") from error


def _tell_import(values: dict[str, Any]) -> None:
    names = ("added", "changed", "unchanged", "withdrawn", "restored")
    counts = ", ".join(f"{values[name]} {name}" for name in names)
    click.echo(f"feed {values['feed']}: {counts}, {len(values['refused'])} refused")
    click.echo(f"{values['pictures_copied']} pictures copied, {values['pictures_embedded']} embedded")
    waiting = values["still_withdrawn"]
    if waiting:
        click.echo(
            f"{len(waiting)} items of the feed were withdrawn before and stay so ({', '.join(waiting[:5])}...): "
            "--restore brings them back"
        )


def _tell(values: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        echo_json(values)
    else:
        click.echo(text)


def _bar(steps: Iterable[_T], what: str, total: int | None) -> Iterable[_T]:
    from tqdm import tqdm

    bar: Iterable[_T] = tqdm(steps, desc=what, total=total, disable=None)
    return bar
