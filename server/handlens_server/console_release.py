"""``handlens-server release``: publish, check and bundle releases."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from handlens_server.config import Config
from handlens_server.console_keys import keys_option
from handlens_server.console_options import echo_json, echo_table, json_option, server_options
from handlens_server.key_files import Keys
from handlens_server.publishing import Publisher, pack_summary

__all__ = ["group"]


@click.group()
def group() -> None:
    """Publish, check and bundle releases."""


@group.command()
@click.option("--models", type=click.Path(path_type=Path), default=Path("models"), show_default=True)
@click.option("--name", help="The release's name (default: r and its serial number).")
@click.option("--channel", help="The line of releases it goes to (default: HANDLENS_CHANNEL, or stable).")
@click.option("--percent", type=click.FloatRange(0, 100), default=100, show_default=True, help="Devices it is for.")
@click.option("--serial", type=click.IntRange(1), default=1, help="At least this serial, after an old backup.")
@json_option
@keys_option
@server_options
def publish(
    models: Path,
    name: str | None,
    channel: str | None,
    percent: float,
    serial: int,
    as_json: bool,
    keys_dir: Path,
    config: Config,
) -> None:
    """Make a release of the catalogue as it is, sign it, and offer it to devices."""
    from handlens_server.database import open_database

    with open_database(config) as database:
        release = Publisher(config, Keys(keys_dir)).publish(
            database, models, name=name, channel=channel, percent=percent, serial=serial, track=_bar
        )
    if as_json:
        echo_json(release.to_dict())
    else:
        click.echo(f"release {release.name} (serial {release.serial}): {pack_summary(release.packs)}")


@group.command()
@click.option("--percent", type=click.FloatRange(0, 100), default=100, show_default=True, help="Devices it is for.")
@click.option("--channel", help="The line of releases (default: HANDLENS_CHANNEL, or stable).")
@keys_option
@server_options
def widen(percent: float, channel: str | None, keys_dir: Path, config: Config) -> None:
    """Offer the newest release to more devices."""
    entry = Publisher(config, Keys(keys_dir)).widen(percent, channel=channel)
    click.echo(f"release {entry.release} is offered to {entry.percent:g} percent of devices")


@group.command()
@click.option("--to", metavar="NAME", help="The release to bring back (default: the one before the newest).")
@click.option("--name", help="The new release's name.")
@click.option("--channel", help="The line of releases it goes to (default: HANDLENS_CHANNEL, or stable).")
@click.option("--with-withdrawn", is_flag=True, help="Bring back also the items that were withdrawn since.")
@json_option
@keys_option
@server_options
def rollback(
    to: str | None,
    name: str | None,
    channel: str | None,
    with_withdrawn: bool,
    as_json: bool,
    keys_dir: Path,
    config: Config,
) -> None:
    """Make a release with the parts and packs of an older one: devices go forward to it.

    Items that were withdrawn since stay out, whatever the older release held.
    """
    without = frozenset() if with_withdrawn else _withdrawn(config)
    release = Publisher(config, Keys(keys_dir)).rollback(to, name=name, channel=channel, without=without)
    if as_json:
        echo_json(release.to_dict())
    else:
        click.echo(f"release {release.name} (serial {release.serial}): {pack_summary(release.packs)}")


@group.command("list")
@json_option
@keys_option
@server_options
def list_releases(as_json: bool, keys_dir: Path, config: Config) -> None:
    """List the releases that are kept, newest first, and where they are offered."""
    lines = Publisher(config, Keys(keys_dir)).releases()
    rows = [
        {
            "serial": line.release.serial,
            "release": line.release.name,
            "as_of": line.release.as_of,
            "channel": line.channel or "-",
            "percent": f"{line.percent:g}",
            "packs": pack_summary(line.release.packs),
        }
        for line in lines
    ]
    if as_json:
        echo_json(rows)
    else:
        echo_table(rows, columns=("serial", "release", "as_of", "channel", "percent", "packs"))


@group.command()
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option("--root", type=click.Path(path_type=Path), help="Begin trust with this root.json, not the folder's own.")
@click.option("--channel", help="The line of releases (default: HANDLENS_CHANNEL, or stable).")
@json_option
@server_options
def verify(folder: Path | None, root: Path | None, channel: str | None, as_json: bool, config: Config) -> None:
    """Check FOLDER (a bundle; default: the repository) as a device would: signatures, hashes, ways of packs."""
    from handlens_server.verifying import verify as check

    verdict = check(
        folder or config.repository_path, channel or config.channel, root=root, checks_expiry=folder is None
    )
    if as_json:
        echo_json({"releases": list(verdict.releases), "files": verdict.files, "ways": verdict.ways})
    else:
        click.echo(f"good: releases {', '.join(verdict.releases)}; {verdict.files} files, {verdict.ways} ways of packs")


@group.command()
@keys_option
@server_options
def refresh(keys_dir: Path, config: Config) -> None:
    """Sign the metadata anew before it expires; run it daily by a timer."""
    publisher = Publisher(config, Keys(keys_dir))
    publisher.refresh()
    click.echo(f"signed anew: the timestamp holds until {publisher.repository.expiries()['timestamp']:%Y-%m-%d}")


@group.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--channel", help="The line of releases (default: HANDLENS_CHANNEL, or stable).")
@keys_option
@server_options
def bundle(out: Path, channel: str | None, keys_dir: Path, config: Config) -> None:
    """Write what the channel offers into the folder OUT, for a device image or an SD card."""
    from handlens_server.bundle import write_bundle

    releases = write_bundle(Publisher(config, Keys(keys_dir)).repository, channel or config.channel, out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    click.echo(f"release {releases[0].name} in {out}: packs {', '.join(releases[0].packs)}, {size / 1e6:.1f} MB")


def _withdrawn(config: Config) -> frozenset[str]:
    from handlens_server.catalogue import withdrawn_ids
    from handlens_server.database import open_database

    with open_database(config) as database, database.read() as session:
        return withdrawn_ids(session)


def _bar(lines: Iterable[tuple[str, bytes]], pack: str) -> Iterable[tuple[str, bytes]]:
    from tqdm import tqdm

    bar: Iterable[tuple[str, bytes]] = tqdm(lines, desc=f"pack {pack}", unit="item", disable=None)
    return bar
