"""``handlens-convert train detector`` and ``handlens-convert models publish``: from a command line to `run`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from handlens.errors import TrainingDataError
from handlens_conversion.packages import default_cache
from handlens_conversion.training.records import TrainingOptions

__all__ = ["publish", "train_detector"]

_FOLDER = click.Path(path_type=Path, file_okay=False)
_DEFAULTS = TrainingOptions()


def _default(name: str) -> dict[str, Any]:
    return {"default": getattr(_DEFAULTS, name), "show_default": True}


@click.command("detector")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--out", type=_FOLDER, required=True, help="Folder to write: detector/ and taxonomy.json.")
@click.option(
    "--models",
    type=_FOLDER,
    default=Path("models"),
    show_default=True,
    help="The detector to start from, its taxonomy.",
)
@click.option("--photos", type=_FOLDER, default=None, help="Folder that file names start from. [default: DATASET's]")
@click.option(
    "--guard",
    type=click.Path(path_type=Path),
    default=None,
    help="Photos with boxes of the old labels (COCO JSON or JSONL). [default: what it finds in DATASET]",
)
@click.option("--guard-photos", type=_FOLDER, default=None, help="Folder that the guard's file names start from.")
@click.option("--background", type=_FOLDER, default=None, help="Folder of photos with nothing of the new labels.")
@click.option("--type", "types", multiple=True, metavar="LABEL=TYPE", help="Object type of a new label; repeat.")
@click.option("--seed", type=int, **_default("seed"))
@click.option("--epochs", type=click.IntRange(1), **_default("epochs"), help="Passes over all cells.")
@click.option("--views", type=click.IntRange(1, 200), **_default("views"), help="Views of each photo.")
@click.option("--no-mirror", is_flag=True, help="Mirror no photo.")
@click.option("--directed", multiple=True, metavar="LABEL", help="Mirror no photo with this label, as 'turn left'.")
@click.option("--least-photos", type=click.IntRange(1), **_default("least_photos"), help="Photos that a label needs.")
@click.option("--least-ap50", type=click.FloatRange(0, 1), **_default("least_ap50"), help="Below it, refuse.")
@click.option("--most-map-lost", type=click.FloatRange(0, 1), **_default("most_map_lost"), help="Above it, refuse.")
@click.option("--most-shown-lost", type=click.FloatRange(0, 1), **_default("most_shown_lost"), help="Above it, refuse.")
@click.option("--cache", type=_FOLDER, default=None, help="Folder of features and states. [default: the user's cache]")
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", is_flag=True, help="Show no progress bars.")
def train_detector(
    dataset: Path,
    *,
    out: Path,
    models: Path,
    photos: Path | None,
    guard: Path | None,
    guard_photos: Path | None,
    background: Path | None,
    types: tuple[str, ...],
    cache: Path | None,
    threads: int,
    as_json: bool,
    quiet: bool,
    no_mirror: bool,
    **settings: Any,
) -> None:
    """Teach the detector the labels of DATASET that it lacks: COCO JSON, or a folder with train.json and val.json.

    Stopped and run again, it goes on where it was. A result that is worse than the detector it came from is refused.
    """
    from handlens_conversion.training import run

    options = TrainingOptions(mirror=not no_mirror, **settings)
    found = run.train_detector(
        dataset,
        out,
        models=models,
        cache=cache or default_cache(),
        photos=photos,
        guard=guard,
        guard_photos=guard_photos,
        background=background,
        types=dict(_pair(text) for text in types),
        options=options,
        threads=threads,
        progress=not quiet,
    )
    figures = asdict(found.judgement)
    if as_json:
        click.echo(json.dumps({"out": str(out), "labels": found.labels, "size": found.size, **figures}))
        return
    judged = found.judgement
    click.echo(f"{out}: {', '.join(found.labels)}, AP50 {judged.new.ap50:.3f} on {judged.held_out} photos held out")
    click.echo(f"old labels, mAP on the guard photos: {judged.old_map[0]:.3f} -> {judged.old_map[1]:.3f}")
    click.echo(f"next: handlens-convert models publish {out} --models MODELS")


@click.command()
@click.argument("folder", type=_FOLDER)
@click.option(
    "--models",
    type=_FOLDER,
    default=Path("models"),
    show_default=True,
    help="Folder that the server makes releases of: 'handlens-server release publish --models'.",
)
def publish(folder: Path, *, models: Path) -> None:
    """Put the trained detector of FOLDER where the server takes models from, after checking it."""
    from handlens_conversion.training.publish import publish_detector

    former, new = publish_detector(folder, models)
    click.echo(f"{models / 'detector'}: {former} -> {new}")
    click.echo(f"next: handlens-server release publish --models {models} --percent 5")


def _pair(text: str) -> tuple[str, str]:
    label, sign, kind = text.rpartition("=")
    if not sign or not label.strip():
        raise TrainingDataError(f"--type {text!r} is not understood: write it as LABEL=TYPE")
    return label.strip(), kind.strip()
