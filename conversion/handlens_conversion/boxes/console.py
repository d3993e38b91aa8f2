"""The command ``handlens-convert simulate``: messy events from true boxes."""

from __future__ import annotations

import json
from pathlib import Path

import click

from handlens_conversion.boxes.noise import NOISES, noise_of
from handlens_conversion.boxes.simulate import SimulationOptions
from handlens_conversion.boxes.simulation_files import FORMATS, write_simulation
from handlens_conversion.boxes.truth import load_truth

__all__ = ["simulate"]

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)


class _Change(click.ParamType[tuple[str, float]]):
    """``NAME=NUMBER``."""

    name = "change"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        name, _, number = str(value).partition("=")
        try:
            return name, float(number)
        except ValueError:
            self.fail(f"{value!r} is not NAME=NUMBER, such as random_share=0.3", param, ctx)


@click.command()
@click.argument("truth", type=_FILE)
@click.option("--out", type=_FOLDER, required=True, help="A new folder for events, truth and simulation.json.")
@click.option("--events", type=click.IntRange(1), default=10_000, show_default=True, help="Boxes to draw.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--photos", type=click.IntRange(1), default=None, help="Photos to draw on. [default: those of TRUTH]")
@click.option("--users", type=click.IntRange(1), default=None, help="People who draw. [default: one for ten boxes]")
@click.option("--noise", type=click.Choice(sorted(NOISES)), default="messy", show_default=True, help="Noise model.")
@click.option(
    "--set", "changes", type=_Change(), multiple=True, metavar="NAME=NUMBER", help="Change a number of the noise model."
)
@click.option("--skew-photo", type=click.IntRange(0), default=0, help="So many of the boxes are on one photo.")
@click.option("--skew-user", type=click.IntRange(0), default=0, help="So many of the boxes are by one person.")
@click.option("--format", "file_format", type=click.Choice(FORMATS), default="jsonl.gz", show_default=True)
@click.option("--shard", type=click.IntRange(1), default=1_000_000, show_default=True, help="Boxes a file.")
@click.option("--quiet", is_flag=True, help="Show no progress bar.")
def simulate(
    truth: Path,
    *,
    out: Path,
    events: int,
    seed: int,
    photos: int | None,
    users: int | None,
    noise: str,
    changes: tuple[tuple[str, float], ...],
    skew_photo: int,
    skew_user: int,
    file_format: str,
    shard: int,
    quiet: bool,
) -> None:
    """Draw messy boxes as simulated users would on the photos of TRUTH, and write them as the server exports events.

    TRUTH holds JSON lines with image, width, height and boxes [left, top, right, bottom, word] in pixels.
    """
    options = SimulationOptions(
        events=events,
        seed=seed,
        photos=photos,
        users=users,
        skew_photo=skew_photo,
        skew_user=skew_user,
        noise=noise_of(noise, dict(changes)),
    )
    record = write_simulation(
        load_truth(truth), out, options, file_format=file_format, shard_events=shard, progress=not quiet
    )
    click.echo(json.dumps({"out": str(out), "kinds": record["kinds"], "broken": record["broken"]}))
