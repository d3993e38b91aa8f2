"""How the detector is quantized: int8 weights everywhere, int8 activations where they do no harm.

Rules:

* Every convolution's weights are int8, one scale a channel.
* Activations are int8 in the layers that `INTEGER` names: those that a measurement (`detector_sensitivity`) found to
  leave the outputs as they are. The rest computes in float on int8 weights.
* The squeeze-and-excite gates stay in float: some of their channels have no weights but a bias, which no int32 can hold
  at the scale of such weights. They work on one pixel, so they cost nothing.
* Input and outputs are int8. The range of the image is all of 8 bits, so its scale is 1 and no pixel is rounded; scores
  come in steps of 1/256, distances in steps of a pixel.
* A tensor's range is not the largest value seen but the range with the least squared error over the calibration
  photographs: a few outliers would coarsen everything else.

Use::

    model = quantize(float_model, images)       # images: (320, 320, 3) uint8 each
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FLOAT", "INTEGER", "find_ranges", "quantize", "quantize_with", "recipe_record"]

RECIPE = "mixed_wi8_ai8"
# Regular expressions over layer names, which the quantizer joins and ends with a semicolon. Measured block by block:
# see sensitivity.json beside the model.
INTEGER = (
    r"MobilenetV3/expanded_conv_[1-5]/",
    r"CenternetHead/(c2_reverse|c3_reverse|c4_reverse|c4_upsample|c5_upsample)/",
    r"CenternetHead/c3_upsample/branch_",
    r"CenternetHead/(Relu|Relu_1|Relu_2|Mean|mul)(;|$)",
    r"CenternetHead/centernet_(cls|wh)_output/separable_conv2d/depthwise(;|$)",
    r"(heatmap|distances|centernet_cls_output/BiasAdd)(;|$)",
)
FLOAT = (r"squeeze_excite/Conv",)

_IMAGE_RANGE = (0.0, 255.0)
_LEVELS = 255  # steps between the 256 values of int8
_SAMPLES = 1024  # values taken of a tensor for each photograph
_COMPARED = 20_000  # values of a tensor that candidates for its range are compared on
_SHARES = np.linspace(0.15, 1.0, 35)  # of the largest value seen: candidates for a range's ends

Ranges = Mapping[str, tuple[float, float]]


def quantize(parent: bytes, images: Iterable[NDArray[np.uint8]], *, threads: int = 2) -> bytes:
    """Return the quantized model of a float one, calibrated with RGB `images` of the model's input size."""
    return quantize_with(parent, find_ranges(parent, images, threads=threads))


def quantize_with(
    parent: bytes, ranges: Ranges, *, integer: Sequence[str] = INTEGER, float_: Sequence[str] = FLOAT
) -> bytes:
    """Return the quantized model of a float one whose tensors have these ranges.

    `integer` names the layers with int8 activations, `float_` the exceptions among them, as regular expressions.
    """
    from ai_edge_quantizer import quantizer

    quantizer_ = quantizer.Quantizer(bytearray(parent))
    quantizer_.load_quantization_recipe(_rules(integer, float_))
    record = {name: {"min": _scalar(low), "max": _scalar(high)} for name, (low, high) in ranges.items()}
    # The quantizer draws progress bars of its own, whatever it is told.
    with _kept_tensors(), redirect_stderr(io.StringIO()):
        return bytes(quantizer_.quantize(record, enable_progress_report=False).quantized_model)


def recipe_record(parent: bytes, *, calibration: Path, photos: int) -> dict[str, Any]:
    """What recipe.json says: the recipe, the library that ran it, and the float model that it was run on."""
    return {
        "format": 1,
        "name": RECIPE,
        "library": f"ai-edge-quantizer {importlib.metadata.version('ai-edge-quantizer')}",
        "runtime": f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}",
        "parent_sha256": hashlib.sha256(parent).hexdigest(),
        "calibration": {"list": calibration.name, "photos": photos, "range": "least squared error"},
        "integer": list(INTEGER),
        "float": list(FLOAT),
        "recipe": _rules(INTEGER, FLOAT),
    }


def find_ranges(
    parent: bytes, images: Iterable[NDArray[np.uint8]], *, threads: int = 2
) -> dict[str, tuple[float, float]]:
    """Return the range of each float tensor with the least squared error when stored in 8 bits; 0 is in every range.

    The image has the range of its pixels.
    """
    interpreter = _observed(parent, threads)
    samples = _samples(interpreter, images)
    ranges = {name: _best_range(_thinned(values, _COMPARED)) for name, values in samples.items()}
    return {**ranges, interpreter.get_input_details()[0]["name"]: _IMAGE_RANGE}


def _rules(integer: Sequence[str], float_: Sequence[str]) -> list[dict[str, Any]]:
    from ai_edge_quantizer import recipe_manager

    manager: Any = recipe_manager.RecipeManager()
    manager.add_weight_only_config(regex=".*", operation_name="*", num_bits=8)
    manager.add_static_config(regex=".*", operation_name="INPUT", activation_num_bits=8, weight_num_bits=8)
    for pattern in integer:
        manager.add_static_config(regex=f".*{pattern}", operation_name="*", activation_num_bits=8, weight_num_bits=8)
    for pattern in float_:
        manager.add_weight_only_config(regex=f".*{pattern}", operation_name="*", num_bits=8)
    rules: list[dict[str, Any]] = manager.get_quantization_recipe()
    return rules


def _observed(parent: bytes, threads: int) -> Any:
    """An opened interpreter that keeps every tensor readable after a run."""
    from ai_edge_litert.interpreter import Interpreter

    with _kept_tensors():
        interpreter = Interpreter(model_content=parent, num_threads=threads, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    return interpreter


def _samples(interpreter: Any, images: Iterable[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
    """Values of every activation: its extremes and an even selection of the others, over all images."""
    tensors = {t["name"]: t["index"] for t in interpreter.get_tensor_details() if _is_activation(t)}
    taken: dict[str, list[NDArray[np.float32]]] = {name: [] for name in tensors}
    for image in images:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None].astype(np.float32))
        interpreter.invoke()
        for name, index in tensors.items():
            taken[name].append(_thinned(interpreter.get_tensor(index), _SAMPLES))
    return {name: np.concatenate(values) for name, values in taken.items()}


@contextmanager
def _kept_tensors() -> Iterator[None]:
    # The interpreter warns that keeping every tensor takes memory, which is what calibration wants.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors", category=UserWarning)
        yield


def _is_activation(tensor: Mapping[str, Any]) -> bool:
    constant = re.search(r"/(weights|bias|one)$", tensor["name"])
    return bool(tensor["dtype"] == np.float32 and constant is None)


def _thinned(values: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """At most `count` of the values, evenly by rank; the smallest and the largest are among them."""
    ordered = np.sort(values, axis=None)
    rows = np.linspace(0, ordered.size - 1, min(ordered.size, count)).astype(int)
    return np.asarray(ordered[rows], np.float32)


def _best_range(values: NDArray[np.float32]) -> tuple[float, float]:
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    if low == high:
        return 0.0, 1.0
    lows, highs = _SHARES * low, _SHARES * high
    # One end after the other: the ends hardly depend on each other, and a search over pairs takes minutes.
    for _ in range(2):
        high = min(highs, key=lambda end: _error(values, low, end)) if high > 0 else high
        low = min(lows, key=lambda end: _error(values, end, high)) if low < 0 else low
    return float(low), float(high)


def _error(values: NDArray[np.float32], low: float, high: float) -> float:
    """Mean squared error of values stored with 256 levels over a range that includes 0."""
    scale = (high - low) / _LEVELS
    zero = round(-low / scale)
    stored = np.clip(np.rint(values / scale) + zero, 0, _LEVELS)
    return float(np.mean(((stored - zero) * scale - values) ** 2))


def _scalar(value: float) -> NDArray[np.float64]:
    return np.full((1, 1, 1, 1), value)
