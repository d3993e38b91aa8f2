"""Our two .tflite files, made acceptable to MediaPipe Tasks: both sides of the comparison run the same networks.

MediaPipe takes neither file as it is:

- its ObjectDetector decodes anchor boxes only (``y, x, height, width`` around fixed anchors, shapes ``(1, n, 4)`` and
  ``(1, n, classes)``), and our CenterNet gives distances to the four sides on a grid. A 1x1 convolution turns
  ``left, top, right, bottom`` into ``dy, dx, height, width``, two reshapes flatten the grid, and each cell becomes one
  anchor: the same boxes, decoded by MediaPipe's own code. It has no 3x3 peak search; its NMS does that work.
- its ImageEmbedder takes uint8 or float input and float output. Where ours has int8 tensors, a QUANTIZE is put before
  and DEQUANTIZE behind. Of our two outputs (embedding and logits) it returns both.

Both get the metadata that MediaPipe asks for. The added operators cost well under 1 % of the network. Runs in the
environment that has `mediapipe`; called by `mediapipe_peer.py`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import flatbuffers
import numpy as np
from mediapipe.tasks.metadata import schema_py_generated as schema

# The wheels of MediaPipe 1.x bring the metadata writer but not the native module that it asks for one thing: which
# version of the parser the metadata needs at least.
_VERSION_MODULE = "mediapipe.tasks.cc.metadata.python"
if _VERSION_MODULE not in sys.modules:
    _stand_in = ModuleType(_VERSION_MODULE)
    _stand_in._pywrap_metadata_version = ModuleType("_pywrap_metadata_version")  # type: ignore[attr-defined]
    _stand_in._pywrap_metadata_version.GetMinimumMetadataParserVersion = lambda _: "1.5.0"  # type: ignore[attr-defined]
    sys.modules[_VERSION_MODULE] = _stand_in

from mediapipe.tasks.python.metadata.metadata_writers import metadata_writer, object_detector  # noqa: E402
from mediapipe.tasks.python.metadata.metadata_writers.metadata_info import RawDetectionOutputTensorsOrder  # noqa: E402

__all__ = ["detector_for_mediapipe", "embedder_for_mediapipe"]

# Rows: dy, dx, height, width of the box around its cell, from left, top, right, bottom.
_SIDES_TO_BOX = np.array([[0, -0.5, 0, 0.5], [-0.5, 0, 0.5, 0], [0, 1, 0, 1], [1, 0, 1, 0]], dtype=np.float32)


class _Graph:
    """A .tflite file opened for appending operators."""

    def __init__(self, content: bytes) -> None:
        self.model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
        for buffer in self.model.buffers:
            if buffer.offset > 1:  # weights kept behind the flatbuffer, which a rewrite would move
                buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
                buffer.offset = buffer.size = 0
        self.main = self.model.subgraphs[0]
        self.model.signatureDefs = []  # they name tensors that are no longer inputs or outputs

    def tensor(self, name: str, shape: tuple[int, ...], kind: int, values: np.ndarray | None = None) -> int:
        """Add a tensor, constant when `values` are given; its index."""
        buffer = schema.BufferT()
        if values is not None:
            buffer.data = np.frombuffer(values.tobytes(), dtype=np.uint8)
        self.model.buffers.append(buffer)
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name.encode(), np.array(shape, dtype=np.int32), kind
        tensor.buffer, tensor.hasRank = len(self.model.buffers) - 1, True
        self.main.tensors.append(tensor)
        return len(self.main.tensors) - 1

    def operator(self, code: int, inputs: list[int], output: int, kind: int = 0, options: Any = None) -> Any:
        """An operator, not yet placed."""
        entry = schema.OperatorCodeT()
        entry.builtinCode = entry.deprecatedBuiltinCode = code
        entry.version = 1
        self.model.operatorCodes.append(entry)
        made = schema.OperatorT()
        made.opcodeIndex = len(self.model.operatorCodes) - 1
        made.inputs, made.outputs = np.array(inputs, dtype=np.int32), np.array([output], dtype=np.int32)
        made.builtinOptionsType, made.builtinOptions = kind, options
        return made

    def reshape(self, source: int, name: str, shape: tuple[int, ...]) -> int:
        """Append RESHAPE; the index of the new tensor."""
        options = schema.ReshapeOptionsT()
        options.newShape = np.array(shape, dtype=np.int32)
        target = self.tensor(name, shape, schema.TensorType.FLOAT32)
        sizes = self.tensor(f"{name}/shape", (len(shape),), schema.TensorType.INT32, options.newShape)
        self.main.operators.append(
            self.operator(
                schema.BuiltinOperator.RESHAPE, [source, sizes], target, schema.BuiltinOptions.ReshapeOptions, options
            )
        )
        return target

    def pointwise(self, source: int, name: str, weights: np.ndarray) -> int:
        """Append a 1x1 CONV_2D with `weights` (out, in); the index of the new tensor."""
        out, depth = weights.shape
        options = schema.Conv2DOptionsT()
        options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
        shape = (*(int(side) for side in self.main.tensors[source].shape[:3]), out)
        float32 = schema.TensorType.FLOAT32
        kernel = self.tensor(f"{name}/kernel", (out, 1, 1, depth), float32, weights)
        bias = self.tensor(f"{name}/bias", (out,), float32, np.zeros(out, dtype=np.float32))
        target = self.tensor(name, shape, float32)
        inputs = [source, kernel, bias]
        kind = schema.BuiltinOptions.Conv2DOptions
        self.main.operators.append(self.operator(schema.BuiltinOperator.CONV_2D, inputs, target, kind, options))
        return target

    def take_uint8(self) -> None:
        """Put a QUANTIZE in front of an int8 input: pixels go in as uint8."""
        inner = int(self.main.inputs[0])
        tensor = self.main.tensors[inner]
        if tensor.type != schema.TensorType.INT8:
            return
        outer = self.tensor("pixels", tuple(tensor.shape), schema.TensorType.UINT8)
        self.main.tensors[outer].quantization = _quantization(
            tensor.quantization.scale[0], tensor.quantization.zeroPoint[0] + 128
        )
        self.main.operators.insert(0, self.operator(schema.BuiltinOperator.QUANTIZE, [outer], inner))
        self.main.inputs = np.array([outer], dtype=np.int32)

    def give_float(self) -> None:
        """Append a DEQUANTIZE to each quantized output."""
        self.main.outputs = np.array([self._as_float(int(at)) for at in self.main.outputs], dtype=np.int32)

    def _as_float(self, at: int) -> int:
        tensor = self.main.tensors[at]
        if tensor.type == schema.TensorType.FLOAT32:
            return at
        target = self.tensor(f"{tensor.name.decode()}/real", tuple(tensor.shape), schema.TensorType.FLOAT32)
        self.main.operators.append(self.operator(schema.BuiltinOperator.DEQUANTIZE, [at], target))
        return target

    def content(self) -> bytearray:
        """The file."""
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytearray(builder.Output())


def detector_for_mediapipe(content: bytes, spec: dict[str, Any]) -> bytes:
    """A detector as `mediapipe.tasks.vision.ObjectDetector` takes it; `spec` is its model.json."""
    graph = _Graph(content)
    graph.take_uint8()
    graph.give_float()
    heat, distances = (int(graph.main.outputs[spec["outputs"][name]["position"]]) for name in ("heatmap", "distances"))
    rows, columns, classes = spec["outputs"]["heatmap"]["shape"][1:]
    boxes = graph.pointwise(distances, "boxes", _SIDES_TO_BOX)
    graph.main.outputs = np.array(
        [
            graph.reshape(boxes, "location", (1, rows * columns, 4)),
            graph.reshape(heat, "score", (1, rows * columns, classes)),
        ],
        dtype=np.int32,
    )
    writer = object_detector.MetadataWriter.create_for_models_without_nms(
        graph.content(),
        [spec["input"]["mean"]],
        [spec["input"]["std"]],
        metadata_writer.Labels().add(spec["labels"]),
        object_detector.SsdAnchorsOptions(object_detector.FixedAnchorsSchema(_anchors(rows, columns, spec))),
        _decoding(rows * columns, classes, spec["input"]),
        RawDetectionOutputTensorsOrder.LOCATION_SCORE,
    )
    return bytes(writer.populate()[0])


def embedder_for_mediapipe(content: bytes, spec: dict[str, Any]) -> bytes:
    """An embedder as `mediapipe.tasks.vision.ImageEmbedder` takes it; `spec` is its model.json."""
    graph = _Graph(content)
    graph.take_uint8()
    graph.give_float()
    writer = metadata_writer.MetadataWriter.create(graph.content())
    writer.add_general_info("ImageEmbedder", spec["name"])
    writer.add_image_input([spec["input"]["mean"]], [spec["input"]["std"]])
    for _ in graph.main.outputs:
        writer.add_feature_output()
    return bytes(writer.populate()[0])


def _anchors(rows: int, columns: int, spec: dict[str, Any]) -> list[object_detector.FixedAnchor]:
    stride, offset = spec["decode"]["stride"], spec["decode"].get("cell_offset", 0.0)
    across, down = stride / spec["input"]["width"], stride / spec["input"]["height"]
    return [
        object_detector.FixedAnchor((column + offset) * across, (row + offset) * down, 1.0, 1.0)
        for row in range(rows)
        for column in range(columns)
    ]


def _decoding(boxes: int, classes: int, image: dict[str, Any]) -> object_detector.TensorsDecodingOptions:
    return object_detector.TensorsDecodingOptions(
        num_classes=classes,
        num_boxes=boxes,
        num_coords=4,
        keypoint_coord_offset=0,
        num_keypoints=0,
        num_values_per_keypoint=2,
        x_scale=float(image["width"]),
        y_scale=float(image["height"]),
        w_scale=float(image["width"]),
        h_scale=float(image["height"]),
        apply_exponential_on_box_size=False,
        sigmoid_score=False,
    )


def _quantization(scale: float, zero_point: int) -> Any:
    made = schema.QuantizationParametersT()
    made.scale = np.array([scale], dtype=np.float32)
    made.zeroPoint = np.array([zero_point], dtype=np.int64)
    return made
