"""The options that every command of ``handlens-server`` shares, and how answers are printed."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from handlens_server.config import Config

__all__ = ["echo_json", "echo_table", "json_option", "server_options"]

Command = Callable[..., Any]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def server_options(command: Command) -> Command:
    """Give a command ``--data-dir`` and pass it the settings as ``config: Config``."""

    @click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        envvar="HANDLENS_DATA_DIR",
        default=Path("handlens-data"),
        show_default=True,
        help="The backend's folder.",
    )
    @functools.wraps(command)
    def wrapped(*args: Any, data_dir: Path, **values: Any) -> Any:
        return command(*args, config=Config.from_environment(data_dir=data_dir), **values)

    return wrapped


def echo_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False))


def echo_table(rows: Iterable[Mapping[str, Any]], *, columns: Iterable[str]) -> None:
    """Print rows as aligned columns under their names."""
    names = list(columns)
    lines = [names, *([str(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(names))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
