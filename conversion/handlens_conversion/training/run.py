"""A detector is trained: the steps in order.

Rules:

* Everything that can be wrong with the input is found before the first photo is computed.
* `out` appears whole: it is made beside its place and moved there at the end. A refused or stopped training leaves what
  was there, and the features and the state of training in the cache, from which the same command goes on.

::

    result = train_detector(Path("datasets/signs"), Path("trained"), models=Path("models"), cache=default_cache(),
                            types={"windmill": "place"}, guard=Path("guard.json"))
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from handlens.errors import TrainingDataError
from handlens.vision.detector import Detector
from handlens_conversion.files import write_json, write_whole
from handlens_conversion.training.cache import cached_cells
from handlens_conversion.training.card import render_card
from handlens_conversion.training.cells import Cells, FeatureReader, join
from handlens_conversion.training.coco import read_background, read_dataset, read_guard, require_photos
from handlens_conversion.training.folder import Base, describe, extend_taxonomy, open_base, types_of
from handlens_conversion.training.head import Head
from handlens_conversion.training.judging import Judgement, RefusedError, guard_of, judge
from handlens_conversion.training.learning import learn
from handlens_conversion.training.records import BoxedPhoto, Dataset, Rows, TrainingOptions

__all__ = ["Trained", "train_detector"]

_PARTS = ("model.tflite", "model.json", "CARD.md", "training.json")


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained detector's folder, its labels, and its figures."""

    folder: Path
    labels: tuple[str, ...]
    judgement: Judgement
    size: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """What will be trained: checked."""

    base: Base
    head: Head
    data: Dataset
    types: Mapping[str, str]
    guard: Sequence[BoxedPhoto]
    own_guard: bool  # the guard is what the base finds on the data's own photos


def train_detector(
    dataset: Path,
    out: Path,
    *,
    models: Path,
    cache: Path,
    photos: Path | None = None,
    guard: Path | None = None,
    guard_photos: Path | None = None,
    background: Path | None = None,
    types: Mapping[str, str] | None = None,
    options: TrainingOptions | None = None,
    threads: int = 2,
    progress: bool = True,
) -> Trained:
    """Teach the detector in `models` the labels of a data set, and write detector/ and taxonomy.json into `out`.

    Args:
        dataset: COCO JSON, or a folder with train.json and val.json, see `coco`.
        out: Folder to write; what an earlier training put there is replaced whole, and only if the new one is good.
        models: Folder of the base: detector/ and taxonomy.json.
        cache: Folder of features and states.
        photos: Folder that the data set's file names start from; that of the JSON file when None.
        guard: Photos of the old labels, with boxes; without them those of the data set, see `judging.guard_of`.
        guard_photos: Folder that the guard's file names start from; that of its file when None.
        background: Folder of photos that hold nothing of the new labels. Without them a label that was only seen on its
            own kind of photo fires on others.
        types: Object types of labels, before those that the data set names.
        options: Seed, amount of training, limits.
        threads: Threads of the network and of torch.
        progress: Show progress bars on standard error.

    Raises:
        TrainingDataError: the data cannot be trained with. RefusedError: the result is worse than the base.
        ModelError: the base is missing, damaged or cannot be taught. ImageError: a photo cannot be read.
    """
    options = options or TrainingOptions()
    _require_room(out)
    plan = _plan(dataset, models, photos, guard, guard_photos, background, types or {}, options)
    keys, cells = _features(plan, options, cache / "detector-cells", threads, progress)
    key = hashlib.sha256(json.dumps([keys, asdict(options), threads]).encode()).hexdigest()
    rows = _learned(plan, cells, options, cache / "detector-training" / f"{key[:32]}.pt", key, threads, progress)
    return _finished(plan, rows, out, options, key, progress)


def _plan(
    dataset: Path,
    models: Path,
    photos: Path | None,
    guard: Path | None,
    guard_photos: Path | None,
    background: Path | None,
    types: Mapping[str, str],
    options: TrainingOptions,
) -> _Plan:
    base = open_base(models)
    head = Head.open(base.data).only_rows(range(base.protected))
    data = _new_labels(read_dataset(dataset, photos=photos), base, options)
    typed = types_of(data.labels, given=types, named=data.types, base=base.taxonomy)
    photos_of_data = (*data.train, *data.held_out)
    if background is not None:
        data = replace(data, train=_with_background(data, read_background(background)))
    watched = () if guard is None else read_guard(guard, photos=guard_photos)
    require_photos([*photos_of_data, *watched])
    watched = watched or guard_of(Detector.open(base.folder), photos_of_data)
    return _Plan(base, head, data, typed, watched, guard is None)


def _new_labels(data: Dataset, base: Base, options: TrainingOptions) -> Dataset:
    """The data set with the boxes of labels that may be taught; boxes of the base's own labels are background."""
    old = set(base.spec.labels[: base.protected])
    labels = tuple(label for label in data.labels if label not in old)
    if not labels:
        raise TrainingDataError(
            f"all labels of the data set ({', '.join(data.labels)}) are the detector's own, which training leaves "
            "as they are: give boxes of labels that it lacks"
        )
    _check_directed(options, labels)
    counts = Counter(label for photo in data.train for label in set(photo.labels))
    few = [f"{label} ({counts[label]})" for label in labels if counts[label] < options.least_photos]
    if few:
        raise TrainingDataError(
            f"too few photos to train with: {', '.join(few)}, wanted {options.least_photos} of each: draw more, leave "
            "the label out, or ask for less with --least-photos"
        )
    if not any(set(photo.labels) & set(labels) for photo in data.held_out):
        raise TrainingDataError(
            "no photo held out has a label that is trained: the result could not be measured. Put more photos into "
            "val.json or test.json"
        )
    return replace(
        data,
        train=tuple(_only(photo, labels) for photo in data.train),
        held_out=tuple(_only(photo, labels) for photo in data.held_out),
        labels=labels,
    )


def _with_background(data: Dataset, photos: Sequence[BoxedPhoto]) -> tuple[BoxedPhoto, ...]:
    """The photos to train with and those that are not among the data set's own."""
    own = {photo.path.resolve() for photo in (*data.train, *data.held_out)}
    return (*data.train, *(photo for photo in photos if photo.path.resolve() not in own))


def _check_directed(options: TrainingOptions, labels: Sequence[str]) -> None:
    stray = sorted(set(options.directed) - set(labels))
    if stray:
        raise TrainingDataError(
            f"--directed names {', '.join(stray)}, which is not trained: trained are {', '.join(labels)}"
        )


def _only(photo: BoxedPhoto, labels: Sequence[str]) -> BoxedPhoto:
    kept = [at for at, label in enumerate(photo.labels) if label in labels]
    return replace(photo, boxes=photo.boxes[kept], labels=tuple(photo.labels[at] for at in kept))


def _features(
    plan: _Plan, options: TrainingOptions, folder: Path, threads: int, progress: bool
) -> tuple[list[str], Cells]:
    found = cached_cells(
        plan.data.train,
        plan.data.labels,
        options,
        network=hashlib.sha256(plan.head.features_model()).hexdigest(),
        folder=folder,
        reader=lambda: FeatureReader(plan.head, plan.base.spec, threads=threads),
    )
    bar = tqdm(found, desc="features", unit="photo", total=len(plan.data.train), disable=not progress)
    pairs = list(bar)
    return [key for key, _ in pairs], join([cells for _, cells in pairs])


def _learned(
    plan: _Plan, cells: Cells, options: TrainingOptions, state: Path, key: str, threads: int, progress: bool
) -> Rows:
    with tqdm(desc="training", unit="epoch", total=options.epochs, disable=not progress) as bar:

        def report(epoch: int, loss: float) -> None:
            bar.update(epoch + 1 - bar.n)
            bar.set_postfix_str(f"loss {loss:.3f}")

        return learn(
            cells,
            plan.data.labels,
            scale=plan.head.scale,
            options=options,
            state=state,
            key=key,
            threads=threads,
            report=report,
        )


def _finished(plan: _Plan, rows: Rows, out: Path, options: TrainingOptions, key: str, progress: bool) -> Trained:
    network = plan.head.with_rows(rows)
    record = describe(plan.base, network, rows.labels, _training_record(plan.data, key, options))
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    folder = partial / "detector"
    try:
        folder.mkdir(parents=True)
        write_whole(folder / record["file"], network)
        write_json(folder / "model.json", record)
        judgement = judge(
            Detector.open(plan.base.folder),
            Detector.open(folder),
            labels=rows.labels,
            held_out=plan.data.held_out,
            guard=plan.guard,
            own_guard=plan.own_guard,
            progress=progress,
        )
        reasons = judgement.reasons(options)
        if reasons:
            raise RefusedError(f"the trained detector is refused, {out} is as it was: {'; '.join(reasons)}")
        card = render_card(plan.base, record, judgement, types=plan.types, licences=plan.data.licences)
        write_whole(folder / "CARD.md", card.encode())
        write_json(folder / "training.json", {**_training_record(plan.data, key, options), **_figures(judgement)})
        write_json(partial / "taxonomy.json", extend_taxonomy(plan.base.taxonomy, plan.types))
        _move(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Trained(out, rows.labels, judgement, len(network))


def _training_record(data: Dataset, key: str, options: TrainingOptions) -> dict[str, Any]:
    content = [[photo.path.name, np.round(photo.boxes, 6).tolist(), photo.labels] for photo in data.train]
    return {
        "labels": list(data.labels),
        "photos": len(data.train),
        "objects": sum(len(photo.labels) for photo in data.train),
        "data_sha256": hashlib.sha256(json.dumps(content).encode()).hexdigest(),
        "key": key,
        "options": asdict(options),
    }


def _figures(judgement: Judgement) -> dict[str, Any]:
    return {"figures": json.loads(json.dumps(asdict(judgement)))}


def _move(partial: Path, out: Path) -> None:
    """Put a finished folder in its place; only files of an earlier training are taken away."""
    _require_room(out)
    if out.exists():
        old = out.with_name(f".{out.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(out, old)
        os.replace(partial, out)
        shutil.rmtree(old)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        os.replace(partial, out)


def _require_room(out: Path) -> None:
    if out.exists() and not _is_ours(out):
        raise TrainingDataError(f"{out} holds other files than a trained detector: name a new folder with --out")


def _is_ours(out: Path) -> bool:
    names = {str(path.relative_to(out)) for path in out.rglob("*")} if out.is_dir() else {""}
    return names <= {"detector", "taxonomy.json", *(str(Path("detector", part)) for part in _PARTS)}
