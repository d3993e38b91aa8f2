"""``handlens-server policy``: check, compare, try and score a blending policy before it is released."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from handlens_server.config import Config
from handlens_server.console_options import echo_json, json_option, server_options

if TYPE_CHECKING:
    from handlens.wire.item import Item
    from handlens_server.policy_log import Log
    from handlens_server.policy_replay import Estimate

__all__ = ["group"]

_FILE = click.Path(path_type=Path)


@click.group()
def group() -> None:
    """Check, compare, try and score a blending policy."""


@group.command()
@click.argument("file", type=_FILE)
def validate(file: Path) -> None:
    """Say whether the policy in FILE can be followed; where not, the path of the fault. Publishing refuses the same."""
    from handlens_server.policy_files import read_policy

    policy = read_policy(file)
    sections = sum(len(rules) for rules in policy.types.values()) + len(policy.default)
    click.echo(
        f"{file} is good: version {policy.version}, {len(policy.types)} types, {sections} sections, "
        f"bands {', '.join(band.name for band in policy.bands)}, {len(policy.picks)} picks"
    )


@group.command()
@click.argument("before", type=_FILE)
@click.argument("after", type=_FILE)
@json_option
def diff(before: Path, after: Path, as_json: bool) -> None:
    """Tell what differs between the policies BEFORE and AFTER: sections, shares, gates, by type and confidence band."""
    from handlens_server.policy_diff import policy_changes
    from handlens_server.policy_files import read_policy

    changes = policy_changes(read_policy(before), read_policy(after))
    if as_json:
        echo_json([change.to_dict() for change in changes])
        return
    for change in changes:
        click.echo(str(change))
    click.echo(f"{len(changes)} differences" if changes else "no differences", err=True)


@group.command("try")
@click.argument("photo", type=_FILE)
@click.option("--policy", "file", type=_FILE, required=True, help="The policy to try.")
@click.option("--against", type=_FILE, help="Another one, to be tried on the same offers.")
@click.option("--models", type=_FILE, default=Path("models"), show_default=True)
@click.option("--limit", type=click.IntRange(1), default=12, show_default=True, help="Matches.")
@click.option("--locale", default="en", show_default=True)
@click.option("--out", type=_FILE, help="Draw the decisions: FILE.html to look at, or FILE.json.")
@json_option
@server_options
def try_(
    config: Config,
    photo: Path,
    file: Path,
    against: Path | None,
    models: Path,
    limit: int,
    locale: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Answer PHOTO from the whole catalogue by a policy, and tell how each candidate fared."""
    from handlens.drawing import tell_decision, write_decisions
    from handlens_server.database import open_database
    from handlens_server.policy_files import read_policy
    from handlens_server.policy_trial import decide
    from handlens_server.times import text_of, utc_now

    policies = [read_policy(one) for one in (file, against) if one is not None]
    with open_database(config) as database, database.read() as session:
        decisions = decide(photo, models, session, policies, limit=limit, locale=locale, as_of=text_of(utc_now()))
    if out is not None:
        write_decisions(decisions, out, title=photo.name)
    if as_json:
        echo_json([decision.to_dict() for decision in decisions])
        return
    for name, decision in zip((file, against), decisions, strict=False):
        click.echo("\n".join((f"{name}", *tell_decision(decision), "")))


@group.command()
@click.argument("events", type=_FILE)
@click.option("--policy", "file", type=_FILE, required=True, help="The policy to score.")
@click.option("--against", type=_FILE, help="Another one, such as the one in force: scored on the same answers.")
@click.option(
    "--position-bias", type=click.FloatRange(0, 3), default=1.0, show_default=True, help="Looks fall as 1/k^x."
)
@click.option("--least-sample", type=click.FloatRange(1), default=100.0, show_default=True, help="Effective answers.")
@click.option(
    "--least-covered", type=click.FloatRange(0, 1), default=0.8, show_default=True, help="Share of the looks."
)
@click.option("--locale", default="en", show_default=True)
@json_option
@server_options
def replay(
    config: Config,
    events: Path,
    file: Path,
    against: Path | None,
    position_bias: float,
    least_sample: float,
    least_covered: float,
    locale: str,
    as_json: bool,
) -> None:
    """Score a policy on EVENTS (JSON lines, as `events export` writes them), by the places that chance gave.

    The figure is how many items of an answer its user would open or save, with a 95 % interval.
    """
    from handlens_server.policy_files import read_policy
    from handlens_server.policy_replay import ReplayRules, compare, estimate, on_policy

    policies = [read_policy(one) for one in (file, against) if one is not None]
    log = _log(events)
    items = _items(config, log)
    rules = ReplayRules(position_bias, least_sample, least_covered, locale)
    now = on_policy(log.answers)
    if len(policies) == 2:
        first, second, (difference, margin) = compare(log.answers, items, (policies[0], policies[1]), rules)
    else:
        first, second, difference, margin = estimate(log.answers, items, policies[0], rules), None, 0.0, 0.0
    if as_json:
        found = {"policy": first.to_dict(), "refused_lines": log.refused}
        found["without_exploration"] = {"value": now[0], "margin": now[1], "answers": now[2]} if now[2] else {}
        if second is not None:
            found |= {"against": second.to_dict(), "difference": {"value": difference, "margin": margin}}
        echo_json(found)
        return
    click.echo(_told(f"{file} (version {policies[0].version})", first))
    if second is not None:
        click.echo(_told(f"{against} (version {policies[1].version})", second))
        verdict = "not told apart" if abs(difference) <= margin else "better" if difference > 0 else "worse"
        click.echo(f"difference {difference:+.4f} +- {margin:.4f}: {verdict}")
    if now[2]:
        click.echo(
            f"the log itself, where nothing was left to chance: {now[0]:.4f} +- {now[1]:.4f} in {now[2]} answers"
        )


def _told(name: str, found: Estimate) -> str:
    missing = f"; {found.missing} offers of items that are gone" if found.missing else ""
    return (
        f"{name}: {found.value:.4f} +- {found.margin:.4f} rewarded items an answer "
        f"({found.by_propensity:.4f} not self-normalised; {found.answers} answers that explored, worth "
        f"{found.sample:.0f}; {found.covered:.0%} covered{missing})"
    )


def _log(path: Path) -> Log:
    from handlens_server.policy_files import PolicyError
    from handlens_server.policy_log import read_log

    try:
        with path.open(encoding="utf-8") as lines:
            log = read_log(lines)
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path} cannot be read as events ({error}): give what `events export` wrote") from error
    if log.refused:
        click.echo(f"{log.refused} lines are no events, such as {log.first_refusal}", err=True)
    return log


def _items(config: Config, log: Log) -> dict[str, Item]:
    from handlens_server.catalogue import find_items
    from handlens_server.database import open_database

    wanted: Iterable[str] = {offer.item_id for answer in log.answers for offer in answer.exposure.offers}
    with open_database(config) as database, database.read() as session:
        return find_items(session, wanted)
