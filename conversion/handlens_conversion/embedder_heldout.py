"""What a head does for things it was never trained on: heads trained without some classes, measured on those alone.

For each seed a fifth of the classes, drawn at random, is left out of training; then only queries of these classes are
asked, against the whole gallery. Beside it stands the PCA of the network's last features, fitted on the same
photographs.
All on float features.

Use::

    report = held_out(data, cache=default_cache(), options=TrainOptions(), seeds=range(8))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from handlens_conversion.embedder_evaluate import PCA_TAPS, figures_of
from handlens_conversion.embedder_features import Features, extract
from handlens_conversion.embedder_head import Head, load_head
from handlens_conversion.embedder_parent import HEAD_FILE, float_features
from handlens_conversion.embedder_train import TrainOptions, pca, train
from handlens_conversion.retrieval_data import (
    SETS,
    RetrievalSet,
    common_label,
    load_set,
    training_photos,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["draw_classes", "held_out", "held_out_of"]

PART = 0.2  # of the classes


def draw_classes(labels: Iterable[str], *, seed: int, part: float = PART) -> frozenset[str]:
    """The classes that are left out under a seed: the same on every machine."""
    names = sorted(set(labels))
    count = round(part * len(names))
    return frozenset(str(name) for name in np.random.default_rng(seed).choice(names, count, replace=False))


def held_out(
    data: Path,
    *,
    cache: Path,
    options: TrainOptions,
    seeds: Iterable[int] = range(8),
    threads: int = 2,
    progress: bool = True,
) -> dict[str, Any]:
    """Train one head a seed without a fifth of the classes, and measure it on the queries of those.

    Returns:
        For each set the number of queries and the mean R@1 of head and PCA over all seeds, and the row of each seed.

    Raises:
        ModelError: the packages, PyTorch or the data cannot be used.
    """
    photos, model = training_photos(data), float_features(cache)
    read = partial(extract, model=model, cache=cache, threads=threads, progress=progress)
    taught = read([data / photo.image for photo in photos], what="training")
    asked = [_Asked.load(load_set(data, name), data, read) for name in SETS]
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        out = draw_classes((photo.label for photo in photos), seed=seed)
        kept = np.array([photo.label not in out for photo in photos])
        labels = [photo.label for photo in photos if photo.label not in out]
        once = replace(options, seeds=(seed,))
        head = train(
            taught.of(options.taps)[kept], labels, options.taps, options=once, threads=threads, progress=progress
        )
        plain = pca(taught.of(PCA_TAPS)[kept], PCA_TAPS, dim=options.dim)
        rows.append({"seed": seed, "sets": {one.set.name: one.measure(out, head, plain) for one in asked}})
    return {"part": PART, "means": {name: _mean([row["sets"][name] for row in rows]) for name in SETS}, "seeds": rows}


def held_out_of(folder: Path, *, data: Path, cache: Path, threads: int = 2, progress: bool = True) -> dict[str, Any]:
    """`held_out` with the options that the head in a model folder was trained with.

    Raises:
        ModelError: the head does not say how it was trained, or the packages, PyTorch or the data cannot be used.
    """
    options = TrainOptions.of(load_head(folder / HEAD_FILE))
    return held_out(data, cache=cache, options=options, threads=threads, progress=progress)


class _Asked:
    """A retrieval set with the features of its gallery and its queries."""

    def __init__(self, one: RetrievalSet, gallery: Features, queries: Features) -> None:
        self.set, self._gallery, self._queries = one, gallery, queries

    @classmethod
    def load(cls, one: RetrievalSet, data: Path, read: Callable[..., Features]) -> _Asked:
        gallery, queries = (
            read([data / row.image for row in rows], what=one.name) for rows in (one.gallery, one.queries)
        )
        return cls(one, gallery, queries)

    def measure(self, classes: frozenset[str], *heads: Head) -> dict[str, Any]:
        """R@1 of each head on the queries of `classes`."""
        wanted = np.array([common_label(self.set.name, row.label) in classes for row in self.set.queries])
        some = self.set.restricted({row.label for row, asked in zip(self.set.queries, wanted, strict=True) if asked})
        recalls = [figures_of(some, *self._vectors(head, wanted)).recall_at_1 for head in heads]
        return {"queries": int(wanted.sum()), "head": round(recalls[0], 4), "pca": round(recalls[1], 4)}

    def _vectors(self, head: Head, wanted: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return head.apply(self._gallery.of(head.taps)), head.apply(self._queries.of(head.taps)[wanted])


def _mean(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over all queries of all seeds."""
    total = sum(row["queries"] for row in rows)
    means = {name: round(sum(row[name] * row["queries"] for row in rows) / total, 4) for name in ("head", "pca")}
    return {"queries": total, **means}
