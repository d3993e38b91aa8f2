"""``handlens-server pack``: say which items a pack holds."""

from __future__ import annotations

import click

from handlens_server.config import Config
from handlens_server.console_options import echo_json, echo_table, json_option, server_options
from handlens_server.database import open_database
from handlens_server.packs import PackError, Rule, define_pack, pack_rules, remove_pack

__all__ = ["group"]


@click.group()
def group() -> None:
    """Say which items a pack holds."""


@group.command()
@click.argument("name")
@click.option("--type", "types", multiple=True, help="Items of this object type; may be given several times.")
@click.option("--kind", "kinds", multiple=True, help="Items of this kind; may be given several times.")
@click.option("--tag", "tags", multiple=True, help="Items with this tag; may be given several times.")
@click.option("--locale", default="", help="Items of this locale, and of none.")
@click.option("--audience", default="", help="Items for this audience, and for all.")
@click.option("--top", type=click.IntRange(1), help="Only so many, those of best quality.")
@server_options
def define(
    name: str,
    types: tuple[str, ...],
    kinds: tuple[str, ...],
    tags: tuple[str, ...],
    locale: str,
    audience: str,
    top: int | None,
    config: Config,
) -> None:
    """Let the pack NAME hold the items that pass every option given; without any, all items."""
    rule = Rule(types=types, kinds=kinds, tags=tags, locale=locale, audience=audience, top=top)
    with open_database(config, create=True) as database, database.session() as session:
        is_new = define_pack(session, name, rule)
    click.echo(f"pack {name} was {'defined' if is_new else 'changed'}: the next release has it")


@group.command("list")
@json_option
@server_options
def list_packs(as_json: bool, config: Config) -> None:
    """List the packs with their rules."""
    with open_database(config) as database, database.read() as session:
        rules = pack_rules(session)
    if as_json:
        echo_json({name: rule.to_dict() for name, rule in rules.items()})
        return
    echo_table(
        [{"pack": name, "rule": _told(rule)} for name, rule in rules.items()],
        columns=("pack", "rule"),
    )


@group.command()
@click.argument("name")
@json_option
@server_options
def show(name: str, as_json: bool, config: Config) -> None:
    """Show the rule of the pack NAME."""
    with open_database(config) as database, database.read() as session:
        rules = pack_rules(session)
    if name not in rules:
        raise PackError(f"there is no pack {name!r}: there are {', '.join(rules) or 'none'}")
    if as_json:
        echo_json(rules[name].to_dict())
    else:
        click.echo(f"{name}: {_told(rules[name])}")


@group.command()
@click.argument("name")
@server_options
def remove(name: str, config: Config) -> None:
    """Forget the pack NAME: the next release is without it, and devices remove it."""
    with open_database(config) as database, database.session() as session:
        remove_pack(session, name)
    click.echo(f"pack {name} was removed: the next release is without it")


def _told(rule: Rule) -> str:
    values = {name: value for name, value in rule.to_dict().items() if name != "format"}
    shown = (f"{name} {', '.join(value) if isinstance(value, list) else value}" for name, value in values.items())
    return "; ".join(shown) or "all items"
