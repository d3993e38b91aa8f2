"""The last layer of a quantized detector's file: read it, add rows to it, or make its features an output.

Rules:

* The heat map must be a LOGISTIC of a 1x1 CONV_2D with int8 weights, one scale a row, and int8 input and output.
  Another network is refused by name; nothing else of the file is looked at.
* Rows are added behind the ones that are there. Those, and every other byte that computes something, stay as they are.
* New weights are int8 with one scale a row (largest weight 127), the bias is int32 with scale of features x scale of
  row: what the TFLite specification of 8-bit quantization asks for.

Use::

    head = Head.open(model_bytes)
    features = head.features_model()          # a file whose outputs are (features, heat map), both int8
    wider = head.with_rows(Rows(("windmill",), weights, bias))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from handlens.errors import ModelError
from handlens_conversion.training.records import Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Head", "quantize_rows"]

_ALIGNMENT = 16  # bytes, of each constant's place in the file: what the schema asks for
_INLINE = 1024  # bytes: larger constants stand behind the flatbuffer


@dataclass(frozen=True, slots=True)
class _Layer:
    """Where the heat map's last layer stands: numbers of tensors."""

    features: int
    weights: int
    bias: int
    logits: int
    heat: int


class Head:
    """The parsed file of a detector."""

    def __init__(self, data: bytes, layer: _Layer) -> None:
        self._data, self._layer = data, layer
        self._model = _parse(data)

    @classmethod
    def open(cls, data: bytes, *, output: str = "heatmap") -> Head:
        """Parse a .tflite file.

        Raises:
            ModelError: it is no such network as the rules ask for.
        """
        return cls(data, _find(_parse(data), output))

    @property
    def data(self) -> bytes:
        """The file."""
        return self._data

    @property
    def rows(self) -> int:
        """Labels of the heat map."""
        return int(self._tensor(self._layer.weights).shape[0])

    @property
    def width(self) -> int:
        """Features of a cell."""
        return int(self._tensor(self._layer.weights).shape[3])

    @property
    def scale(self) -> tuple[float, int]:
        """Scale and zero point of the features: real = scale * (stored - zero point)."""
        return _scale(self._tensor(self._layer.features))

    @property
    def logit_range(self) -> tuple[float, float]:
        """The smallest and the largest logit that the file can hold; what lies outside is cut off."""
        scale, zero_point = _scale(self._tensor(self._layer.logits))
        return scale * (-128 - zero_point), scale * (127 - zero_point)

    def features_model(self) -> bytes:
        """The file with the features as its first output and the heat map as its second."""
        model = _parse(self._data)
        model.subgraphs[0].outputs = np.array([self._layer.features, self._layer.heat], np.int32)
        model.signatureDefs = []
        return _pack(model)

    def only_rows(self, kept: Sequence[int]) -> Head:
        """The head with these of its rows, in this order."""
        model, numbers = _parse(self._data), list(kept)
        weights, bias = (self._constant(number) for number in (self._layer.weights, self._layer.bias))
        scales = self._tensor(self._layer.weights).quantization.scale
        self._resize(model, weights[numbers], bias[numbers], scales[numbers])
        return Head(_pack(model), self._layer)

    def with_rows(self, rows: Rows) -> bytes:
        """The file with the rows of new labels behind its own.

        Raises:
            ValueError: the rows have another number of features.
        """
        if rows.weights.shape != (len(rows.labels), self.width) or rows.bias.shape != (len(rows.labels),):
            raise ValueError(f"rows of {rows.weights.shape} do not fit {self.width} features")
        model = _parse(self._data)
        weights, bias, scales = quantize_rows(rows.weights, rows.bias, self.scale[0])
        old = self._tensor(self._layer.weights)
        self._resize(
            model,
            np.concatenate([self._constant(self._layer.weights), weights.reshape(-1, 1, 1, self.width)]),
            np.concatenate([self._constant(self._layer.bias), bias]),
            np.concatenate([old.quantization.scale, scales]).astype(np.float32),
        )
        return _pack(model)

    def _resize(self, model: Any, weights: NDArray[np.int8], bias: NDArray[np.int32], scales: NDArray[Any]) -> None:
        tensors = model.subgraphs[0].tensors
        for number, values, factor in (
            (self._layer.weights, weights, 1.0),
            (self._layer.bias, bias, self.scale[0]),
        ):
            tensor = tensors[number]
            tensor.shape = np.array(values.shape, np.int32)
            tensor.quantization.scale = np.asarray(scales * factor, np.float32)
            tensor.quantization.zeroPoint = np.zeros(len(values), np.int64)
            model.buffers[tensor.buffer].data = np.frombuffer(values.tobytes(), np.uint8)
        for number in (self._layer.logits, self._layer.heat):
            shape = np.array(tensors[number].shape, np.int32)
            shape[3] = len(bias)
            tensors[number].shape = shape

    def _tensor(self, number: int) -> Any:
        return self._model.subgraphs[0].tensors[number]

    def _constant(self, number: int) -> NDArray[Any]:
        tensor = self._tensor(number)
        kind = np.int8 if number == self._layer.weights else np.int32
        values = np.frombuffer(self._model.buffers[tensor.buffer].data.tobytes(), kind)
        return values.reshape(tuple(int(side) for side in tensor.shape))


def quantize_rows(
    weights: NDArray[np.float32], bias: NDArray[np.float32], scale: float
) -> tuple[NDArray[np.int8], NDArray[np.int32], NDArray[np.float32]]:
    """Return int8 weights (n, features), int32 biases (n,), and the rows' scales (n,), for features of this scale."""
    largest = np.abs(weights).max(axis=1)
    scales = np.where(largest > 0, largest / 127, 1.0).astype(np.float32)
    stored = np.clip(np.rint(weights / scales[:, None]), -127, 127).astype(np.int8)
    limits = np.iinfo(np.int32)
    offsets = np.rint(bias.astype(np.float64) / (scales.astype(np.float64) * scale))
    return stored, np.clip(offsets, limits.min, limits.max).astype(np.int32), scales


def _parse(data: bytes) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(data, 0)
    for buffer in model.buffers:
        # Large constants may stand behind the flatbuffer; the parser leaves them there.
        if buffer.offset:
            buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
    return model


def _pack(model: Any) -> bytes:
    """The file: the flatbuffer, and behind it the large constants, each at a multiple of 16 bytes."""
    import flatbuffers

    outside = [(buffer, buffer.data) for buffer in model.buffers if _stands_outside(buffer)]
    for buffer in model.buffers:
        buffer.offset = buffer.size = 0
    for buffer, data in outside:
        # Any number but zero: the flatbuffer's length does not depend on which.
        buffer.data, buffer.offset, buffer.size = None, 1, len(data)
    for _ in range(2):
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        packed = bytes(builder.Output())
        end = len(packed)
        for buffer, data in outside:
            buffer.offset = end + -end % _ALIGNMENT
            end = buffer.offset + len(data)
    content = bytearray(packed)
    for buffer, data in outside:
        content += bytes(buffer.offset - len(content)) + data.tobytes()
    return bytes(content)


def _stands_outside(buffer: Any) -> bool:
    return buffer.data is not None and len(buffer.data) > _INLINE


def _find(model: Any, output: str) -> _Layer:
    graph = model.subgraphs[0]
    makers = {int(number): operator for operator in graph.operators for number in operator.outputs}
    named = [int(number) for number in graph.outputs if graph.tensors[number].name == output.encode()]
    if len(named) != 1:
        raise _unfit(f"it has no output named {output}")
    heat = named[0]
    logits = int(_maker(model, makers, heat, "LOGISTIC").inputs[0])
    features, weights, bias = (int(number) for number in _maker(model, makers, logits, "CONV_2D").inputs)
    tensors = graph.tensors
    types = [int(tensors[number].type) for number in (features, weights, logits)]
    if types != [9, 9, 9] or int(tensors[bias].type) != 2 or tuple(tensors[weights].shape[1:3]) != (1, 1):
        raise _unfit("its last layer is not a 1x1 convolution in int8")
    if len(tensors[weights].quantization.scale) != tensors[weights].shape[0]:
        raise _unfit("its last layer has no scale of its own for each row")
    return _Layer(features, weights, bias, logits, heat)


def _maker(model: Any, makers: dict[int, Any], tensor: int, kind: str) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    operator = makers.get(tensor)
    code = None if operator is None else int(model.operatorCodes[operator.opcodeIndex].builtinCode)
    if code != getattr(schema.BuiltinOperator, kind):
        raise _unfit(f"its heat map does not end in {kind}")
    return operator


def _scale(tensor: Any) -> tuple[float, int]:
    return float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0])


def _unfit(why: str) -> ModelError:
    return ModelError(
        f"this detector cannot be taught: {why}; start from a detector that 'handlens-convert models build' made"
    )
