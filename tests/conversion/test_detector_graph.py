"""Reading a TensorFlow.js graph model, on a small network written out here, and writing it as TFLite."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from handlens.errors import ModelError
from handlens_conversion.detector_graph import Graph, Layer, read_graph
from handlens_conversion.detector_tflite import write_tflite

RNG = np.random.default_rng(7)


def text(value: str) -> dict[str, str]:
    return {"s": base64.b64encode(value.encode()).decode()}


def conv(
    name: str, source: str, weights: str, bias: str, *, fused: tuple[str, ...] = (), stride: int = 1
) -> dict[str, Any]:
    return {
        "name": name,
        "op": "_FusedConv2D",
        "input": [source, weights, bias],
        "attr": {
            "padding": text("SAME"),
            "strides": {"list": {"i": ["1", str(stride), str(stride), "1"]}},
            "fused_ops": {"list": {"s": [text(step)["s"] for step in ("BiasAdd", *fused)]}},
        },
    }


def node(name: str, op: str, *inputs: str) -> dict[str, Any]:
    return {"name": name, "op": op, "input": list(inputs), "attr": {}}


def write_model(folder: Path, nodes: list[dict[str, Any]], constants: dict[str, NDArray[Any]]) -> Path:
    entries, data = [], b""
    for name, values in constants.items():
        stored = values.astype(np.float16) if values.dtype == np.float32 else values
        entry = {"name": name, "shape": list(values.shape), "dtype": values.dtype.name}
        if values.dtype == np.float32:
            entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
        entries.append(entry)
        data += stored.tobytes()
    (folder / "net.bin").write_bytes(data)
    everything = [{"name": name, "op": "Const", "attr": {}} for name in constants] + nodes
    model = {
        "modelTopology": {"node": everything},
        "weightsManifest": [{"paths": ["net.bin"], "weights": entries}],
    }
    (folder / "net.json").write_text(json.dumps(model))
    return folder / "net.json"


def random(*shape: int) -> NDArray[np.float32]:
    # Values that half precision holds exactly, so that expected results need no rounding.
    return RNG.integers(-8, 8, shape).astype(np.float32) / 8


SIXTH = np.array(1 / 6, np.float32)
THREE = np.array(3, np.float32)

NODES = [
    node("image", "Placeholder"),
    conv("stem", "image", "stem/w", "stem/b", stride=2),
    node("swish/sixth", "Mul", "sixth", "stem"),
    node("swish/shift", "Add", "stem", "three"),
    node("swish/clip", "Relu6", "swish/shift"),
    node("swish", "Mul", "swish/sixth", "swish/clip"),
    node("pooled", "Mean", "swish", "axes"),
    conv("gate/conv", "pooled", "gate/w", "gate/b"),
    node("gate/shift", "Add", "gate/conv", "three"),
    node("gate/clip", "Relu6", "gate/shift"),
    node("gate", "Mul", "sixth", "gate/clip"),
    node("gated", "Mul", "gate", "swish"),
    conv("project", "gated", "project/w", "project/b"),
    node("up", "ResizeBilinear", "project", "size"),
    conv("side", "image", "side/w", "side/b"),
    node("joined", "ConcatV2", "side", "up", "axis"),
    node("rectified", "Relu", "joined"),
    conv("wide", "rectified", "wide/w", "wide/b"),
    node("scaled", "Mul", "wide", "sixteen"),
    node("keypoints", "Sigmoid", "wide2"),
    conv("wide2", "rectified", "wide/w", "wide/b"),
    node("wh", "Identity", "scaled"),
]


def constants() -> dict[str, NDArray[Any]]:
    return {
        "stem/w": random(3, 3, 3, 4),
        "stem/b": random(4),
        "gate/w": random(1, 1, 4, 4),
        "gate/b": random(4),
        "project/w": random(1, 1, 4, 2),
        "project/b": random(2),
        "side/w": random(1, 1, 3, 2),
        "side/b": random(2),
        "wide/w": random(1, 1, 4, 4),
        "wide/b": random(4),
        "sixth": SIXTH,
        "three": THREE,
        "sixteen": np.array(16, np.float32),
        "axes": np.array([1, 2], np.int32),
        "axis": np.array(3, np.int32),
        "size": np.array([8, 8], np.int32),
    }


@pytest.fixture
def weights() -> dict[str, NDArray[Any]]:
    return constants()


@pytest.fixture
def graph(tmp_path: Path, weights: dict[str, NDArray[Any]]) -> Graph:
    return read_graph(write_model(tmp_path, NODES, weights), outputs=("keypoints", "wh"))


def layers(graph: Graph) -> dict[str, Layer]:
    return {layer.name: layer for layer in graph.layers}


def expected(image: NDArray[np.float32], c: dict[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The small network in plain NumPy, from the TensorFlow definitions of its nodes."""
    # SAME with stride 2 on 8 pixels and a 3x3 kernel pads nothing before and one pixel after.
    padded = np.pad(image, ((0, 1), (0, 1), (0, 0)))
    stem = np.empty((4, 4, 4), np.float64)
    for y in range(4):
        for x in range(4):
            stem[y, x] = np.tensordot(padded[2 * y : 2 * y + 3, 2 * x : 2 * x + 3], c["stem/w"], 3) + c["stem/b"]
    swish = stem * np.clip(stem + 3, 0, 6) / 6
    gate = np.clip(swish.mean((0, 1)) @ c["gate/w"][0, 0] + c["gate/b"] + 3, 0, 6) / 6
    project = (swish * gate) @ c["project/w"][0, 0] + c["project/b"]
    up = np.empty((8, 8, 2))
    for y in range(8):
        for x in range(8):  # legacy sampling: output pixel i looks at input i / 2
            rows, columns = {y // 2, min((y + 1) // 2, 3)}, {x // 2, min((x + 1) // 2, 3)}
            up[y, x] = np.mean([project[row, column] for row in rows for column in columns], axis=0)
    joined = np.maximum(np.concatenate([image @ c["side/w"][0, 0] + c["side/b"], up], axis=2), 0)
    wide = joined @ c["wide/w"][0, 0] + c["wide/b"]
    return 1 / (1 + np.exp(-wide)), wide * 16


def test_a_hard_swish_becomes_one_layer(graph: Graph) -> None:
    assert layers(graph)["swish"] == Layer("hard_swish", "swish", ("stem",))


def test_a_gate_ends_in_relu6_and_its_sixth_goes_into_the_convolution_behind(
    graph: Graph, weights: dict[str, NDArray[Any]]
) -> None:
    gate, project = layers(graph)["gate"], layers(graph)["project"]
    assert (gate.kind, gate.activation) == ("conv", "relu6")
    np.testing.assert_allclose(gate.bias, weights["gate/b"] + 3)
    np.testing.assert_allclose(project.weights[:, 0, 0, :], weights["project/w"][0, 0].T / 6, rtol=1e-6)


def test_a_constant_factor_goes_into_the_convolution_before(graph: Graph, weights: dict[str, NDArray[Any]]) -> None:
    assert graph.outputs[1] == "wide"
    np.testing.assert_allclose(layers(graph)["wide"].bias, weights["wide/b"] * 16)


def test_a_rectification_moves_in_front_of_its_concatenation(graph: Graph) -> None:
    assert layers(graph)["rectified"].inputs == ("side", "up/relu")
    assert layers(graph)["side"].activation == "relu"
    assert "joined" not in layers(graph)


def test_every_layer_comes_after_those_it_reads(graph: Graph) -> None:
    seen = {graph.input}
    for layer in graph.layers:
        assert set(layer.inputs) <= seen
        seen.add(layer.name)


def test_the_tflite_model_computes_what_the_nodes_define(graph: Graph, weights: dict[str, NDArray[Any]]) -> None:
    interpreter_module = pytest.importorskip("ai_edge_litert.interpreter")
    interpreter = interpreter_module.Interpreter(
        model_content=write_tflite(graph, side=8, outputs=("heatmap", "distances")), num_threads=1
    )
    interpreter.allocate_tensors()
    image = RNG.random((8, 8, 3), np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
    interpreter.invoke()
    found = [interpreter.get_tensor(output["index"])[0] for output in interpreter.get_output_details()]
    for values, wanted in zip(found, expected(image, weights), strict=True):
        np.testing.assert_allclose(values, wanted, atol=2e-5)


def test_writing_twice_gives_the_same_bytes(graph: Graph) -> None:
    pytest.importorskip("ai_edge_litert")
    first, second = (write_tflite(graph, side=8, outputs=("heatmap", "distances")) for _ in range(2))
    assert first == second


def test_an_unknown_node_is_refused_by_name(tmp_path: Path) -> None:
    nodes = [*NODES[:-1], node("wh", "Erf", "scaled")]
    with pytest.raises(ModelError, match="node wh is a Erf"):
        read_graph(write_model(tmp_path, nodes, constants()), outputs=("keypoints", "wh"))


def test_weights_that_end_early_are_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path, NODES, constants())
    (tmp_path / "net.bin").write_bytes((tmp_path / "net.bin").read_bytes()[:-40])
    with pytest.raises(ModelError, match="the weights end before"):
        read_graph(path, outputs=("keypoints", "wh"))


def test_another_network_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path, NODES, constants())
    with pytest.raises(ModelError, match="has no node tower_0/keypoints"):
        read_graph(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"modelTopology": 3}'])
def test_a_file_that_is_no_graph_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.json").write_bytes(content)
    with pytest.raises(ModelError, match="is not a TensorFlow.js graph model"):
        read_graph(tmp_path / "net.json")
