"""``handlens-server device``: see devices, refuse one, take it back."""

from __future__ import annotations

import click

from handlens_server.config import Config
from handlens_server.console_options import echo_json, echo_table, json_option, server_options

__all__ = ["group"]


@click.group()
def group() -> None:
    """List and revoke devices."""


@group.command("list")
@server_options
@json_option
def list_command(config: Config, as_json: bool) -> None:
    """List the devices that enrolled."""
    from handlens_server.database import open_database
    from handlens_server.devices import list_devices
    from handlens_server.times import utc_now

    with open_database(config) as database, database.read() as session:
        found = [device.to_dict() for device in list_devices(session, utc_now())]
    if as_json:
        echo_json(found)
    else:
        echo_table(found, columns=("device_id", "enrolled_at", "seen_on", "is_revoked", "events_today"))


@group.command()
@click.argument("device_id")
@server_options
def revoke(config: Config, device_id: str) -> None:
    """Refuse DEVICE_ID from now on; its events stay."""
    _set_revoked(config, device_id, True)
    click.echo(f"device {device_id} is revoked")


@group.command()
@click.argument("device_id")
@server_options
def restore(config: Config, device_id: str) -> None:
    """Take DEVICE_ID back; its token works again."""
    _set_revoked(config, device_id, False)
    click.echo(f"device {device_id} is restored")


def _set_revoked(config: Config, device_id: str, is_revoked: bool) -> None:
    from handlens_server.database import open_database
    from handlens_server.devices import set_revoked

    with open_database(config) as database, database.session() as session:
        set_revoked(session, device_id, is_revoked)
