"""The embedder: a crop becomes a unit vector and the classifier's best labels, in one pass of one network.

>>> embedder = Embedder.open(Path("models/embedder"))                # doctest: +SKIP
>>> embedder.embed(photo, [detection.box]).vectors.shape             # doctest: +SKIP
(1, 128)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from handlens.errors import ModelError
from handlens.geometry import WHOLE, Box
from handlens.vision.image import Photo
from handlens.vision.runtime import Output, Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Embedder", "Embeddings", "Outputs"]

Outputs: TypeAlias = "tuple[NDArray[np.float32], NDArray[np.float32]]"  # vector (dim,), logits (labels,)


@dataclass(frozen=True, slots=True)
class Embeddings:
    """`vectors` is (n, dim) float32, unit rows; `label_scores` holds, a row each, (label, probability), best first."""

    vectors: NDArray[np.float32]
    label_scores: tuple[tuple[tuple[str, float], ...], ...]


class Embedder:
    """An opened embedder. Thread-safe."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.spec = session.spec
        self._temperature = session.spec.temperature or 1.0

    @property
    def runtime(self) -> str:
        """Name and version of the runtime that serves it."""
        return str(self._session.runtime)

    @classmethod
    def open(cls, folder: str | Path, *, threads: int = 2, runtime: str = "auto") -> Embedder:
        """Open the embedder in a model folder.

        Raises:
            ModelError: no runtime, or the model is missing, damaged, or not as its model.json says.
        """
        return cls(Session.open(Path(folder), "embedder", threads=threads, runtime=runtime))

    def embed(
        self, photo: Photo, boxes: Sequence[Box] = (WHOLE,), *, margin: float = 0.0, labels: int = 10
    ) -> Embeddings:
        """Embed parts of a photo: one pass of the network a box, each grown by `margin` of its own size.

        `labels` is how many of the classifier's labels are kept a box.
        """
        return self.read([self.run(self.cut(photo, box, margin=margin)) for box in boxes], labels=labels)

    def cut(self, photo: Photo, box: Box, *, margin: float = 0.0) -> NDArray[Any]:
        """First of the three steps of `embed`: what the network is given, (height, width, 3) of its input's type."""
        image = self.spec.input
        pixels = photo.pixels(box.expanded(margin), size=(image.width, image.height), resample=image.resample)
        return self._session.prepared(pixels)

    def run(self, values: NDArray[Any]) -> Outputs:
        """Second step: one pass of the network. Python's lock is kept until it begins (see `Session.run_prepared`)."""
        return self._session.run_prepared(values, _read)

    def read(self, outputs: Sequence[Outputs], *, labels: int = 10) -> Embeddings:
        """Third step: what the network said of several crops."""
        vectors = np.array([vector for vector, _ in outputs], np.float32).reshape(len(outputs), self.spec.dim)
        logits = np.array([scores for _, scores in outputs], np.float32).reshape(len(outputs), len(self.spec.labels))
        return Embeddings(_unit(vectors, self.spec.model_id), self._best_labels(logits, labels))

    def _best_labels(self, logits: NDArray[np.float32], count: int) -> tuple[tuple[tuple[str, float], ...], ...]:
        """The softmax of each row of `logits` (n, labels), cut to its best `count` labels."""
        scaled = logits / self._temperature
        shares = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        best = np.argpartition(-shares, min(count, shares.shape[1] - 1), axis=1)[:, :count]
        known = self.spec.labels
        return tuple(
            tuple((known[at], share) for at, share in _descending(row.tolist(), shares[at_row, row].tolist()))
            for at_row, row in enumerate(best)
        )


def _read(outputs: Mapping[str, Output]) -> Outputs:
    return outputs["embedding"].real(), outputs["logits"].real()


def _descending(at: list[int], shares: list[float]) -> list[tuple[int, float]]:
    return sorted(zip(at, shares, strict=True), key=lambda pair: (-pair[1], pair[0]))


def _unit(vectors: NDArray[np.float32], model_id: str) -> NDArray[np.float32]:
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    if not np.all((lengths > 0.0) & np.isfinite(lengths)):
        raise ModelError(f"{model_id} gave an embedding of length 0 or NaN: sync again, or install the release again")
    return np.asarray(vectors / lengths[:, None], np.float32)
