"""``handlens partner check``: the command of a partner's own team.

Exit code 0 means that no check failed, 1 that one did, 2 that the checks could not be made (one line says why).
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from handlens.partner.checking import Check
from handlens.partner.outcomes import ConformanceError

if TYPE_CHECKING:
    from handlens.partner.access import Key
    from handlens.partner.probe import Given
    from handlens.partner.running import Progress, Report

__all__ = ["partner"]

_NEEDED = ("http_message_signatures", "http_sf", "jinja2", "jsonschema", "junitparser", "rich")


class _CannotCheckError(click.ClickException):
    exit_code = 2


@click.group()
def partner() -> None:
    """Tools for the team of a partner."""


@partner.command()
@click.option("--base-url", envvar="HANDLENS_PARTNER_URL", help="The server, such as https://lens.example.com.")
@click.option("--key", envvar="HANDLENS_PARTNER_KEY", help="A test key, ID:SECRET; better in HANDLENS_PARTNER_KEY.")
@click.option("--key-file", type=click.Path(path_type=Path), help="A file with the test key, ID:SECRET.")
@click.option(
    "--signing-key", envvar="HANDLENS_PARTNER_SIGNING_KEY", metavar="ID:FILE",
    help="A device's test key and its private key (Ed25519, PEM), for signatures.",
)  # fmt: skip
@click.option("--foreign-key", envvar="HANDLENS_PARTNER_FOREIGN_KEY", help="A test key of another partner.")
@click.option("--expired-token", envvar="HANDLENS_PARTNER_EXPIRED_TOKEN", help="A token of the key that is over.")
@click.option("--exhaust", is_flag=True, help="Use up the limit of a window, to see that it refuses.")
@click.option("--only", multiple=True, metavar="ID", help="This check or group only; may be given several times.")
@click.option("--list", "lists", is_flag=True, help="List the checks, and make none.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML here.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page here.")
@click.option("--timeout", type=click.FloatRange(1.0), default=30.0, show_default=True, help="Seconds for an answer.")
@click.option("--ca-file", type=click.Path(path_type=Path), help="Certificates to trust (PEM), for a private server.")
@click.option("--strict", is_flag=True, help="A check that is skipped counts as one that failed.")
def check(
    base_url: str | None,
    key: str | None,
    key_file: Path | None,
    only: tuple[str, ...],
    lists: bool,
    as_json: bool,
    junit: Path | None,
    html: Path | None,
    timeout: float,
    ca_file: Path | None,
    strict: bool,
    **given: Any,
) -> None:
    """Check that a server keeps the partner contract.

    Takes a test key with all scopes. It writes into that key's sandbox only, and RESETS THE SANDBOX before and after.
    """
    try:
        _require_extra()
        if lists:
            _list(only, as_json)
            return
        report = _run(
            base_url, _key(key, key_file), _given(**given), only, timeout, ca_file, shows_progress=not as_json
        )
        _write(report, junit, html)
    except ConformanceError as error:
        raise _CannotCheckError(str(error)) from error
    _show(report, as_json)
    if not report.is_conformant or (strict and report.count("skipped")):
        sys.exit(1)


def _require_extra() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConformanceError(f"{', '.join(missing)} is not installed: pip install 'handlens[partner]'")


def _list(only: tuple[str, ...], as_json: bool) -> None:
    from handlens.partner.running import choose

    checks = choose(only)
    if as_json:
        click.echo(json.dumps([one.to_dict() for one in checks], indent=2))
        return
    for one in checks:
        click.echo(f"{one.check_id:26} {one.title}\n{'':26} {one.clause}")


def _run(
    base_url: str | None,
    key: Key,
    given: Given,
    only: tuple[str, ...],
    timeout: float,
    ca_file: Path | None,
    *,
    shows_progress: bool,
) -> Report:
    from handlens.partner.contract import read_contract
    from handlens.partner.line import Line
    from handlens.partner.running import choose, run_checks

    if not base_url:
        raise ConformanceError("no server is named: give --base-url https://lens.example.com")
    checks, line = choose(only), Line(base_url, timeout=timeout, ca_file=ca_file)
    try:
        with _progress(len(checks), shows_progress) as progress:
            return run_checks(line, key, read_contract(), checks, given, progress=progress)
    finally:
        line.close()


def _key(key: str | None, key_file: Path | None) -> Key:
    from handlens.partner.access import read_key

    if key_file is not None:
        try:
            return read_key(key_file.read_text("utf-8"), option=f"--key-file {key_file}")
        except (OSError, UnicodeDecodeError) as error:
            raise ConformanceError(f"{key_file} cannot be read ({error}): give a file with ID:SECRET") from error
    if not key:
        raise ConformanceError("no key is given: set HANDLENS_PARTNER_KEY to ID:SECRET, or give --key-file")
    return read_key(key)


def _given(signing_key: str | None, foreign_key: str | None, expired_token: str | None, exhaust: bool) -> Given:
    from handlens.partner.access import read_key, read_signer
    from handlens.partner.probe import Given

    return Given(
        signer=read_signer(signing_key) if signing_key else None,
        foreign_key=read_key(foreign_key, option="--foreign-key") if foreign_key else None,
        expired_token=expired_token or "",
        exhaust=exhaust,
    )


@contextmanager
def _progress(total: int, shows: bool) -> Iterator[Progress]:
    """A bar on standard error; nothing where that is not a terminal."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True, disable=not (shows and sys.stderr.isatty())) as bar:
        task = bar.add_task("checking", total=total)

        def progress(one: Check, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, description=f"{one.check_id:26}")

        yield progress


def _write(report: Report, junit: Path | None, html: Path | None) -> None:
    from handlens.partner.reports.junit import junit_xml
    from handlens.partner.reports.page import html_page

    if junit is not None:
        _save(junit, junit_xml(report))
    if html is not None:
        _save(html, html_page(report).encode())


def _save(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise ConformanceError(f"{path} cannot be written ({error.strerror}): choose another place") from error


def _show(report: Report, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report.to_dict(), ensure_ascii=False, indent=2))
        return
    from rich.console import Console

    from handlens.partner.reports.table import print_report

    print_report(report, Console(soft_wrap=False))
