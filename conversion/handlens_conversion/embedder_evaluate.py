"""Measures the embedder: retrieval through the SDK, int8 against float, runtime against runtime, and latency.

Rules:

* The int8 figures come through `handlens.vision.embedder.Embedder` and `handlens.vision.image`, as on a device.
* The float parent is made again from the packages and the head; it and the PCA that stands beside it are run on the
  same pixels. The PCA is fitted on the head's own training photographs.
* A second runtime is compared with the first on a sample, since it may be a hundred times slower.

Use::

    report = evaluate(Path("models/embedder"), data=Path("data"), cache=default_cache())
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from handlens.vision.embedder import Embedder
from handlens.vision.image import load_photo
from handlens_conversion.embedder_features import Features, extract
from handlens_conversion.embedder_head import Head, load_head
from handlens_conversion.embedder_parent import HEAD_FILE, float_features
from handlens_conversion.embedder_temperature import fit_temperature, named_classes
from handlens_conversion.embedder_train import pca
from handlens_conversion.parity import machine
from handlens_conversion.retrieval_data import SETS, RetrievalSet, Row, load_set, training_photos
from handlens_conversion.retrieval_metrics import Figures, cosines, measure, rank

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PCA_TAPS", "evaluate", "figures_of"]

SAMPLE = 100  # photographs that a second runtime is compared on
_RUNS = 60  # a latency
_PLAIN_RESAMPLE = "bilinear"
PCA_TAPS = ("top",)  # the network's last features, as they are used without a head


@dataclass(frozen=True, slots=True)
class _Answers:
    """What one runtime says of each photograph: unit vectors (n, dim), and the best labels, best first."""

    runtime: str
    vectors: NDArray[np.float32]
    labels: tuple[tuple[str, ...], ...]


def evaluate(
    folder: Path,
    *,
    data: Path,
    cache: Path,
    runtimes: Sequence[str] = ("litert",),
    threads: int = 2,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure the embedder in `folder` on the retrieval sets in `data`.

    Returns:
        The sections of `parity.json`: retrieval, agreement, runtimes, temperature, latency, machine.

    Raises:
        ModelError: the model, its head, a runtime or the data cannot be used.
        ImageError: a photograph cannot be read.
    """
    sets = [load_set(data, name) for name in SETS]
    rows = [row for one in sets for row in (*one.gallery, *one.queries)]
    files = [data / row.image for row in rows]
    head = load_head(folder / HEAD_FILE)
    answers = _ask(folder, files, runtimes[0], threads, progress)
    features_model = float_features(cache)
    features = extract(files, model=features_model, cache=cache, what="float", threads=threads, progress=progress)
    taught = [data / photo.image for photo in training_photos(data)]
    known = extract(taught, model=features_model, cache=cache, what="PCA", threads=threads, progress=progress)
    vectors = {
        "int8": answers.vectors,
        "float": head.apply(features.of(head.taps)),
        "pca": pca(known.of(PCA_TAPS), PCA_TAPS, dim=head.dim).apply(features.of(PCA_TAPS)),
    }
    labels = Embedder.open(folder, threads=threads, runtime=runtimes[0]).spec.labels
    return {
        "retrieval": _retrieval(sets, vectors),
        "resampling": _resampling(folder, sets, files, answers, threads, progress),
        "agreement": _agreement(answers, head, features, labels),
        "runtimes": _runtimes(folder, files, answers, runtimes, threads, progress),
        "temperature": _temperature(rows, features, labels),
        "latency": [row for name in runtimes for row in _latency(folder, files[0], name)],
        "machine": machine(),
    }


def figures_of(one: RetrievalSet, gallery: NDArray[np.float32], queries: NDArray[np.float32]) -> Figures:
    """Figures of a set from the vectors of its gallery and of its queries, in the order of its rows."""
    return measure(
        rank(queries, gallery),
        queries=[row.label for row in one.queries],
        gallery=[row.label for row in one.gallery],
        query_types=[row.object_type for row in one.queries],
        gallery_types=[row.object_type for row in one.gallery],
    )


def _ask(folder: Path, files: Sequence[Path], runtime: str, threads: int, progress: bool) -> _Answers:
    from tqdm import tqdm

    embedder = Embedder.open(folder, threads=threads, runtime=runtime)
    asked = [
        embedder.embed(load_photo(file), labels=5)
        for file in tqdm(files, desc=embedder.runtime, unit="photo", disable=not progress)
    ]
    return _Answers(
        runtime=embedder.runtime,
        vectors=np.concatenate([answer.vectors for answer in asked]),
        labels=tuple(tuple(label for label, _ in answer.label_scores[0]) for answer in asked),
    )


def _retrieval(sets: Sequence[RetrievalSet], vectors: dict[str, NDArray[np.float32]]) -> dict[str, Any]:
    report: dict[str, Any] = {}
    start = 0
    for one in sets:
        middle, end = start + len(one.gallery), start + len(one.gallery) + len(one.queries)
        report[one.name] = {
            name: figures_of(one, found[start:middle], found[middle:end]).to_dict() for name, found in vectors.items()
        }
        start = end
    return report


def _resampling(
    folder: Path, sets: Sequence[RetrievalSet], files: Sequence[Path], answers: _Answers, threads: int, progress: bool
) -> dict[str, dict[str, float]]:
    """R@1 of the int8 model with the resampling that its model.json names, and with bilinear beside it."""
    named = Embedder.open(folder, threads=threads).spec.input.resample
    vectors = {named: answers.vectors}
    if named != _PLAIN_RESAMPLE:
        with tempfile.TemporaryDirectory() as scratch:
            other = _with_resample(folder, Path(scratch), _PLAIN_RESAMPLE)
            vectors[_PLAIN_RESAMPLE] = _ask(other, files, "auto", threads, progress).vectors
    return {
        name: {set_name: kinds[name]["recall_at_1"] for set_name, kinds in _retrieval(sets, vectors).items()}
        for name in vectors
    }


def _with_resample(folder: Path, scratch: Path, resample: str) -> Path:
    """A copy of a model folder that differs in how photos are resampled."""
    spec = json.loads((folder / "model.json").read_bytes())
    spec["input"]["resample"] = resample
    (scratch / "model.json").write_text(json.dumps(spec), encoding="utf-8")
    shutil.copy(folder / spec["file"], scratch)
    return scratch


def _agreement(answers: _Answers, head: Head, features: Features, labels: Sequence[str]) -> dict[str, float]:
    """How near the int8 model is to its float parent."""
    cosine = cosines(answers.vectors, head.apply(features.of(head.taps)))
    best = np.argsort(-features.logits, axis=1, kind="stable")[:, :5]
    expected = [[labels[number] for number in row] for row in best]
    top1 = [found[0] == wanted[0] for found, wanted in zip(answers.labels, expected, strict=True)]
    top5 = [wanted[0] in found for found, wanted in zip(answers.labels, expected, strict=True)]
    return {
        "photos": len(cosine),
        "cosine_mean": round(float(cosine.mean()), 4),
        "cosine_1st_percentile": round(float(np.percentile(cosine, 1)), 4),
        "cosine_min": round(float(cosine.min()), 4),
        "same_top_1": round(float(np.mean(top1)), 4),
        "float_top_1_in_top_5": round(float(np.mean(top5)), 4),
    }


def _runtimes(
    folder: Path, files: Sequence[Path], first: _Answers, runtimes: Sequence[str], threads: int, progress: bool
) -> list[dict[str, Any]]:
    """Each further runtime against the first, on a sample spread over the photographs."""
    at = np.linspace(0, len(files) - 1, min(SAMPLE, len(files))).astype(int)
    report = []
    for runtime in runtimes[1:]:
        other = _ask(folder, [files[row] for row in at], runtime, threads, progress)
        cosine = cosines(other.vectors, first.vectors[at])
        same = [mine[0] == first.labels[row][0] for mine, row in zip(other.labels, at, strict=True)]
        report.append(
            {
                "runtime": other.runtime,
                "against": first.runtime,
                "photos": len(at),
                "cosine_mean": round(float(cosine.mean()), 4),
                "cosine_min": round(float(cosine.min()), 4),
                "same_top_1": round(float(np.mean(same)), 4),
            }
        )
    return report


def _temperature(rows: Sequence[Row], features: Features, labels: Sequence[str]) -> dict[str, Any] | None:
    """The softmax temperature that fits the photographs whose label is also one of ImageNet's."""
    classes = named_classes([row.label for row in rows], labels)
    at = [row for row, number in enumerate(classes) if number is not None]
    if not at:
        return None
    return fit_temperature(features.logits[at], np.array([classes[row] for row in at])).to_dict()


def _latency(folder: Path, file: Path, runtime: str) -> list[dict[str, Any]]:
    """Milliseconds of `embed` for a decoded photo: resize to the network's input, run, read both outputs."""
    rows = []
    for threads in (1, 2):
        embedder = Embedder.open(folder, threads=threads, runtime=runtime)
        photo = load_photo(file)
        runs = _RUNS if runtime == "litert" else _RUNS // 4
        taken = np.array([_seconds(embedder, photo) for _ in range(runs)][1:]) * 1e3
        rows.append(
            {
                "runtime": embedder.runtime,
                "threads": threads,
                "p50_ms": round(float(np.percentile(taken, 50)), 1),
                "p95_ms": round(float(np.percentile(taken, 95)), 1),
            }
        )
    return rows


def _seconds(embedder: Embedder, photo: Any) -> float:
    start = time.perf_counter()
    embedder.embed(photo)
    return time.perf_counter() - start
