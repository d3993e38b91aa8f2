"""``handlens-convert boxes``: from a command line to `run`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from handlens.errors import TrainingDataError

__all__ = ["boxes"]

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("events", nargs=-1, required=True)
@click.option("--photos", required=True, help="List of the photos, JSON lines: the catalogue's items.jsonl.")
@click.option(
    "--root", default=None, help="Folder or URI that the photos' paths start from. [default: that of --photos]"
)
@click.option("--out", type=_FOLDER, default=Path("datasets"), show_default=True, help="Folder of the data sets.")
@click.option(
    "--master", default="local[*]", show_default=True, help="Where Spark runs: local[N], spark://HOST:PORT, yarn..."
)
@click.option(
    "--driver-memory", default="1g", show_default=True, help="Of the driver's JVM; with local, of all of Spark."
)
@click.option("--executor-memory", default="1g", show_default=True, help="Of each worker's JVM.")
@click.option(
    "--spark", "extra", multiple=True, metavar="spark.NAME=VALUE", help="A setting of Spark; wins over all others."
)
@click.option("--min-users", type=click.IntRange(2), default=None, help="Users that an object needs. [default: 3]")
@click.option("--no-places", is_flag=True, help="Do not tell where users drew and nobody agreed.")
@click.option(
    "--max-bad", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="Share of rows that may be bad."
)
@click.option(
    "--val", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="Share of photos for validation."
)
@click.option(
    "--test", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="Share of photos for testing."
)
@click.option("--no-pictures", is_flag=True, help="Open no photo: sizes from the list, near-duplicates not looked for.")
@click.option(
    "--gate", type=_FOLDER, default=None, help="Detector whose classes a label must agree with; none: users alone."
)
@click.option(
    "--neighbours", type=_FOLDER, default=None, help="Embedder: a label may also agree with tags of similar items."
)
@click.option("--detector", type=_FOLDER, default=None, help="Detector whose predictions the report shows.")
@click.option("--sheets", type=click.IntRange(0), default=24, show_default=True, help="Photos shown in the report.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", is_flag=True, help="Show no progress bars.")
def boxes(events: tuple[str, ...], *, photos: str, root: str | None, out: Path, as_json: bool, **given: Any) -> None:
    """Make a data set for training a detector from EVENTS: files, folders or URIs of exported events."""
    from handlens_conversion.pipeline.job import JobInputs
    from handlens_conversion.pipeline.run import RunOptions, run

    if given["no_pictures"] and (given["gate"] or given["neighbours"]):
        raise TrainingDataError("--gate and --neighbours look at pictures: leave --no-pictures away")
    if given["val"] + given["test"] >= 1:
        raise TrainingDataError("--val and --test leave nothing to train on: their sum must be below 1")
    for name in ("gate", "neighbours", "detector"):
        if given[name] is not None and not (given[name] / "model.json").is_file():
            raise TrainingDataError(f"--{name}: {given[name]} is no model folder (it has no model.json): name another")
    options = RunOptions(
        master=given["master"],
        driver_memory=given["driver_memory"],
        executor_memory=given["executor_memory"],
        spark=given["extra"],
        unseen=given["no_pictures"],
        gate=given["gate"],
        neighbours=given["neighbours"],
        detector=given["detector"],
        sheets=given["sheets"],
        progress=not given["quiet"],
    )
    made = run(JobInputs(events, photos, root or _folder_of(photos)), out, _rules(given), options)
    if as_json:
        told = {"folder": str(made.folder), "seconds": made.seconds, "datasheet": made.sheet}
        click.echo(json.dumps(told, indent=1, ensure_ascii=False))
        return
    for line in _lines(made.sheet):
        click.echo(line)
    click.echo(made.folder)


def _rules(given: dict[str, Any]) -> Any:
    from handlens_conversion.pipeline.groups import SplitRules
    from handlens_conversion.pipeline.job import JobRules

    rules = JobRules(split=SplitRules(val=given["val"], test=given["test"]), max_bad=given["max_bad"])
    rules = replace(rules, photo=replace(rules.photo, places=not given["no_places"]))
    if given["min_users"] is None:
        return rules
    consensus = replace(rules.photo.consensus, min_users=given["min_users"])
    return replace(rules, photo=replace(rules.photo, consensus=consensus))


def _folder_of(path: str) -> str:
    return path.rsplit("/", 1)[0] if "/" in path else "."


def _lines(sheet: dict[str, Any]) -> list[str]:
    rows = sheet["rows"]
    lines = [f"{rows['read']} rows: {rows['used']} boxes used, {rows['left_out']} left out"]
    lines += [f"  {one['count']:>8} {name}" for name, one in sheet["left_out"].items()]
    lines += [f"{side}: {sheet['photos'][side]} photos, {count} objects" for side, count in sheet["objects"].items()]
    return lines
