"""Writes a `Graph` as a float TFLite model, operator by operator.

The network's layers exist one to one as TFLite operators (fused activations, HARD_SWISH, legacy bilinear sampling,
NHWC), so a direct writing gives the smallest and fastest graph: no transposes, no padding operators, no operator newer
than version 2, and the same bytes on every run. The model has one signature, `serving_default`, as calibration needs.

Use::

    Path("float.tflite").write_bytes(write_tflite(graph, side=320, outputs=("heatmap", "distances")))
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from handlens.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from handlens_conversion.detector_graph import Graph, Kind, Layer

__all__ = ["SIGNATURE", "write_tflite"]

SIGNATURE = "serving_default"
_SCHEMA_VERSION = 3  # of the TFLite flatbuffer schema; fixed since 2017
_NAMES: dict[str, str] = {
    "add": "ADD",
    "concat": "CONCATENATION",
    "conv": "CONV_2D",
    "depthwise": "DEPTHWISE_CONV_2D",
    "flatten": "RESHAPE",
    "hard_swish": "HARD_SWISH",
    "logistic": "LOGISTIC",
    "mean": "MEAN",
    "mul": "MUL",
    # XNNPACK has no int8 RELU; a multiplication by one that ends in one is the same and stays in its hands.
    "relu": "MUL",
    "resize": "RESIZE_BILINEAR",
}
_OPTIONS: dict[str, str] = {
    "add": "AddOptions",
    "concat": "ConcatenationOptions",
    "conv": "Conv2DOptions",
    "depthwise": "DepthwiseConv2DOptions",
    "flatten": "ReshapeOptions",
    "hard_swish": "HardSwishOptions",
    "mean": "ReducerOptions",
    "mul": "MulOptions",
    "relu": "MulOptions",
    "resize": "ResizeBilinearOptions",
}

Shape = tuple[int, int, int, int]


def write_tflite(graph: Graph, *, side: int, outputs: Sequence[str], description: str = "handlens detector") -> bytes:
    """Return the bytes of a float32 TFLite model of `graph` for `side` x `side` RGB images, values 0..255.

    Args:
        graph: The network; its first layers read an image of shape (1, side, side, 3).
        side: Image side in pixels, a multiple of 32.
        outputs: Names of the output tensors, in the order of `graph.outputs`.
        description: What the file says of itself.

    Raises:
        ModelError: a layer joins tensors whose shapes do not fit, as happens with a side that is no multiple of 32.
    """
    writer = _Writer(graph.input, (1, side, side, 3), description)
    for layer in graph.layers:
        writer.add(layer)
    return writer.finish(graph.outputs, outputs)


class _Writer:
    """A model in the making: tensors and operators of one subgraph, and the buffers they share."""

    def __init__(self, image: str, shape: Shape, description: str) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._schema: Any = schema
        self._model: Any = schema.ModelT()
        self._model.version = _SCHEMA_VERSION
        self._model.description = description
        self._model.buffers = [schema.BufferT()]  # buffer 0 is the empty one by the schema's rule
        self._model.operatorCodes, self._codes = [], dict[str, int]()
        self._graph: Any = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []
        self._tensors: dict[str, int] = {}
        self._shapes: dict[str, Shape] = {}
        self._tensor(image, shape)
        self._graph.inputs = [self._tensors[image]]

    def add(self, layer: Layer) -> None:
        """Append a layer whose inputs have been appended."""
        shape = _shape(layer, [self._shapes[name] for name in layer.inputs])
        inputs = [self._tensors[name] for name in layer.inputs] + self._constants(layer, shape)
        operator = self._schema.OperatorT()
        operator.opcodeIndex = self._code(layer.kind)
        operator.inputs, operator.outputs = inputs, [self._tensor(layer.name, shape)]
        if layer.kind in _OPTIONS:
            operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, _OPTIONS[layer.kind])
            operator.builtinOptions = self._options(layer)
        self._graph.operators.append(operator)

    def finish(self, sources: Sequence[str], names: Sequence[str]) -> bytes:
        """Name the outputs, add the signature, and return the file."""
        import flatbuffers

        self._graph.outputs = [self._tensors[source] for source in sources]
        for index, name in zip(self._graph.outputs, names, strict=True):
            self._graph.tensors[index].name = name
        self._model.subgraphs = [self._graph]
        self._model.signatureDefs = [self._signature(names)]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _signature(self, names: Sequence[str]) -> Any:
        signature = self._schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
        signature.inputs = [self._binding("image", self._graph.inputs[0])]
        signature.outputs = [self._binding(*bound) for bound in zip(names, self._graph.outputs, strict=True)]
        return signature

    def _binding(self, name: str, index: int) -> Any:
        binding = self._schema.TensorMapT()
        binding.name, binding.tensorIndex = name, index
        return binding

    def _constants(self, layer: Layer, shape: Sequence[int]) -> list[int]:
        if layer.weights is not None and layer.bias is not None:
            return [
                self._constant(f"{layer.name}/weights", layer.weights),
                self._constant(f"{layer.name}/bias", layer.bias),
            ]
        if layer.kind == "relu":
            return [self._constant(f"{layer.name}/one", np.ones(1, np.float32))]
        if layer.kind == "mean":
            return [self._constant(f"{layer.name}/axes", np.array([1, 2], np.int32))]
        if layer.kind == "resize":
            return [self._constant(f"{layer.name}/size", np.array(shape[1:3], np.int32))]
        if layer.kind == "flatten":
            return [self._constant(f"{layer.name}/shape", np.array(shape, np.int32))]
        return []

    def _constant(self, name: str, values: NDArray[Any]) -> int:
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        kind = self._schema.TensorType.INT32 if values.dtype == np.int32 else self._schema.TensorType.FLOAT32
        return self._tensor(name, values.shape, kind, len(self._model.buffers) - 1)

    def _tensor(self, name: str, shape: Sequence[int], kind: int = 0, buffer: int = 0) -> int:
        tensor = self._schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, np.array(shape, np.int32), kind, buffer
        self._graph.tensors.append(tensor)
        self._tensors[name] = len(self._graph.tensors) - 1
        if len(shape) == 4:
            self._shapes[name] = (shape[0], shape[1], shape[2], shape[3])
        return self._tensors[name]

    def _code(self, kind: Kind) -> int:
        name = _NAMES[kind]
        if name not in self._codes:
            code = self._schema.OperatorCodeT()
            code.builtinCode = getattr(self._schema.BuiltinOperator, name)
            code.deprecatedBuiltinCode, code.version = code.builtinCode, 1
            self._model.operatorCodes.append(code)
            self._codes[name] = len(self._codes)
        return self._codes[name]

    def _options(self, layer: Layer) -> Any:
        options = getattr(self._schema, f"{_OPTIONS[layer.kind]}T")()
        if layer.kind in ("conv", "depthwise"):
            options.padding = self._schema.Padding.SAME
            options.strideH = options.strideW = layer.stride
            options.dilationHFactor = options.dilationWFactor = 1
            options.fusedActivationFunction = getattr(self._schema.ActivationFunctionType, layer.activation.upper())
        if layer.kind == "depthwise":
            options.depthMultiplier = 1
        if layer.kind == "relu":
            options.fusedActivationFunction = self._schema.ActivationFunctionType.RELU
        if layer.kind == "concat":
            options.axis = 3
        if layer.kind == "mean":
            options.keepDims = True
        return options


def _shape(layer: Layer, inputs: Sequence[Shape]) -> tuple[int, ...]:
    """Return the shape that a layer's output has."""
    batch, height, width, channels = inputs[0]
    if layer.kind == "concat":
        _require(layer, len({shape[:3] for shape in inputs}) == 1, inputs)
        return (batch, height, width, sum(shape[3] for shape in inputs))
    if layer.kind in ("add", "mul"):
        return _broadcast(layer, inputs)
    if layer.kind == "mean":
        return (batch, 1, 1, channels)
    if layer.kind == "flatten":
        return (batch, height * width * channels)
    if layer.kind == "resize":
        return (batch, 2 * height, 2 * width, channels)
    if layer.weights is not None:
        _require(layer, layer.weights.shape[3] == channels, inputs)
        out = layer.weights.shape[0] if layer.kind == "conv" else channels
        return (batch, math.ceil(height / layer.stride), math.ceil(width / layer.stride), out)
    return inputs[0]


def _broadcast(layer: Layer, inputs: Sequence[Shape]) -> Shape:
    _require(layer, all(1 in (a, b) or a == b for a, b in zip(*inputs, strict=True)), inputs)
    batch, height, width, channels = (max(sizes) for sizes in zip(*inputs, strict=True))
    return (batch, height, width, channels)


def _require(layer: Layer, fits: bool, inputs: Sequence[Shape]) -> None:
    if not fits:
        raise ModelError(f"layer {layer.name} cannot join {list(inputs)}: use an image side that is a multiple of 32")
