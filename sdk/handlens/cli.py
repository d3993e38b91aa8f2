"""The command line: ``handlens {sync,install,rollback,search,feedback,status,outbox,erase,reindex,bench,partner}``.

Answers go to standard output, everything else to standard error. Exit code 0 means done, 1 that handlens could not do
it (one line says why and what to do), 2 that the command was not understood.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from handlens import __version__
from handlens.console import ErrorGroup
from handlens.drawing import tell_decision, write_decisions
from handlens.errors import BoxError, DecodeError, FeedbackError, StoreError, SyncError
from handlens.options import INDEX_KINDS, RUNTIMES, Options
from handlens.partner.console import partner
from handlens.wire.event import CONSENTS

if TYPE_CHECKING:
    from handlens.client import Lens
    from handlens.geometry import Box
    from handlens.results import FoundObject, Match, SearchResult
    from handlens.sync.reports import SyncReport

__all__ = ["describe", "main"]

_SERVER_FILE = "server.json"  # the server and the channel that `handlens sync` was last given
_REMEMBERED = ("server_url", "channel")

Command = TypeVar("Command", bound=Callable[..., Any])


def _lens_options(command: Command) -> Command:
    """The options that every command shares."""
    for option in reversed(
        (
            click.option("--data-dir", default="~/.handlens", show_default=True, help="The device's store."),
            click.option("--runtime", type=click.Choice(RUNTIMES), default="auto", show_default=True),
            click.option("--threads", type=click.IntRange(1), default=2, show_default=True, help="Threads a model."),
            click.option("--index", type=click.Choice(INDEX_KINDS), default="auto", show_default=True),
        )
    ):
        command = option(command)
    return command


@click.group(cls=ErrorGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="handlens")
def main() -> None:
    """Visual search that fits in the hand: photo in, blended results out, with no network."""


main.add_command(partner)


@main.command()
@click.option("--server", "server_url", help="The server's address, such as https://lens.example.com.")
@click.option("--trusted-root", type=click.Path(path_type=Path), help="root.json that trust begins with (once).")
@click.option("--channel", help="The line of releases to follow, from now on.  [default: stable]")
@click.option("--pack", "packs", multiple=True, help="Hold these packs only, from now on; may be given several times.")
@click.option("--all-packs", is_flag=True, help="Hold every pack of the release, from now on.")
@click.option("--max-bytes", type=click.IntRange(0), help="Download at most so many bytes.")
@click.option("--no-events", is_flag=True, help="Leave the events that wait where they are.")
@click.option(
    "--enrolment-key", default="", envvar="HANDLENS_ENROLMENT_KEY", help="What the server asks of new devices."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@_lens_options
def sync(
    packs: tuple[str, ...], all_packs: bool, max_bytes: int | None, no_events: bool, as_json: bool, **settings: Any
) -> None:
    """Bring this device to the newest release, and send the events that wait.

    The server, the channel and the trusted root are remembered: give them once.
    """
    chosen = packs or (() if all_packs else None)
    used = _remembered(settings)
    with _opened(used) as lens, _progress() as report:
        done = lens.sync(chosen, max_bytes=max_bytes, send_events=not no_events, progress=report)
        _remember(used)
    if as_json:
        click.echo(_as_json(done.to_dict()))
        return
    click.echo("\n".join(_told_sync(done)))


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--trusted-root", type=click.Path(path_type=Path), help="root.json that trust begins with (once).")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@_lens_options
def install(folder: Path, as_json: bool, **settings: Any) -> None:
    """Install the release in FOLDER, as `handlens-server release bundle` writes it."""
    with _opened(settings) as lens, _progress() as report:
        done = lens.install(folder, progress=report)
    click.echo(_as_json(done.to_dict()) if as_json else "\n".join(_told_sync(done)))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@_lens_options
def rollback(as_json: bool, **settings: Any) -> None:
    """Go back to the release before the last sync; the next sync leaves out the one that was left."""
    with _opened(settings) as lens, _progress() as report:
        done = lens.rollback(progress=report)
    if as_json:
        click.echo(_as_json(done.to_dict()))
        return
    click.echo(f"back at release {done.name} of {done.as_of}")
    if done.returned:
        click.echo(
            f"{done.returned} items are shown again that release {done.left} had removed, be it that they were "
            "withdrawn: they go with the next newer release"
        )


@main.command()
@click.argument("photo", type=click.Path(path_type=Path))
@click.option("--box", metavar="X,Y,W,H", help="Search this part only: left, top, width, height in pixels.")
@click.option("--refine", metavar="TEXT", help="A kind or a word: recipe, how to, red...")
@click.option("--limit", type=click.IntRange(1), default=12, show_default=True, help="Matches an object.")
@click.option("--pack", "packs", multiple=True, help="Search this pack only; may be given several times.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON.")
@click.option("--out", type=click.Path(path_type=Path), help="Draw the answer as a picture: RESULT.jpg.")
@click.option("--explain", "explained", is_flag=True, help="Tell how each answer was decided, candidate by candidate.")
@click.option(
    "--explain-out", type=click.Path(path_type=Path), help="Write the decision: FILE.html to look at, or FILE.json."
)
@click.option("--online", is_flag=True, help="Then ask the server of the last sync; the photo stays here.")
@_lens_options
def search(
    photo: Path,
    box: str | None,
    refine: str | None,
    limit: int,
    packs: tuple[str, ...],
    as_json: bool,
    out: Path | None,
    explained: bool,
    explain_out: Path | None,
    online: bool,
    **settings: Any,
) -> None:
    """Search by PHOTO. The network is never touched, but for --online."""
    explains = explained or explain_out is not None
    with _opened(_remembered(settings) if online else settings, packs=packs) as lens:
        result = lens.search(photo, box=_parse_box(box, photo), refine=refine, limit=limit, explain=explains)
        if online:
            result = _upgraded(lens, result, limit)
        if out is not None:
            _draw(lens, photo, result, out)
    decisions = [found.decision for found in result.objects if found.decision is not None]
    if explain_out is not None:
        write_decisions(decisions, explain_out, title=photo.name)
    if as_json:
        shown = result.to_dict() | ({"decisions": [one.to_dict() for one in decisions]} if explained else {})
        click.echo(_as_json(shown))
        return
    click.echo("\n".join(describe(result)))
    for at, decision in enumerate(decisions if explained else (), start=1):
        click.echo("\n".join((f"\ndecision [{at}]", *tell_decision(decision))))


@main.command()
@click.argument("photo", type=click.Path(path_type=Path))
@click.option("--save", "saved", metavar="ITEM_ID", help="The user saved this item of the answer.")
@click.option("--click", "clicked", metavar="ITEM_ID", help="The user opened this item of the answer.")
@click.option("--hide", "hidden", metavar="ITEM_ID", help="The user does not want to see this item.")
@click.option("--box", metavar="X,Y,W,H", help="A box that the user drew, in pixels.")
@click.option("--label", default="", help="The user's word for the box, or for the main object.")
@click.option("--pictured", default="", metavar="ITEM", help="The item whose picture PHOTO is, if it is one.")
@click.option("--consent", type=click.Choice(CONSENTS), default="none", help="What the user allows to be kept.")
@click.option("--json", "as_json", is_flag=True, help="Print what is kept as JSON.")
@_lens_options
def feedback(
    photo: Path,
    saved: str | None,
    clicked: str | None,
    hidden: str | None,
    box: str | None,
    label: str,
    pictured: str,
    consent: str,
    as_json: bool,
    **settings: Any,
) -> None:
    """Search by PHOTO and keep what the user did with the answer; the next sync sends it."""
    with _opened({**settings, "consent": consent}) as lens:
        result = lens.search(photo)
        events = lens.feedback(
            result,
            saved=_match(result, saved),
            clicked=_match(result, clicked),
            hidden=_match(result, hidden),
            box=_parse_box(box, photo),
            label=label,
            photo=photo,
            pictured=pictured,
        )
        waiting = lens.outbox.count()
    if as_json:
        click.echo(_as_json({"kept": [event.to_dict() for event in events], "waiting": waiting}))
        return
    click.echo(f"kept: {', '.join(event.kind for event in events)}; {waiting} events wait to be sent")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@_lens_options
def outbox(as_json: bool, **settings: Any) -> None:
    """Show every event that waits to be sent, and those that the server refused."""
    with _opened(settings) as lens:
        lines, refused = lens.outbox.lines(), lens.outbox.refused()
    if as_json:
        click.echo(_as_json({"waiting": [json.loads(line) for line in lines], "refused": refused}))
        return
    for line in lines:
        click.echo(line)
    for event_id, reason in refused.items():
        click.echo(f"refused {event_id}: {reason}")
    click.echo(f"{len(lines)} events wait, {len(refused)} were refused", err=True)


@main.command()
@click.confirmation_option(prompt="Delete every event and this device's identity, here and on the server?")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@_lens_options
def erase(as_json: bool, **settings: Any) -> None:
    """Delete every event and this device's identity, here and on the server. The packs stay."""
    with _opened(_remembered(settings)) as lens:
        was_told = lens.erase()
    if as_json:
        click.echo(_as_json({"erased": True, "server_told": was_told}))
        return
    click.echo("erased here" + (" and on the server" if was_told else "; the next sync tells the server"))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@_lens_options
def status(as_json: bool, **settings: Any) -> None:
    """Say what is installed, and which runtime and index run."""
    with _opened(settings) as lens:
        found = lens.status().to_dict()
    if as_json:
        click.echo(_as_json(found))
        return
    for name, value in found.items():
        shown = [_pack_line(pack) for pack in value] if name == "packs" else [str(value)]
        for line in shown:
            click.echo(f"{name.replace('_', ' '):14} {line}")


@main.command()
@_lens_options
def reindex(**settings: Any) -> None:
    """Build the index file anew from the store's vectors."""
    with _opened(settings) as lens, _progress() as report:
        lens.reindex(progress=report)
        click.echo(f"index {lens.status().index}")


@main.command()
@click.argument("photo", type=click.Path(path_type=Path))
@click.option("--runs", type=click.IntRange(5), default=30, show_default=True, help="Searches measured.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@_lens_options
def bench(photo: Path, runs: int, as_json: bool, **settings: Any) -> None:
    """Measure this machine: milliseconds by step of searching PHOTO, models warm."""
    with _opened(settings) as lens, _progress() as report:
        figures = _bench(lens, photo, runs, report)
        where = lens.status()
    if as_json:
        click.echo(_as_json({"runtime": where.runtime, "index": where.index, "runs": runs, "steps_ms": figures}))
        return
    click.echo(f"{where.runtime}, {settings['threads']} threads, index {where.index}, {runs} runs; milliseconds")
    click.echo(f"{'step':12}{'p50':>9}{'p95':>9}")
    for step, row in figures.items():
        click.echo(f"{step:12}{row['p50']:9.2f}{row['p95']:9.2f}")


def _bench(lens: Lens, photo: Path, runs: int, report: Callable[[str, int, int], None]) -> dict[str, dict[str, float]]:
    import numpy as np

    lens.search(photo)  # opens the models
    samples = []
    for run in range(runs):
        timings = lens.search(photo).timings_ms
        samples.append({**timings, "total": sum(timings.values())})
        report("bench", run + 1, runs)
    figures = {}
    for step in samples[0]:
        p50, p95 = np.percentile([sample[step] for sample in samples], [50, 95])
        figures[step] = {"p50": round(float(p50), 3), "p95": round(float(p95), 3)}
    return figures


def _upgraded(lens: Lens, result: SearchResult, limit: int) -> SearchResult:
    """The server's answer, or the one there is, with a line that says why."""
    try:
        return lens.upgrade(result, limit=limit)
    except SyncError as error:
        click.echo(f"the offline answer stays: {error}", err=True)
        return result


@contextmanager
def _opened(settings: dict[str, Any], *, packs: tuple[str, ...] = ()) -> Iterator[Lens]:
    from handlens.client import Lens

    with Lens(replace(Options(**settings), packs=packs)) as lens:
        yield lens


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """One bar a step on standard error; nothing where that is not a terminal."""
    bars: dict[str, Any] = {}

    def report(step: str, done: int, total: int) -> None:
        if not sys.stderr.isatty():
            return
        if step not in bars:
            bars[step] = click.progressbar(length=total, label=f"{step:14}", file=sys.stderr)
            bars[step].__enter__()
        bars[step].update(done - bars[step].pos)
        if done >= total:
            bars[step].__exit__(None, None, None)

    yield report


def _remembered(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, with the server and the channel that were named before where none is named now."""
    given = {name: value for name, value in settings.items() if value is not None}
    try:
        known = _read_known(Path(settings["data_dir"]).expanduser() / _SERVER_FILE)
    except StoreError:
        if "server_url" not in given:
            raise
        known = {}  # damaged, and about to be written anew
    return {**known, **given}


def _read_known(path: Path) -> dict[str, str]:
    from handlens.wire.fields import load_object

    try:
        values = load_object(path.read_bytes(), what=path.name)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, DecodeError) as error:
        raise StoreError(f"{path} cannot be read ({error}): name the server again (--server)") from error
    return {name: str(values[name]) for name in _REMEMBERED if name in values}


def _remember(settings: dict[str, Any]) -> None:
    from handlens.durable import write_durably

    data = json.dumps({name: settings[name] for name in _REMEMBERED if name in settings}).encode()
    path = Path(settings["data_dir"]).expanduser() / _SERVER_FILE
    try:
        if not path.is_file() or path.read_bytes() != data:
            write_durably(path, data)
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({error.strerror}): make room on the disk") from error


def _told_sync(report: SyncReport) -> Iterator[str]:
    """What a sync did, as lines of text."""
    state = "now at" if report.changed else "already at"
    yield (
        f"{state} release {report.release} of {report.as_of}: packs {', '.join(report.packs)}; "
        f"{report.changes} changes, {report.bytes_received:,} bytes in {report.requests} requests"
    )
    if report.left_out:
        yield f"release {report.left_out} is offered and left out: this device went back from it, or has a newer one"
    for pack in report.missing_packs:
        yield f"pack {pack} is not in this release any more: it was removed here"
    if report.events_sent:
        yield f"{report.events_sent} events sent"
    if report.events_error:
        yield f"{report.events_waiting} events wait: {report.events_error}"


def _match(result: SearchResult, item_id: str | None) -> Match | None:
    if item_id is None:
        return None
    matches = [match for found in result.objects for section in found.sections for match in section.matches]
    for match in matches:
        if match.item.item_id == item_id:
            return match
    raise FeedbackError(f"item {item_id!r} is not in the answer: take an id that handlens search --json shows")


def _parse_box(text: str | None, photo: Path) -> Box | None:
    if text is None:
        return None
    from handlens.geometry import Box
    from handlens.vision.image import read_size

    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError as error:
        raise BoxError(f"--box {text!r} is not X,Y,W,H: give four numbers in pixels, such as 120,80,300,200") from error
    return Box.from_pixels(x, y, width, height, image_size=read_size(photo))


def _draw(lens: Lens, photo: Path, result: SearchResult, out: Path) -> None:
    from handlens.render import render, save_picture

    save_picture(render(photo, result, lens.thumbnail), out)


def describe(result: SearchResult) -> Iterator[str]:
    """The answer as lines of text."""
    total = sum(result.timings_ms.values())
    where = "offline, release of" if result.served_by == "device" else "by the server, catalogue of"
    yield f"{len(result.objects)} objects, {total:.0f} ms, {where} {result.as_of}, {result.index} index"
    for one in result.left_out:
        yield f"without the {one.source} source: {one.reason}"
    for at, found in enumerate(result.objects, start=1):
        yield from _told_object(at, found)


def _told_object(at: int, found: FoundObject) -> Iterator[str]:
    words = ", ".join(f"{note.tag} {note.confidence:.2f}" for note in found.annotations[:4])
    yield f"\n[{at}] {found.type} {found.understanding.type_confidence:.2f} ({found.region.found_by}): {words}"
    for section in found.sections:
        yield f"  {section.title}"
        for match in section.matches:
            yield f"    {match.score:.2f}  {match.title}  ({match.kind}; {match.why.reason})"


def _pack_line(pack: dict[str, Any]) -> str:
    counts = f"{pack['items']} items, {pack['vectors']} vectors"
    return f"{pack['pack']}: state {pack['sequence']}, {counts}, as of {pack['as_of']}"


def _as_json(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, indent=2)
