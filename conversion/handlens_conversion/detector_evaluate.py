"""Measures a detector model on labelled photos, beside the float model it was made from, and writes parity.json.

Everything runs through the SDK's own `Detector`, so the figures are what users get: the photo is decoded, scaled and
decoded from heat map to boxes by the same code as on a device.

Rules:

* Quality is measured on the split `val`, which the network's training did not see; thresholds are read from `train`.
* Latencies are medians of runs that alternate between the model and its parent in one process, so that another load
  on the machine hits both; the ratio is the figure to read. The load average is reported with them.
* Runtimes are compared by their raw outputs on the same pixels.

Use::

    report = evaluate(Path("models/detector"), Path("data"), runtimes=("litert",), float_parent=Path("float.tflite"))
    report.quality[0].precision.map
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from handlens.errors import DecodeError, ModelError
from handlens.geometry import Box
from handlens.vision.detector import Detector
from handlens.vision.image import load_photo
from handlens.vision.runtime import Session
from handlens.wire.fields import load_object
from handlens_conversion.detector_metrics import (
    OperatingPoint,
    Precision,
    ScoredPhoto,
    Truth,
    average_precision,
    operating_point,
)
from handlens_conversion.files import write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DetectorReport", "Latency", "Parity", "Quality", "evaluate", "load_rows"]

MIN_SCORE = 0.01  # average precision looks at detections far below what a user is shown
LIMIT = 100  # detections a photo, as COCO's rules say
SHOWN = 10  # detections a photo in the figures of what a user sees
SCORES = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4)


@dataclass(frozen=True, slots=True)
class LabelledPhoto:
    """A photo of the evaluation set: its file, (width, height) in pixels, and what is in it."""

    path: Path
    size: tuple[int, int]
    truths: tuple[Truth, ...]


@dataclass(frozen=True, slots=True)
class Quality:
    """Average precision of one model on one runtime on the split `val`. `model` is "quantized" or "float parent"."""

    model: str
    runtime: str
    precision: Precision


@dataclass(frozen=True, slots=True)
class Latency:
    """Medians over alternating runs, in milliseconds, input filling included. Without a parent its fields are None."""

    runtime: str
    threads: int
    model_ms: float
    parent_ms: float | None
    runs: int

    @property
    def ratio(self) -> float | None:
        """The model's time divided by its parent's."""
        return None if self.parent_ms is None else self.model_ms / self.parent_ms


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the outputs of two runtimes (or of the model and its parent) lie apart on the same pixels.

    Scores are of the heat map, over all cells; distances are in input pixels, over cells that score at least 0.1.
    """

    first: str
    second: str
    photos: int
    score_max: float
    score_mean: float
    distance_max: float
    distance_mean: float


@dataclass(frozen=True, slots=True)
class DetectorReport:
    """All figures of one evaluation; `to_dict` is what parity.json holds."""

    size: int
    parent_size: int | None
    sha256: str
    photos: int
    objects: int
    quality: tuple[Quality, ...]
    latency: tuple[Latency, ...]
    parity: tuple[Parity, ...]
    labelled: tuple[OperatingPoint, ...]
    boxes: tuple[OperatingPoint, ...]
    machine: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON values, rounded to what the measurement carries."""
        record = _rounded(asdict(self))
        for row, latency in zip(record["latency"], self.latency, strict=True):
            row["ratio"] = _rounded(latency.ratio)
        return {"format": 1, "command": "handlens-convert evaluate detector --data DIR", **record}


def evaluate(
    model_dir: Path,
    data: Path,
    *,
    runtimes: Sequence[str] = ("litert",),
    float_parent: Path | None = None,
    threads: Sequence[int] = (1, 2),
    runs: int = 60,
    progress: bool = True,
) -> DetectorReport:
    """Measure the model in `model_dir`, write `parity.json` beside it, and return the figures.

    Args:
        model_dir: Folder with model.json and model.tflite.
        data: Folder with `detection/coco.jsonl` and the images it names.
        runtimes: Names of the runtimes to measure on: litert, tflite.
        float_parent: The float .tflite file that the model was made from; without it nothing is compared with it.
        threads: Thread counts to measure latency with.
        runs: Timed runs of each model, runtime and thread count.
        progress: Show progress bars on standard error.

    Raises:
        ModelError: a model or a runtime is missing or damaged, or the data is.
    """
    val, train = load_rows(data, "val"), load_rows(data, "train")
    with tempfile.TemporaryDirectory() as scratch:
        models = {"quantized": model_dir}
        if float_parent is not None:
            models["float parent"] = _parent_folder(model_dir, float_parent, Path(scratch))
        quality = [
            _quality(name, folder, runtime, val, progress) for runtime in runtimes for name, folder in models.items()
        ]
        report = DetectorReport(
            size=(model_dir / _spec(model_dir)["file"]).stat().st_size,
            parent_size=None if float_parent is None else float_parent.stat().st_size,
            sha256=_spec(model_dir)["sha256"],
            photos=len(val),
            objects=sum(len(photo.truths) for photo in val),
            quality=tuple(quality),
            latency=tuple(_latency(models, runtime, count, val, runs) for runtime in runtimes for count in threads),
            parity=tuple(_parities(models, runtimes, val)),
            **_operating_points(model_dir, runtimes[0], train, progress),
            machine=_machine(runtimes, model_dir),
        )
    write_json(model_dir / "parity.json", report.to_dict())
    return report


def load_rows(data: Path, split: str) -> tuple[LabelledPhoto, ...]:
    """Read the photos of one split of `detection/coco.jsonl`.

    Raises:
        ModelError: the file is missing or malformed, or the split is empty.
    """
    path = data / "detection" / "coco.jsonl"
    try:
        lines = path.read_bytes().splitlines()
        rows = [load_object(line, what=f"{path}, line {at}") for at, line in enumerate(lines, start=1)]
        photos = tuple(_labelled(row, data) for row in rows if row["split"] == split)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}): name the data's folder with --data") from error
    except (DecodeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelError(f"{path} is not a list of labelled photos ({error!r}): get the data again") from error
    if not photos:
        raise ModelError(f"{path} has no photo of the split {split!r}: get the data again")
    return photos


def _labelled(row: Mapping[str, Any], data: Path) -> LabelledPhoto:
    width, height = row["width"], row["height"]
    boxes = (
        (Box.clipped(x0 / width, y0 / height, x1 / width, y1 / height), label) for x0, y0, x1, y1, label in row["boxes"]
    )
    truths = tuple(Truth(box, label) for box, label in boxes if box is not None)
    return LabelledPhoto(data / row["image"], (width, height), truths)


def _parent_folder(model_dir: Path, parent: Path, scratch: Path) -> Path:
    """Make a model folder for the float parent: its decoding is the model's own, so only the network differs."""
    from handlens_conversion.detector_build import describe

    folder = scratch / "parent"
    folder.mkdir()
    try:
        shutil.copyfile(parent, folder / "model.tflite")
    except OSError as error:
        raise ModelError(f"{parent} cannot be read ({error.strerror}): build the float model first") from error
    described = describe((folder / "model.tflite").read_bytes())
    (folder / "model.json").write_text(
        json.dumps({**described, "decode": _spec(model_dir)["decode"]}), encoding="utf-8"
    )
    return folder


def _spec(model_dir: Path) -> dict[str, Any]:
    try:
        return load_object((model_dir / "model.json").read_bytes(), what=str(model_dir / "model.json"))
    except OSError as error:
        raise ModelError(f"{model_dir} has no readable model.json ({error.strerror}): build the model first") from error


def _quality(name: str, folder: Path, runtime: str, photos: Sequence[LabelledPhoto], progress: bool) -> Quality:
    detector = Detector.open(folder, runtime=runtime)
    scored = _detect(detector, photos, progress=progress, title=f"{name} on {runtime}", per_label=True)
    return Quality(name, runtime, average_precision(scored, labels=detector.spec.labels))


def _detect(
    detector: Detector,
    photos: Iterable[LabelledPhoto],
    *,
    progress: bool,
    title: str,
    per_label: bool,
    limit: int = LIMIT,
    min_score: float = MIN_SCORE,
) -> list[ScoredPhoto]:
    from tqdm import tqdm

    return [
        ScoredPhoto(
            photo.size,
            photo.truths,
            detector.detect(load_photo(photo.path), limit=limit, min_score=min_score, per_label=per_label),
        )
        for photo in tqdm(photos, desc=title, unit="photo", disable=not progress)
    ]


def _operating_points(
    folder: Path, runtime: str, photos: Sequence[LabelledPhoto], progress: bool
) -> dict[str, tuple[OperatingPoint, ...]]:
    detector = Detector.open(folder, runtime=runtime)
    scored = _detect(
        detector, photos, progress=progress, title="scores", per_label=False, limit=SHOWN, min_score=min(SCORES)
    )
    return {
        "labelled": tuple(operating_point(scored, min_score=score) for score in SCORES),
        "boxes": tuple(operating_point(scored, min_score=score, same_label=False) for score in SCORES),
    }


def _latency(
    models: Mapping[str, Path], runtime: str, threads: int, photos: Sequence[LabelledPhoto], runs: int
) -> Latency:
    sessions = [Session.open(folder, "detector", threads=threads, runtime=runtime) for folder in models.values()]
    pixels = _pixels(photos[0], sessions[0])
    times: list[list[float]] = [[] for _ in sessions]
    for turn in range(runs + 3):
        for session, taken in zip(sessions, times, strict=True):
            start = time.perf_counter()
            session.run(pixels, lambda outputs: None)
            # The first runs pack weights and grow caches.
            if turn >= 3:
                taken.append(1000 * (time.perf_counter() - start))
    medians = [statistics.median(taken) for taken in times]
    return Latency(runtime, threads, medians[0], medians[1] if len(medians) > 1 else None, runs)


def _pixels(photo: LabelledPhoto, session: Session) -> NDArray[np.uint8]:
    image = session.spec.input
    return load_photo(photo.path).pixels(size=(image.width, image.height), resample=image.resample)


def _parities(models: Mapping[str, Path], runtimes: Sequence[str], photos: Sequence[LabelledPhoto]) -> Iterable[Parity]:
    opened = {
        (name, runtime): Session.open(folder, "detector", runtime=runtime)
        for name, folder in models.items()
        for runtime in runtimes
    }
    first, *others = opened
    shown = photos[:20]
    for other in others:
        if other[0] == first[0] or other[1] == first[1]:
            yield _parity(f"{first[0]} on {first[1]}", f"{other[0]} on {other[1]}", opened[first], opened[other], shown)


def _parity(first: str, second: str, one: Session, two: Session, photos: Sequence[LabelledPhoto]) -> Parity:
    scores: list[NDArray[np.float32]] = []
    distances: list[NDArray[np.float32]] = []
    for photo in photos:
        pixels = _pixels(photo, one)
        (heat, reach), (other_heat, other_reach) = _outputs(one, pixels), _outputs(two, pixels)
        scores.append(np.abs(heat - other_heat).ravel())
        distances.append(np.abs(reach - other_reach)[heat.max(axis=2) >= 0.1].ravel())
    heat_gaps, gaps = np.concatenate(scores), np.concatenate(distances)
    return Parity(
        first,
        second,
        len(photos),
        float(heat_gaps.max()),
        float(heat_gaps.mean()),
        float(gaps.max()),
        float(gaps.mean()),
    )


def _outputs(session: Session, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return session.run(pixels, lambda outputs: (outputs["heatmap"].real(), outputs["distances"].real()))


def _machine(runtimes: Sequence[str], folder: Path) -> dict[str, Any]:
    opened = {name: str(Session.open(folder, "detector", runtime=name).runtime) for name in runtimes}
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "runtimes": opened,
        "load_average": round(os.getloadavg()[0], 1),
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {name: _rounded(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    return value
