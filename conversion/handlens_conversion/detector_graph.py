"""The detector's network as the published package holds it, read into a short list of layers.

The package `@vladmandic/human` carries a TensorFlow.js graph model: a JSON list of TensorFlow nodes and one file of
weights in half precision. This module reads the part between the image and the two raw outputs (heat map and
distances) and leaves out the decoding behind them, which is done by the SDK.

Rules:

* Reading is exact: each layer computes what its nodes compute. Only constants are merged (a hard-sigmoid's 1/6 into the
  convolution behind it, the distances' last factor into the convolution before it), and half precision's 0.16663 is
  read as the 1/6 that it stands for. A rectification behind a concatenation moves in front of it, where a convolution
  can take it on.
* A node that is not understood is an error, never skipped.
* Weights are laid out as TFLite wants them: (out, height, width, in), depthwise (1, height, width, channels).

Use::

    graph = read_graph(folder / "package" / "models" / "centernet.json")
    [layer.kind for layer in graph.layers]      # ["conv", "hard_swish", "depthwise", ...]
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from handlens.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Graph", "Kind", "Layer", "read_graph"]

Kind = Literal[
    "add", "concat", "conv", "depthwise", "flatten", "hard_swish", "logistic", "mean", "mul", "relu", "resize"
]
Activation = Literal["none", "relu", "relu6"]

_CONVOLUTIONS: Mapping[str, Kind] = {
    "Conv2D": "conv",
    "_FusedConv2D": "conv",
    "DepthwiseConv2dNative": "depthwise",
    "FusedDepthwiseConv2dNative": "depthwise",
}
_PLAIN: Mapping[str, Kind] = {
    "Add": "add",
    "AddV2": "add",
    "ConcatV2": "concat",
    "Mean": "mean",
    "Mul": "mul",
    "Relu": "relu",
    "ResizeBilinear": "resize",
    "Sigmoid": "logistic",
}
_FUSED: Mapping[tuple[str, ...], Activation] = {(): "none", ("Relu",): "relu", ("Relu6",): "relu6"}
_HALF_PRECISION = 1e-3  # relative error that a constant may have picked up in half precision


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: float32, NHWC, batch 1. `inputs` are names of earlier layers, or the graph's input.

    `padding` is SAME as TensorFlow means it (the odd pixel goes to the right and the bottom). `resize` doubles both
    sides bilinearly with TensorFlow's legacy sampling (no half-pixel centres). `mean` is over height and width.
    `flatten`, which only an output can be, drops height and width of one pixel.
    """

    kind: Kind
    name: str
    inputs: tuple[str, ...]
    weights: NDArray[np.float32] | None = None
    bias: NDArray[np.float32] | None = None
    stride: int = 1
    activation: Activation = "none"


@dataclass(frozen=True, slots=True)
class Graph:
    """Layers in an order in which they can run, the input's name, and the layers that are the outputs."""

    input: str
    layers: tuple[Layer, ...]
    outputs: tuple[str, ...]

    def consumers(self, name: str) -> tuple[Layer, ...]:
        """Return the layers that read the output of the layer `name`."""
        return tuple(layer for layer in self.layers if name in layer.inputs)


@dataclass(frozen=True, slots=True)
class _Nodes:
    """The nodes and constants of the file, and what is asked of them while layers are made."""

    nodes: Mapping[str, Mapping[str, Any]]
    constants: Mapping[str, NDArray[Any]]

    def op(self, name: str) -> str:
        return str(self.nodes[name]["op"])

    def inputs(self, name: str) -> list[str]:
        return [source.split(":")[0] for source in self.nodes[name].get("input", [])]

    def scalar(self, name: str) -> float | None:
        constant = self.constants.get(name)
        return float(constant.reshape(-1)[0]) if constant is not None and constant.size == 1 else None

    def split(self, name: str) -> tuple[str, float] | None:
        """Return the input and the factor or summand of a node that joins a tensor with one number."""
        first, second = self.inputs(name)
        for tensor, other in ((first, second), (second, first)):
            value = self.scalar(other)
            if value is not None:
                return tensor, value
        return None


def read_graph(path: Path, *, outputs: Sequence[str] = ("tower_0/keypoints", "tower_0/wh")) -> Graph:
    """Read a TensorFlow.js graph model up to the nodes `outputs`.

    Raises:
        ModelError: a file is missing or damaged, or holds a node that this reader does not know.
    """
    model = _load(path)
    nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
    missing = [name for name in outputs if name not in nodes]
    if missing:
        raise ModelError(
            f"{path} has no node {', '.join(missing)}: it is not the CenterNet model, check the package's version"
        )
    known = _Nodes(nodes, _read_weights(model["weightsManifest"], path.parent))
    return _rectify_early(_fold_gates(_layers(known, outputs)))


def _load(path: Path) -> dict[str, Any]:
    try:
        model = json.loads(path.read_bytes())
        return {"modelTopology": model["modelTopology"], "weightsManifest": model["weightsManifest"]}
    except FileNotFoundError as error:
        raise ModelError(f"{path} does not exist: fetch the package again") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is not a TensorFlow.js graph model ({error!r}): fetch the package again") from error


def _read_weights(manifest: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, NDArray[Any]]:
    weights: dict[str, NDArray[Any]] = {}
    for group in manifest:
        data = b"".join((folder / name).read_bytes() for name in group["paths"])
        weights.update(_split_weights(group["weights"], data))
    return weights


def _split_weights(entries: Sequence[Mapping[str, Any]], data: bytes) -> Iterator[tuple[str, NDArray[Any]]]:
    offset = 0
    for entry in entries:
        stored = np.dtype(entry.get("quantization", entry)["dtype"])
        count = int(np.prod(entry["shape"], dtype=np.int64))
        if offset + count * stored.itemsize > len(data):
            raise ModelError(f"the weights end before {entry['name']}: the package is damaged, fetch it again")
        values = np.frombuffer(data, stored, count, offset).reshape(entry["shape"])
        offset += values.nbytes
        yield entry["name"], values.astype(entry["dtype"])
    if offset != len(data):
        raise ModelError(f"the weights are {len(data)} bytes, {offset} were expected: fetch the package again")


def _layers(known: _Nodes, outputs: Sequence[str]) -> Graph:
    made: dict[str, Layer] = {}
    # A name may stand for another one: identities, and nodes that were merged into a layer before them.
    names = {name: _make(known, name, made) for name in outputs}
    image = next(name for name in known.nodes if known.op(name) == "Placeholder")
    return Graph(image, tuple(made.values()), tuple(names[name] for name in outputs))


def _make(known: _Nodes, name: str, made: dict[str, Layer]) -> str:
    """Make the layer of a node after those it reads, and return the name of the layer that has its value."""
    if name in made or known.op(name) == "Placeholder":
        return name
    if known.op(name) == "Identity":
        return _make(known, known.inputs(name)[0], made)
    layer = _layer(known, name)
    sources = tuple(_make(known, source, made) for source in layer.inputs)
    scale = known.split(name) if layer.kind == "mul" else None
    if scale is not None:
        return _scale(made, sources[0], scale[1])
    made[name] = replace(layer, inputs=sources)
    return name


def _layer(known: _Nodes, name: str) -> Layer:
    op = known.op(name)
    if op in _CONVOLUTIONS:
        return _convolution(known, name, _CONVOLUTIONS[op])
    gated = _hard_swish(known, name) if op == "Mul" else None
    if gated is not None:
        return Layer("hard_swish", name, (gated,))
    gate = _hard_sigmoid(known, name) if op == "Mul" else None
    if gate is not None:
        return _gate(known, name, gate)
    if op not in _PLAIN:
        raise ModelError(f"node {name} is a {op}, which this converter does not know: use the package version it names")
    return Layer(_PLAIN[op], name, tuple(source for source in known.inputs(name) if source not in known.constants))


def _convolution(known: _Nodes, name: str, kind: Kind) -> Layer:
    attributes = known.nodes[name]["attr"]
    fused = [_text(value) for value in attributes.get("fused_ops", {}).get("list", {}).get("s", [])]
    activation = _FUSED.get(tuple(step for step in fused if step != "BiasAdd"))
    strides = [int(step) for step in attributes["strides"]["list"]["i"]]
    dilations = {int(step) for step in attributes.get("dilations", {}).get("list", {}).get("i", ["1"])}
    source, weights, *bias = known.inputs(name)
    kernel = known.constants[weights].transpose(3, 0, 1, 2)
    if activation is None or strides[1] != strides[2] or dilations != {1} or not _pads_same(attributes, kernel):
        raise ModelError(f"node {name} has options that this converter does not know: use the package version it names")
    offset = known.constants[bias[0]] if bias else np.zeros(_channels(kind, kernel), np.float32)
    return Layer(kind, name, (source,), np.ascontiguousarray(kernel), offset, strides[1], activation)


def _channels(kind: Kind, kernel: NDArray[np.float32]) -> int:
    return int(kernel.shape[0] if kind == "conv" else kernel.shape[3])


def _pads_same(attributes: Mapping[str, Any], kernel: NDArray[np.float32]) -> bool:
    # A 1x1 kernel never needs padding, so VALID and SAME are one for it.
    return _text(attributes["padding"]["s"]) == "SAME" or kernel.shape[1:3] == (1, 1)


def _text(value: str) -> str:
    return base64.b64decode(value).decode("ascii")


def _hard_swish(known: _Nodes, name: str) -> str | None:
    """Return x where a node computes (x / 6) * relu6(x + 3), else None."""
    scaled, gate = known.inputs(name)
    if gate in known.constants or known.op(gate) != "Relu6" or known.op(scaled) != "Mul":
        return None
    sixth, shifted = known.split(scaled), known.split(known.inputs(gate)[0])
    if sixth is None or shifted is None or sixth[0] != shifted[0]:
        return None
    return sixth[0] if _is(sixth[1], 1 / 6) and _is(shifted[1], 3) else None


def _hard_sigmoid(known: _Nodes, name: str) -> str | None:
    """Return x where a node computes relu6(x + 3) / 6, else None."""
    sixth = known.split(name)
    if sixth is None or known.op(sixth[0]) != "Relu6" or not _is(sixth[1], 1 / 6):
        return None
    shifted = known.split(known.inputs(sixth[0])[0])
    return shifted[0] if shifted is not None and _is(shifted[1], 3) else None


def _is(value: float, constant: float) -> bool:
    return abs(value - constant) <= _HALF_PRECISION * abs(constant)


def _gate(known: _Nodes, name: str, source: str) -> Layer:
    """Make the convolution of a squeeze-and-excite gate end in relu6(x + 3): six times the hard-sigmoid."""
    layer = _layer(known, source)
    if layer.kind != "conv" or layer.bias is None:
        raise ModelError(f"node {name} is a hard-sigmoid behind a {layer.kind}: only convolutions are known there")
    return replace(layer, name=name, bias=layer.bias + np.float32(3), activation="relu6")


def _scale(made: dict[str, Layer], name: str, factor: float) -> str:
    """Multiply a linear convolution's output by a constant, in its weights."""
    layer = made[name]
    if layer.weights is None or layer.bias is None or layer.activation != "none":
        raise ModelError(f"layer {name} ({layer.kind}) is multiplied by {factor}: only linear convolutions can be")
    made[name] = replace(layer, weights=layer.weights * np.float32(factor), bias=layer.bias * np.float32(factor))
    return name


def _fold_gates(graph: Graph) -> Graph:
    """Divide by six where a gated tensor is read, since `_gate` left its factor out."""
    divided = Counter(
        _reader(graph, _reader(graph, layer)).name for layer in graph.layers if layer.activation == "relu6"
    )
    layers = (_divide(layer, 6.0 ** divided[layer.name]) for layer in graph.layers)
    return replace(graph, layers=tuple(layers))


def _reader(graph: Graph, layer: Layer) -> Layer:
    readers = graph.consumers(layer.name)
    if len(readers) != 1 or readers[0].kind not in ("mul", "conv"):
        raise ModelError(f"the gate {layer.name} is not read as a squeeze-and-excite gate: check the package's version")
    return readers[0]


def _divide(layer: Layer, divisor: float) -> Layer:
    if divisor == 1:
        return layer
    if layer.weights is None:
        raise ModelError(f"the gated tensor is read by {layer.name}, which has no weights: check the package's version")
    return replace(layer, weights=layer.weights / np.float32(divisor))


def _rectify_early(graph: Graph) -> Graph:
    """Rectify the parts of a concatenation instead of the whole: relu(concat(a, b)) is concat(relu(a), relu(b))."""
    layers = {layer.name: layer for layer in graph.layers}
    for relu in [layer for layer in graph.layers if layer.kind == "relu"]:
        joined = layers[relu.inputs[0]]
        if joined.kind != "concat" or len(graph.consumers(joined.name)) != 1:
            continue
        parts = tuple(_rectified(graph, layers, name) for name in joined.inputs)
        layers.pop(joined.name)
        # The concatenation takes the rectified name's place, behind the parts that were just made.
        layers.pop(relu.name)
        layers[relu.name] = replace(joined, name=relu.name, inputs=parts)
    return replace(graph, layers=_ordered(layers, graph))


def _rectified(graph: Graph, layers: dict[str, Layer], name: str) -> str:
    layer = layers[name]
    if layer.kind == "conv" and layer.activation == "none" and len(graph.consumers(name)) == 1:
        layers[name] = replace(layer, activation="relu")
        return name
    layers[f"{name}/relu"] = Layer("relu", f"{name}/relu", (name,))
    return f"{name}/relu"


def _ordered(layers: Mapping[str, Layer], graph: Graph) -> tuple[Layer, ...]:
    """Order layers so that each comes after those it reads."""
    ordered: dict[str, Layer] = {}

    def place(name: str) -> None:
        if name in ordered or name == graph.input:
            return
        for source in layers[name].inputs:
            place(source)
        ordered[name] = layers[name]

    for output in graph.outputs:
        place(output)
    return tuple(ordered.values())
