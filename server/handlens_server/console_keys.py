"""``handlens-server keys``: make and rotate the keys that sign releases."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import click

from handlens_server.config import Config
from handlens_server.console_options import echo_json, echo_table, json_option, server_options
from handlens_server.key_files import OFFLINE, ONLINE, Keys
from handlens_server.publishing import Publisher

__all__ = ["group", "keys_option"]

keys_option = click.option(
    "--keys",
    "keys_dir",
    type=click.Path(path_type=Path),
    envvar="HANDLENS_KEYS",
    default=Path("handlens-keys"),
    show_default=True,
    help="The folder of the keys.",
)


@click.group()
def group() -> None:
    """Make and rotate the keys that sign releases."""


@group.command()
@keys_option
@server_options
def init(keys_dir: Path, config: Config) -> None:
    """Make all keys and an empty repository that trusts them.

    Put root1, root2 and root3 on media of their own afterwards: two of them are needed to rotate a key, none to
    publish. Ship the root.json that `keys export-root` writes with your app.
    """
    keys = Keys(keys_dir)
    publisher = Publisher(config, keys)
    for name in (*OFFLINE, *ONLINE):
        if not keys.has(name):
            keys.create(name)
    publisher.repository.create()
    click.echo(f"keys are in {keys_dir}, the repository in {config.repository_path}: keep root1..root3 offline")


@group.command("export-root")
@click.argument("out", type=click.Path(path_type=Path))
@keys_option
@server_options
def export_root(out: Path, keys_dir: Path, config: Config) -> None:
    """Write the newest root.json to OUT: what a device's trust begins with."""
    roots = Publisher(config, Keys(keys_dir)).repository.roots()
    if not roots:
        raise click.ClickException(f"{config.repository_path} has no root: make the keys first (keys init)")
    newest = max(roots)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(roots[newest])
    click.echo(f"{out}: root {newest}")


@group.command()
@click.argument("name", type=click.Choice([*OFFLINE, *ONLINE]))
@click.option("--lost", is_flag=True, help="The key is gone: two offline keys put a new one in its place.")
@keys_option
@server_options
def rotate(name: str, lost: bool, keys_dir: Path, config: Config) -> None:
    """Replace the key NAME by a new one; devices follow by themselves. Two offline keys must be at hand."""
    Publisher(config, Keys(keys_dir)).rotate(name, lost=lost)
    click.echo(f"{name} was replaced; the old key, if it was here, stays as a retired file in {keys_dir}")


@group.command()
@json_option
@keys_option
@server_options
def status(as_json: bool, keys_dir: Path, config: Config) -> None:
    """Say which keys are here, and when the metadata of each role expires."""
    keys, repository = Keys(keys_dir), Publisher(config, Keys(keys_dir)).repository
    now = datetime.now(timezone.utc)
    expiries = repository.expiries()
    rows = [
        {"role": role, "expires": when.strftime("%Y-%m-%d"), "days": (when - now).days}
        for role, when in expiries.items()
    ]
    here = {name: keys.has(name) for name in (*OFFLINE, *ONLINE)}
    if as_json:
        echo_json({"roles": rows, "keys": here})
        return
    echo_table(rows, columns=("role", "expires", "days"))
    click.echo(f"keys here: {', '.join(name for name, is_here in here.items() if is_here) or 'none'}")
