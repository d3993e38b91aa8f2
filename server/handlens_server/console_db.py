"""``handlens-server db``: make, upgrade and look at the database."""

from __future__ import annotations

import click

from handlens_server.config import Config
from handlens_server.console_options import echo_json, json_option, server_options

__all__ = ["group"]


@click.group()
def group() -> None:
    """Make or upgrade the database."""


@group.command()
@server_options
def upgrade(config: Config) -> None:
    """Bring the database to the schema of this version, and make it where there is none."""
    from handlens_server.database import upgrade as upgrade_database

    click.echo(f"the database has schema {upgrade_database(config)}")


@group.command()
@server_options
@json_option
def current(config: Config, as_json: bool) -> None:
    """Show the schema that the database has, and the one of this version."""
    from handlens_server.database import Database
    from handlens_server.schema import head_revision

    with Database(config) as database:
        found, head = database.revision(), head_revision()
    if as_json:
        echo_json({"database": str(database), "schema": found, "newest": head})
    else:
        click.echo(f"{database} has {f'schema {found}' if found else 'no schema'}; this version has schema {head}")
