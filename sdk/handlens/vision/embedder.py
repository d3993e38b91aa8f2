"""The embedder: a crop becomes a unit vector and the classifier's best labels, in one pass of one network.

Where the network leaves a core free, several crops run as a pipeline: while it sees one, the caller's thread resizes
the next and uses the result before. (Where it takes every core, that thread would only stand in its way.)

>>> embedder = Embedder.open(Path("models/embedder"))                # doctest: +SKIP
>>> embedder.embed(photo, [detection.box]).vectors.shape             # doctest: +SKIP
(1, 128)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from handlens.errors import ModelError
from handlens.geometry import WHOLE, Box
from handlens.vision.image import Photo
from handlens.vision.runtime import Output, Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Embedder", "Embedding", "Embeddings"]


@dataclass(frozen=True, slots=True)
class Embedding:
    """One crop: `vector` is (dim,) float32 of length 1; `label_scores` are (label, probability), best first."""

    vector: NDArray[np.float32]
    label_scores: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Embeddings:
    """`vectors` is (n, dim) float32, unit rows; `label_scores` holds, a row each, (label, probability), best first."""

    vectors: NDArray[np.float32]
    label_scores: tuple[tuple[tuple[str, float], ...], ...]


class Embedder:
    """An opened embedder. Thread-safe."""

    def __init__(self, session: Session, *, ahead: bool = False) -> None:
        self._session = session
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="handlens-embedder") if ahead else None
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
        session = Session.open(Path(folder), "embedder", threads=threads, runtime=runtime)
        return cls(session, ahead=(os.cpu_count() or 1) > threads)

    def embed(
        self, photo: Photo, boxes: Sequence[Box] = (WHOLE,), *, margin: float = 0.0, labels: int = 10
    ) -> Embeddings:
        """Embed parts of a photo: one pass of the network a box, each grown by `margin` of its own size.

        `labels` is how many of the classifier's labels are kept a box.
        """
        found = list(self.embed_each(photo, boxes, margin=margin, labels=labels))
        vectors = np.array([one.vector for one in found], dtype=np.float32).reshape(len(found), self.spec.dim)
        return Embeddings(vectors, tuple(one.label_scores for one in found))

    def embed_each(
        self, photo: Photo, boxes: Sequence[Box] = (WHOLE,), *, margin: float = 0.0, labels: int = 10
    ) -> Iterator[Embedding]:
        """Like `embed`, one box after the other: the network goes on with the next while the caller uses a result."""
        image = self.spec.input
        size = (image.width, image.height)
        crops = (photo.pixels(box.expanded(margin), size=size, resample=image.resample) for box in boxes)
        outputs = map(self._run, crops) if self._ahead is None else self._ahead.map(self._run, crops)
        for vector, logits in outputs:
            yield Embedding(_unit(vector, self.spec.model_id), self._best_labels(logits, labels))

    def _run(self, crop: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self._session.run(crop, _read)

    def _best_labels(self, logits: NDArray[np.float32], count: int) -> tuple[tuple[str, float], ...]:
        scaled = logits / self._temperature
        odds = np.exp(scaled - scaled.max())
        best = np.argpartition(-odds, min(count, len(odds) - 1))[:count]
        ranked = best[np.argsort(-odds[best], kind="stable")]
        total = odds.sum()
        return tuple((self.spec.labels[at], float(odds[at] / total)) for at in ranked)


def _read(outputs: Mapping[str, Output]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return outputs["embedding"].real(), outputs["logits"].real()


def _unit(vector: NDArray[np.float32], model_id: str) -> NDArray[np.float32]:
    norm = float(np.linalg.norm(vector))
    if not np.isfinite(norm) or norm == 0.0:
        raise ModelError(f"{model_id} gave an embedding of length 0 or NaN: install the models again")
    return np.asarray(vector / norm, dtype=np.float32)
