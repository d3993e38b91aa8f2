"""Which parts of the detector bear int8 activations: each block alone in int8, against the float parent.

The list that comes out is kept beside the model as sensitivity.json; `detector_quantize.INTEGER` names the blocks whose
figures stay near those of int8 weights alone.

Use::

    rows = measure(float_parent(cache), images)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from handlens_conversion.detector_quantize import FLOAT, find_ranges, quantize_with

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BLOCKS", "Sensitivity", "measure"]

BLOCKS: Mapping[str, tuple[str, ...]] = {
    "nothing (weights alone)": (),
    "stem": (r"MobilenetV3/(Conv|expanded_conv)/",),
    "blocks 1 to 3": (r"MobilenetV3/expanded_conv_[123]/",),
    "blocks 4 and 5": (r"MobilenetV3/expanded_conv_[45]/",),
    "blocks 6 to 9": (r"MobilenetV3/expanded_conv_[6789]/",),
    "blocks 10 and 11": (r"MobilenetV3/expanded_conv_1[01]/",),
    "blocks 12 to 14": (r"MobilenetV3/expanded_conv_1[234]/", r"extern1/"),
    "head, stride 32 to 16": (r"CenternetHead/(c5_upsample|c4_reverse)/",),
    "head, stride 16 to 8": (r"CenternetHead/(c4_upsample|c3_reverse)/",),
    "head, stride 8 to 4, convolutions": (r"CenternetHead/(c3_upsample/branch_|c2_reverse/)",),
    "head, stride 8 to 4, all": (r"CenternetHead/(c3_upsample|c2_reverse)/",),
    "head, last features": (
        r"CenternetHead/(Relu_2|Mean|mul|centernet_(cls|wh)_output/separable_conv2d/depthwise)(;|$)",
    ),
    "head, heat map and distances": (r"(heatmap|distances|centernet_cls_output/BiasAdd)(;|$)",),
}
_SEEN = 0.08  # score of the cells that are compared


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """One block in int8: mean gap of the score, and median gap of the distances as a share of the box, where
    objects are seen."""

    block: str
    patterns: tuple[str, ...]
    score_gap: float
    distance_gap: float


Outputs = tuple["NDArray[np.float32]", "NDArray[np.float32]"]


def measure(parent: bytes, images: Sequence[NDArray[np.uint8]], *, threads: int = 2) -> tuple[Sensitivity, ...]:
    """Return the sensitivity of each block of `BLOCKS`, over RGB `images` of the model's input size."""
    ranges = find_ranges(parent, images, threads=threads)
    expected = _run(parent, images, threads)
    rows = []
    for block, patterns in BLOCKS.items():
        model = quantize_with(parent, ranges, integer=patterns, float_=FLOAT)
        rows.append(Sensitivity(block, patterns, *_gaps(expected, _run(model, images, threads))))
    return tuple(rows)


def _run(model: bytes, images: Sequence[NDArray[np.uint8]], threads: int) -> list[Outputs]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=threads)
    interpreter.allocate_tensors()
    distances, heat = sorted(interpreter.get_output_details(), key=lambda output: int(output["shape"][3]))
    entry = interpreter.get_input_details()[0]
    results = []
    for image in images:
        interpreter.set_tensor(entry["index"], _stored(image, entry))
        interpreter.invoke()
        results.append((_real(interpreter, heat), _real(interpreter, distances)))
    return results


def _stored(image: NDArray[np.uint8], entry: Mapping[str, Any]) -> NDArray[Any]:
    """The image as the input wants it: float, or int8 with a scale of 1."""
    shifted = image[None].astype(np.int16) + entry["quantization"][1]
    return np.asarray(shifted, entry["dtype"])


def _real(interpreter: Any, output: Mapping[str, Any]) -> NDArray[np.float32]:
    values = interpreter.get_tensor(output["index"])[0].astype(np.float32)
    scale, zero_point = output["quantization"]
    return np.asarray((values - zero_point) * scale if scale else values, np.float32)


def _gaps(expected: Sequence[Outputs], found: Sequence[Outputs]) -> tuple[float, float]:
    scores, reaches = [], []
    for (heat, reach), (other_heat, other_reach) in zip(expected, found, strict=True):
        seen = heat >= _SEEN
        cells = seen.any(axis=2)
        scores.append(np.abs(heat - other_heat)[seen])
        reaches.append(np.abs(reach - other_reach)[cells].mean(axis=1) / np.maximum(reach[cells].mean(axis=1), 8.0))
    return float(np.concatenate(scores).mean()), float(np.median(np.concatenate(reaches)))
