"""What a picture itself says of the objects in it: words with weights, against which users' words are held.

Two voices, each optional (the gate of Jing et al., "Visual Discovery at Pinterest", KDD 2015, section 4):

* the **detector's classes** whose boxes lie where the object is, weighted by score;
* the **annotations of visually similar items**: the nearest items of the catalogue to the object's crop, each giving
  its tags with its similarity, as a share of all.

A word's weight is the larger of the two. The models are opened once in each process of a worker, from folders that
every worker sees.

::

    votes = PictureVotes(pictures, detector="models/detector")
    votes(listed, [(0.1, 0.2, 0.5, 0.6)])          # [{"cup": 0.8}]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from handlens.geometry import Box
from handlens_conversion.boxes.drawn import Edges
from handlens_conversion.pipeline.opening import Pictures
from handlens_conversion.pipeline.photo_rows import ListedPhoto

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from handlens.vision.detector import Detector
    from handlens.vision.embedder import Embedder
    from handlens.vision.image import Photo

__all__ = ["Neighbours", "PictureVotes", "embed_items"]

_SCORE = 0.1  # of a detection that has a say
_IOU = 0.5  # of its box with the object's
_DETECTIONS = 50


@dataclass(frozen=True, slots=True)
class Neighbours:
    """A file of `embed_items`, the embedder that made it, and how many of the nearest items are asked.

    `file` is a path, or the name of a file that was sent with the job (`SparkContext.addFile`).
    """

    file: str
    embedder: str
    count: int = 10


@dataclass(frozen=True, slots=True)
class PictureVotes:
    """Words for boxes of a photo, from a detector, from similar items, or both."""

    pictures: Pictures
    detector: str | None = None
    neighbours: Neighbours | None = None

    def __call__(self, listed: ListedPhoto, boxes: Sequence[Edges]) -> list[dict[str, float]]:
        """For each box its words with weights 0..1; none where the picture cannot be read."""
        from handlens.vision.image import load_photo

        data = self.pictures.read(listed)
        votes: list[dict[str, float]] = [{} for _ in boxes]
        if not isinstance(data, bytes):
            return votes
        photo = load_photo(data)
        if self.detector is not None:
            _add(votes, _seen(_open_detector(self.detector), photo, boxes))
        if self.neighbours is not None:
            _add(votes, _alike(self.neighbours, listed.photo, photo, boxes))
        return votes


def embed_items(items: Sequence[ListedPhoto], pictures: Pictures, embedder: str, file: Path) -> int:
    """Embed the pictures of all items that have tags, for `Neighbours`; returns how many there are."""
    import numpy as np

    from handlens.errors import ImageError
    from handlens.vision.image import load_photo

    opened, kept, vectors = _open_embedder(embedder), [], []
    for item in sorted(items, key=lambda one: one.photo):
        data = pictures.read(item) if item.tags else None
        if not isinstance(data, bytes):
            continue
        try:
            vectors.append(opened.embed(load_photo(data)).vectors[0])
        except ImageError:
            continue  # what is no picture is counted where its boxes are
        kept.append(item)
    np.savez(
        file,
        vectors=np.array(vectors, dtype=np.float32).reshape(len(kept), -1),
        photos=np.array([item.photo for item in kept], dtype=np.str_),
        tags=np.array(["\n".join(item.tags) for item in kept], dtype=np.str_),
    )
    return len(kept)


def _add(votes: list[dict[str, float]], more: Sequence[Mapping[str, float]]) -> None:
    for mine, others in zip(votes, more, strict=True):
        for word, weight in others.items():
            mine[word] = max(mine.get(word, 0.0), weight)


def _seen(detector: Detector, photo: Photo, boxes: Sequence[Edges]) -> list[dict[str, float]]:
    found = detector.detect(photo, limit=_DETECTIONS, min_score=_SCORE, per_label=True)
    votes: list[dict[str, float]] = []
    for edges in boxes:
        box, words = Box(*edges), dict[str, float]()
        for one in found:
            if box.iou(one.box) >= _IOU:
                words[one.label] = max(words.get(one.label, 0.0), one.score)
        votes.append(words)
    return votes


def _alike(asked: Neighbours, own: str, photo: Photo, boxes: Sequence[Edges]) -> list[dict[str, float]]:
    """The tags of the nearest items but the photo's own, which would only say again what its tags say."""
    import numpy as np

    vectors, photos, tags = _load(asked.file)
    crops = _open_embedder(asked.embedder).embed(photo, [Box(*edges) for edges in boxes]).vectors
    votes: list[dict[str, float]] = []
    for similar in crops @ vectors.T:
        order = [at for at in np.argsort(-similar, kind="stable").tolist() if photos[at] != own][: asked.count]
        weights = {at: max(float(similar[at]), 0.0) for at in order}
        total = sum(weights.values()) or 1.0
        words = dict[str, float]()
        for at, weight in weights.items():
            for tag in tags[at]:
                words[tag] = words.get(tag, 0.0) + weight / total
        votes.append(words)
    return votes


@lru_cache(maxsize=1)
def _open_detector(folder: str) -> Detector:
    from handlens.vision.detector import Detector

    return Detector.open(folder, threads=1)


@lru_cache(maxsize=1)
def _open_embedder(folder: str) -> Embedder:
    from handlens.vision.embedder import Embedder

    return Embedder.open(folder, threads=1)


@lru_cache(maxsize=1)
def _load(file: str) -> tuple[NDArray[np.float32], list[str], list[list[str]]]:
    import numpy as np

    if not Path(file).is_file():
        from pyspark import SparkFiles

        file = SparkFiles.get(file)
    with np.load(file, allow_pickle=False) as stored:
        return stored["vectors"], stored["photos"].tolist(), [one.split("\n") for one in stored["tags"].tolist()]
