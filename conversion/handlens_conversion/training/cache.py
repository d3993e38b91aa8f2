"""Features of photos, kept on disk: what takes longest is done once.

Rules:

* A photo's file is named by all that its features depend on: the network, the photo's bytes, its boxes, the labels, the
  options of views, and `_FORMAT`. What has changed is computed again; nothing has to be cleared.
* A file appears whole or not at all. One that cannot be read is computed again.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from handlens_conversion.files import write_whole
from handlens_conversion.packages import file_sha256
from handlens_conversion.training.cells import Cells, FeatureReader
from handlens_conversion.training.records import BoxedPhoto, TrainingOptions

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["cached_cells", "cells_key"]

_FORMAT = 2  # of the files, and of how views and cells are chosen


def cached_cells(
    photos: Iterable[BoxedPhoto],
    labels: tuple[str, ...],
    options: TrainingOptions,
    *,
    network: str,
    folder: Path,
    reader: Callable[[], FeatureReader],
) -> Iterator[tuple[str, Cells]]:
    """The key and the cells of each photo, from `folder` or computed and kept there.

    `network` names the network's bytes; `reader` opens it, and is called only when something has to be computed.

    Raises:
        ImageError: a photo cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    opened: FeatureReader | None = None
    for photo in photos:
        content = file_sha256(photo.path)
        key = cells_key(photo, content, labels, options, network)
        file = folder / f"{key}.npz"
        cells = _read(file)
        if cells is None:
            opened = opened or reader()
            cells = opened.cells(photo, labels, options, key=content)
            write_whole(file, _written(cells))
        yield key, cells


def cells_key(photo: BoxedPhoto, content: str, labels: tuple[str, ...], options: TrainingOptions, network: str) -> str:
    """The name of what a photo's features depend on; `content` is the photo's SHA-256."""
    parts = {
        "format": _FORMAT,
        "network": network,
        "photo": content,
        "boxes": np.round(photo.boxes, 6).tolist(),
        "labels": photo.labels,
        "ignored": np.round(photo.ignored, 6).tolist(),
        "all": labels,
        "options": [options.seed, options.views, options.background_views, options.mirror, sorted(options.directed)],
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _written(cells: Cells) -> bytes:
    file = io.BytesIO()
    np.savez(file, features=cells.features, targets=cells.targets, weights=cells.weights)
    return file.getvalue()


def _read(file: Path) -> Cells | None:
    try:
        # Opened here: NumPy leaves a damaged file open.
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
            return Cells(stored["features"], stored["targets"], stored["weights"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        # Missing, cut off or of another make: what it holds can always be computed.
        return None
