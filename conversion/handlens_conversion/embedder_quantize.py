"""Full static int8 quantization of the embedder, and the recipe it follows.

Rules:

* Weights are int8, one scale a channel; activations are int8, one scale a tensor; inputs and outputs are int8 too.
* A tensor's range is the largest and smallest value that it takes on any calibration photograph. (The moving average
  that the quantizer uses by default cuts off peaks: it costs this network 0.007 of cosine and 6 points of top-1.)
* Afterwards the biases are corrected (see `embedder_bias`): cosine to the float parent 0.995 before, 0.998 after.
* The image's range is all of 8 bits, so that its scale is exactly 1 and no pixel is rounded.

Use::

    model = quantize(float_model, images)       # images: (n, 224, 224, 3) uint8
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from handlens_conversion.detector_tflite import SIGNATURE
from handlens_conversion.embedder_bias import all_tensors_wanted, correct_biases, observed
from handlens_conversion.embedder_network import MEAN, STD

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["RECIPE", "quantize", "recipe_record"]

RECIPE = "static_wi8_ai8"
_INPUT = "image"
_INPUT_RANGE = (-MEAN, 255.0 - MEAN)

Ranges = Mapping[str, tuple[float, float]]


def quantize(parent: bytes, images: Iterable[NDArray[np.uint8]], *, threads: int = 2, progress: bool = True) -> bytes:
    """Return the int8 model of a float one, calibrated with RGB `images` of the model's input size."""
    from ai_edge_quantizer import quantizer

    inputs = [_real(image) for image in images]
    quantizer_ = quantizer.Quantizer(bytearray(parent))
    quantizer_.load_quantization_recipe(_rules())
    ranges = {**_ranges(parent, inputs, threads=threads), _INPUT: _INPUT_RANGE}
    # One photograph through the library's own calibration gives the record's form; the ranges in it are then replaced.
    with all_tensors_wanted():
        record = quantizer_.calibrate({SIGNATURE: [{_INPUT: inputs[0]}]}, num_threads=threads)
        calibrated = quantizer_.quantize(
            _with_ranges(record, ranges), enable_progress_bar=False, enable_progress_report=False
        )
    return correct_biases(
        bytes(calibrated.quantized_model), parent=parent, images=inputs, threads=threads, progress=progress
    )


def recipe_record(parent: bytes, *, calibration: Path, photos: int) -> dict[str, Any]:
    """What recipe.json says: the recipe, the library that ran it, and the float model that it was run on."""
    return {
        "format": 1,
        "name": RECIPE,
        "library": f"ai-edge-quantizer {importlib.metadata.version('ai-edge-quantizer')}",
        "runtime": f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}",
        "parent_sha256": hashlib.sha256(parent).hexdigest(),
        "calibration": {"list": calibration.name, "photos": photos, "range": "smallest and largest value seen"},
        "bias_correction": {"photos": photos, "layers": "every convolution, from the image on"},
        "recipe": _rules(),
    }


def _rules() -> list[dict[str, Any]]:
    from ai_edge_quantizer import recipe

    rules: list[dict[str, Any]] = getattr(recipe, RECIPE)()
    return rules


def _real(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return ((image[None].astype(np.float32) - MEAN) / STD).astype(np.float32)


def _ranges(parent: bytes, inputs: Iterable[NDArray[np.float32]], *, threads: int) -> dict[str, tuple[float, float]]:
    """The smallest and largest value of every tensor over all inputs, 0 always among them."""
    interpreter = observed(parent, threads=threads)
    image = interpreter.get_input_details()[0]["index"]
    tensors = [(t["name"], t["index"]) for t in interpreter.get_tensor_details() if t["dtype"] == np.float32]
    ranges = dict.fromkeys((name for name, _ in tensors), (0.0, 0.0))
    for values in inputs:
        interpreter.set_tensor(image, values)
        interpreter.invoke()
        for name, index in tensors:
            ranges[name] = _widened(ranges[name], interpreter, index)
    return ranges


def _widened(known: tuple[float, float], interpreter: Any, index: int) -> tuple[float, float]:
    try:
        values = interpreter.get_tensor(index)
    except ValueError:  # a tensor that the runtime folded into another one and never fills
        return known
    return min(known[0], float(values.min())), max(known[1], float(values.max()))


def _with_ranges(record: Mapping[str, Mapping[str, Any]], ranges: Ranges) -> dict[str, dict[str, Any]]:
    replaced = {}
    for name, known in record.items():
        low, high = ranges[name]
        replaced[name] = {**known, "min": np.full_like(known["min"], low), "max": np.full_like(known["max"], high)}
    return replaced
