"""``handlens-server partner``: partners, their profiles, and their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from handlens_server.config import Config
from handlens_server.console_options import echo_json, echo_table, json_option, server_options

__all__ = ["group"]

_profile_option = click.option(
    "--profile",
    "profile_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="A JSON file, as profile.schema.json describes it.",
)


@click.group()
def group() -> None:
    """Partners of the partner endpoint: profiles, keys, and who is switched off."""


@group.command("list")
@server_options
@json_option
def list_command(config: Config, as_json: bool) -> None:
    """List the partners."""
    from handlens_server.database import open_database
    from handlens_server.partner.partners import list_partners

    with open_database(config) as database, database.read() as session:
        found = [partner.to_dict() for partner in list_partners(session)]
    if as_json:
        echo_json(found)
    else:
        echo_table(found, columns=("partner", "name", "disabled", "created_at", "changed_at"))


@group.command()
@click.argument("partner_id")
@_profile_option
@server_options
def add(config: Config, partner_id: str, profile_file: Path) -> None:
    """Add the partner PARTNER_ID with a profile; it has no key yet."""
    from handlens_server.partner.partners import add_partner

    text = profile_file.read_text("utf-8")
    _change(config, lambda session, now: add_partner(session, partner_id, text, now))
    click.echo(f"partner {partner_id} is there: make a key with `handlens-server partner key new {partner_id}`")


@group.command("set")
@click.argument("partner_id")
@_profile_option
@server_options
def set_command(config: Config, partner_id: str, profile_file: Path) -> None:
    """Give PARTNER_ID another profile, from the next call on."""
    from handlens_server.partner.partners import set_profile

    text = profile_file.read_text("utf-8")
    _change(config, lambda session, now: set_profile(session, partner_id, text, now))
    click.echo(f"partner {partner_id} has the new profile")


@group.command()
@click.argument("partner_id")
@server_options
def show(config: Config, partner_id: str) -> None:
    """Show PARTNER_ID: its profile with every default, and its keys without their secrets, as JSON."""
    from handlens_server.database import open_database
    from handlens_server.partner.partners import find_partner, list_keys

    with open_database(config) as database, database.read() as session:
        partner = find_partner(session, partner_id)
        keys = list_keys(session, partner_id)
    echo_json({**partner.to_dict(), "profile": partner.profile.to_dict(), "keys": keys})


@group.command()
@click.argument("partner_id")
@server_options
def disable(config: Config, partner_id: str) -> None:
    """Refuse every call of PARTNER_ID from now on; its keys and items stay."""
    _set_disabled(config, partner_id, True)
    click.echo(f"partner {partner_id} is switched off")


@group.command()
@click.argument("partner_id")
@server_options
def enable(config: Config, partner_id: str) -> None:
    """Take PARTNER_ID back; its keys work again."""
    _set_disabled(config, partner_id, False)
    click.echo(f"partner {partner_id} is switched on")


@group.command()
@click.argument("partner_id")
@server_options
def feedback(config: Config, partner_id: str) -> None:
    """Print what users of PARTNER_ID did with answers, live events alone, as lines of JSON."""
    from handlens_server.database import open_database
    from handlens_server.partner.feedback import export_feedback
    from handlens_server.partner.partners import find_partner

    with open_database(config) as database, database.read() as session:
        find_partner(session, partner_id)
        for line in export_feedback(session, partner_id):
            click.echo(line)


@group.command("contract")
def contract_command() -> None:
    """Compare this version's contract with the last released one; 1 where a change would break partners."""
    from handlens_server.partner.breaking import breaking_changes, last_released
    from handlens_server.partner.contract_file import contract, read_contract

    released = read_contract(last_released())
    faults = breaking_changes(released, contract())
    for fault in faults:
        click.echo(fault)
    if faults:
        raise click.exceptions.Exit(1)
    click.echo(f"contract {contract().version} keeps what {released.version} promised")


@group.group()
def key() -> None:
    """Keys of partners; of one kind and mode two work at a time, for rotation."""


@key.command()
@click.argument("partner_id")
@click.option("--test", "is_test", is_flag=True, help="A key for the sandbox; otherwise it is live.")
@click.option("--scope", "scopes", multiple=True, help="A scope of the key; give several. None given: all.")
@click.option("--device", "is_device", is_flag=True, help="A key for HTTP message signatures (Ed25519).")
@click.option(
    "--public-key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The partner's own Ed25519 public key (PEM), with --device; otherwise a pair is made.",
)
@server_options
@json_option
def new(
    config: Config,
    partner_id: str,
    is_test: bool,
    scopes: tuple[str, ...],
    is_device: bool,
    public_key: Path | None,
    as_json: bool,
) -> None:
    """Make a key of PARTNER_ID. Its secret is printed now and never again."""
    from handlens_server.partner.partners import new_device_key, new_secret_key
    from handlens_server.partner.profiles import SCOPES

    if public_key is not None and not is_device:
        raise click.UsageError("--public-key is for keys that sign: give --device too")
    mode, wanted = "test" if is_test else "live", scopes or SCOPES
    pem = None if public_key is None else public_key.read_bytes()
    if is_device:
        made = _change(
            config, lambda session, now: new_device_key(session, partner_id, mode, wanted, now, public_key=pem)
        )
    else:
        made = _change(config, lambda session, now: new_secret_key(session, partner_id, mode, wanted, now))
    if as_json:
        echo_json({"key_id": made.key_id, "secret": made.secret, "mode": mode, "scopes": sorted(wanted)})
        return
    click.echo(f"key     {made.key_id}")
    if made.secret:
        click.echo(f"secret  {made.secret}")
        click.echo("The secret is kept nowhere: store it now.", err=True)


@key.command()
@click.argument("key_id")
@server_options
def revoke(config: Config, key_id: str) -> None:
    """Refuse KEY_ID and its tokens from now on."""
    from handlens_server.partner.partners import revoke_key

    _change(config, lambda session, now: revoke_key(session, key_id, now))
    click.echo(f"key {key_id} is revoked")


def _set_disabled(config: Config, partner_id: str, is_disabled: bool) -> None:
    from handlens_server.partner.partners import set_disabled

    _change(config, lambda session, now: set_disabled(session, partner_id, is_disabled, now))


def _change(config: Config, change: Any) -> Any:
    from handlens_server.database import open_database
    from handlens_server.times import utc_now

    with open_database(config) as database, database.session() as session:
        return change(session, utc_now())
