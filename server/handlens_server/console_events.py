"""``handlens-server events``: hand on what devices sent, and forget it in time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import click

from handlens.errors import HandlensError
from handlens_server.config import Config
from handlens_server.console_options import server_options

__all__ = ["ExportError", "group"]


class ExportError(HandlensError):
    """The export cannot be written."""


@click.group()
def group() -> None:
    """Export and prune what devices sent."""


@group.command()
@click.option("--since", metavar="TIME", help="Only what arrived at this time or later, such as 2026-01-01.")
@click.option("--until", metavar="TIME", help="Only what arrived before this time; give one that has passed.")
@click.option("--out", metavar="FILE", default="-", show_default=True, help="The file to write; - is standard output.")
@server_options
def export(config: Config, since: str | None, until: str | None, out: str) -> None:
    """Write events as JSON lines, in the order of their arrival."""
    from handlens_server.database import open_database
    from handlens_server.events import export_events

    with open_database(config) as database, database.read() as session:
        lines = export_events(session, _time(since), _time(until))
        if out == "-":
            for line in lines:
                click.echo(line)
        else:
            click.echo(f"{_write(Path(out), lines)} events in {out}", err=True)


@group.command()
@click.option(
    "--days", type=click.IntRange(1, 36_500), help="Keep this many days, in place of HANDLENS_RETENTION_DAYS (365)."
)
@server_options
def prune(config: Config, days: int | None) -> None:
    """Delete the events that are older than they may be kept."""
    from handlens_server.database import open_database
    from handlens_server.retention import prune_events
    from handlens_server.times import utc_now

    kept = days or config.retention_days
    with open_database(config) as database:
        gone = prune_events(database, utc_now(), kept)
    click.echo(f"deleted {gone} events that were older than {kept} days")


def _time(text: str | None) -> datetime | None:
    from handlens_server.times import parse_time

    return None if text is None else parse_time(text)


def _write(path: Path, lines: Iterable[str]) -> int:
    """Write the lines under another name, and rename the file when it is whole."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    count = 0
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            for line in lines:
                file.write(f"{line}\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise ExportError(f"{path} cannot be written ({error.strerror}): give another --out") from error
    finally:
        partial.unlink(missing_ok=True)
    return count
