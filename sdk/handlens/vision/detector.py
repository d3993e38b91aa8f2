"""The object detector: a photo becomes at most N detections that do not repeat each other.

The network is a CenterNet (Zhou, Wang and Krähenbühl, "Objects as Points", 2019): a heat map per class, whose local
maxima are object centres, and at each cell the distances to the box's four sides. Peaks are looked for only among cells
above the score, so decoding costs one comparison a cell.

>>> detector = Detector.open(Path("models/detector"))               # doctest: +SKIP
>>> detector.detect(load_photo("street.jpg"), limit=3)              # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from handlens.errors import ModelError
from handlens.geometry import Box, nms
from handlens.vision.image import Photo
from handlens.vision.runtime import Output, Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Detection", "Detector"]

# The steps to a cell's 3x3 neighbourhood, (9, 1) each, and where the cell itself stands among them.
_DOWN, _RIGHT = (steps.reshape(9, 1) for steps in np.mgrid[-1:2, -1:2])
_MIDDLE = 4
_CANDIDATES = 400  # peaks kept before boxes are compared: a heat map of noise must not cost a quadratic NMS


@dataclass(frozen=True, slots=True)
class Detection:
    """One object: its box, the label with the highest score there, and that score 0..1."""

    box: Box
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class _Peaks:
    """Local maxima of the heat map: scores (n,), channels (n,), edges (n, 4) as fractions of the image."""

    scores: NDArray[np.float32]
    channels: NDArray[np.intp]
    edges: NDArray[np.float32]


class Detector:
    """An opened detector. Thread-safe."""

    def __init__(self, session: Session) -> None:
        decode = session.spec.decode
        if decode.get("method") != "centernet":
            raise ModelError(
                f"{session.spec.model_id} is decoded by {decode.get('method')!r}: this handlens knows centernet"
            )
        self._session = session
        self.spec = session.spec
        self.min_score = _parameter(decode, "min_score")
        self._max_iou = _parameter(decode, "nms_iou", 0.6)
        self._stride = _parameter(decode, "stride")
        self._offset = _parameter(decode, "cell_offset", 0.0)

    @classmethod
    def open(cls, folder: str | Path, *, threads: int = 2, runtime: str = "auto") -> Detector:
        """Open the detector in a model folder.

        Raises:
            ModelError: no runtime, or the model is missing, damaged, or not as its model.json says.
        """
        return cls(Session.open(Path(folder), "detector", threads=threads, runtime=runtime))

    def detect(
        self, photo: Photo, *, limit: int = 10, min_score: float | None = None, per_label: bool = False
    ) -> tuple[Detection, ...]:
        """The objects of a photo, best score first, at most `limit`.

        Boxes that overlap a better one by more than the model's `nms_iou` are dropped, whatever their label; with
        `per_label` only boxes of the same label compete, as COCO's average precision expects.
        """
        image = self.spec.input
        pixels = photo.pixels(size=(image.width, image.height), resample=image.resample)
        floor = self.min_score if min_score is None else min_score
        peaks = self._session.run(pixels, lambda outputs: self._peaks(outputs, floor))
        return self._distinct(peaks, limit, per_label)

    def _peaks(self, outputs: Mapping[str, Output], min_score: float) -> _Peaks:
        heat = outputs["heatmap"]
        rows, columns, channels = _local_maxima(heat.values, heat.least(min_score))
        scores = heat.real(heat.values[rows, columns, channels])
        best = np.argsort(-scores, kind="stable")[:_CANDIDATES]
        rows, columns, channels = rows[best], columns[best], channels[best]
        distances = outputs["distances"]
        reach = distances.real(distances.values[rows, columns])
        return _Peaks(scores[best], channels, self._edges(rows, columns, reach))

    def _edges(self, rows: NDArray[np.intp], columns: NDArray[np.intp], reach: NDArray[Any]) -> NDArray[np.float32]:
        x = (columns + self._offset) * self._stride
        y = (rows + self._offset) * self._stride
        pixels = np.stack([x - reach[:, 0], y - reach[:, 1], x + reach[:, 2], y + reach[:, 3]], axis=1)
        size = np.array([self.spec.input.width, self.spec.input.height] * 2)
        return np.asarray(np.clip(pixels / size, 0.0, 1.0), dtype=np.float32)

    def _distinct(self, peaks: _Peaks, limit: int, per_label: bool) -> tuple[Detection, ...]:
        # Shifting each label's boxes to a square of their own makes one pass compare within labels only.
        edges = peaks.edges + 2.0 * peaks.channels[:, None].astype(np.float32) if per_label else peaks.edges
        kept = nms(edges, peaks.scores, max_iou=self._max_iou, limit=len(edges))
        found = (self._detection(peaks, row) for row in kept)
        return tuple(islice((detection for detection in found if detection is not None), limit))

    def _detection(self, peaks: _Peaks, row: int) -> Detection | None:
        box = Box.clipped(*(float(edge) for edge in peaks.edges[row]))
        if box is None:
            return None
        return Detection(box, self.spec.labels[peaks.channels[row]], float(peaks.scores[row]))


def _local_maxima(heat: NDArray[Any], floor: float) -> tuple[NDArray[np.intp], ...]:
    """Rows, columns and channels of the cells of (h, w, c) that reach `floor` and no cell of their 3x3 exceeds."""
    height, width, count = heat.shape
    cells, channels = np.divmod(np.flatnonzero(heat >= floor), count)
    rows, columns = np.divmod(cells, width)
    near_rows = np.clip(rows + _DOWN, 0, height - 1)
    near_columns = np.clip(columns + _RIGHT, 0, width - 1)
    # All nine neighbourhoods in one gather, (9, n): for some fifty cells the calls cost more than the numbers.
    near = heat[near_rows, near_columns, channels]
    is_peak = near[_MIDDLE] >= near.max(axis=0)
    return rows[is_peak], columns[is_peak], channels[is_peak]


def _parameter(decode: Mapping[str, Any], name: str, default: float | None = None) -> float:
    value = decode.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ModelError(
            f"model.json decode.{name} is {value!r}, expected a number: sync again, or install the release again"
        )
    return float(value)
