"""Bias correction: takes out the shift that rounding weights leaves in the mean of each channel.

Rounded weights move a convolution's outputs by a little that does not average out over pixels; through fifty layers it
adds up. Layer by layer, from the image on, the mean of each output channel over some photographs is compared with the
float model's, and the difference goes into the layer's int32 bias ("Data-free quantization through weight equalization
and bias correction", Nagel et al., 2019, with the means measured). Size and speed stay as they are.

Rules:

* Only biases change, by whole steps of their own scale.
* Behind a ReLU6 only the part of the values inside (0, 6) can follow the bias, so the difference is divided by it.

Use::

    corrected = correct_biases(quantized, parent=float_model, images=images)
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["all_tensors_wanted", "correct_biases", "observed"]

_LEAST_INSIDE = 0.3  # a channel that is cut off most of the time is corrected as if this part of it were not


@dataclass(frozen=True, slots=True)
class _Channels:
    """Of each channel of a tensor: the mean, and the part of the values strictly between 0 and 6."""

    mean: NDArray[np.float64]
    inside: NDArray[np.float64]


def correct_biases(
    quantized: bytes,
    *,
    parent: bytes,
    images: Sequence[NDArray[np.float32]],
    threads: int = 2,
    progress: bool = True,
) -> bytes:
    """Return the quantized model with corrected biases.

    Args:
        quantized: An int8 model whose tensors have the names of the parent's.
        parent: The float model.
        images: Inputs of the float model, each (1, height, width, 3).
        threads: Threads of the runtime.
        progress: Show a progress bar on standard error.
    """
    from tqdm import tqdm

    model = _unpack(quantized)
    layers = list(_convolutions(model))
    wanted = _measure(parent, [layer.output for layer in layers], images, threads)
    for layer in tqdm(layers, desc="biases", unit="layer", disable=not progress):
        found = _measure(_pack(model), [layer.output], images, threads)[layer.output]
        _shift(model, layer, found.mean - wanted[layer.output].mean, wanted[layer.output].inside)
    return _pack(model)


@contextmanager
def all_tensors_wanted() -> Iterator[None]:
    """Silence LiteRT's warning that keeping every tensor costs memory: here that is known and wanted."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors", category=UserWarning)
        yield


def observed(model: bytes, *, threads: int) -> Any:
    """An opened LiteRT interpreter that keeps every tensor readable after a run."""
    from ai_edge_litert.interpreter import Interpreter

    with all_tensors_wanted():
        interpreter = Interpreter(model_content=model, num_threads=threads, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    return interpreter


@dataclass(frozen=True, slots=True)
class _Convolution:
    """Where a convolution keeps its bias: the tensor's scales and the number of its buffer."""

    output: str
    scales: NDArray[np.float64]
    buffer: int
    is_clipped: bool


def _convolutions(model: Any) -> Iterator[_Convolution]:
    from ai_edge_litert import schema_py_generated as schema

    kinds = (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D)
    graph = model.subgraphs[0]
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode not in kinds:
            continue
        output, bias = graph.tensors[operator.outputs[0]], graph.tensors[operator.inputs[2]]
        yield _Convolution(
            output=output.name.decode(),
            scales=np.asarray(bias.quantization.scale, np.float64),
            buffer=bias.buffer,
            is_clipped=operator.builtinOptions.fusedActivationFunction == schema.ActivationFunctionType.RELU6,
        )


def _shift(model: Any, layer: _Convolution, error: NDArray[np.float64], inside: NDArray[np.float64]) -> None:
    if layer.is_clipped:
        error = error / np.maximum(inside, _LEAST_INSIDE)
    buffer = model.buffers[layer.buffer]
    bias = np.frombuffer(bytes(buffer.data), np.int32) - np.rint(error / layer.scales).astype(np.int32)
    buffer.data = np.frombuffer(bias.tobytes(), np.uint8)


def _measure(
    model: bytes, names: Sequence[str], images: Sequence[NDArray[np.float32]], threads: int
) -> dict[str, _Channels]:
    """The channels of the named tensors over all images."""
    interpreter = observed(model, threads=threads)
    details = {tensor["name"]: tensor for tensor in interpreter.get_tensor_details()}
    entry = interpreter.get_input_details()[0]
    sums = {name: [np.zeros(1), np.zeros(1)] for name in names}
    for image in images:
        interpreter.set_tensor(entry["index"], _stored(image, entry))
        interpreter.invoke()
        for name in names:
            values = _real(interpreter.get_tensor(details[name]["index"]), details[name])
            sums[name][0] = sums[name][0] + values.mean(axis=0)
            sums[name][1] = sums[name][1] + ((values > 0) & (values < 6)).mean(axis=0)
    return {name: _Channels(mean / len(images), inside / len(images)) for name, (mean, inside) in sums.items()}


def _stored(image: NDArray[np.float32], entry: dict[str, Any]) -> NDArray[Any]:
    scale, zero_point = entry["quantization"]
    return (np.rint(image / scale) + zero_point).astype(entry["dtype"]) if scale else image


def _real(values: NDArray[Any], details: dict[str, Any]) -> NDArray[np.float64]:
    scale, zero_point = details["quantization"]
    flat = values.reshape(-1, values.shape[-1]).astype(np.float64)
    return (flat - zero_point) * scale if scale else flat


def _unpack(content: bytes) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for buffer in model.buffers:
        if buffer.offset > 1:  # the quantizer lays buffers behind the flatbuffer; back inside, older runtimes read them
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def _pack(model: Any) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
