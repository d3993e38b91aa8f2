"""Rows are added to the shipped network's file, and nothing else of it changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.paths import CATALOG, MODELS

from handlens.errors import ModelError
from handlens.vision.image import load_photo
from handlens_conversion.training.head import Head, quantize_rows
from handlens_conversion.training.records import Rows

FILE = (MODELS / "detector" / "model.tflite").read_bytes()
RANDOM = np.random.default_rng(7)
ROWS = Rows(
    ("hammer", "windmill", "dam"),
    RANDOM.normal(0, 0.1, (3, 128)).astype(np.float32),
    RANDOM.normal(-4, 1, 3).astype(np.float32),
)


@pytest.fixture(scope="module")
def head() -> Head:
    return Head.open(FILE)


@pytest.fixture(scope="module")
def image() -> Any:
    pixels = load_photo(CATALOG / "images" / "bus-1.jpg").pixels(size=(320, 320), resample="quad")
    return (pixels.astype(np.int16) - 128).astype(np.int8)[None]


def run(model: bytes, image: Any) -> list[Any]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return [interpreter.get_tensor(output["index"])[0] for output in interpreter.get_output_details()]


def test_the_old_labels_outputs_stay_the_same_bits(head: Head, image: Any) -> None:
    (heat, reach), (wider, same) = run(FILE, image), run(head.with_rows(ROWS), image)
    assert wider.shape == (80, 80, 83)
    assert np.array_equal(wider[:, :, :80], heat)
    assert np.array_equal(same, reach)


def test_the_new_rows_compute_what_they_say(head: Head, image: Any) -> None:
    features = run(head.features_model(), image)[0]
    scale, zero_point = head.scale
    logits = scale * (features.astype(np.float32) - zero_point) @ ROWS.weights.T + ROWS.bias
    expected = 1 / (1 + np.exp(-np.clip(logits, *head.logit_range)))
    found = (run(head.with_rows(ROWS), image)[0][:, :, 80:].astype(np.float32) + 128) / 256
    # A step of a logit is 0.07, so a score is off by at most 0.009 by rounding, and 1/512 by its own step.
    assert np.abs(found - expected).max() < 0.02


def test_a_row_costs_its_weights_and_little_else(head: Head) -> None:
    assert len(head.with_rows(ROWS)) - len(FILE) < 3 * 128 + 500


def test_rows_can_be_taken_away_again(head: Head, image: Any) -> None:
    again = Head.open(head.with_rows(ROWS)).only_rows(range(80))
    assert again.rows == 80
    outputs = run(again.with_rows(ROWS), image)
    assert np.array_equal(outputs[0], run(head.with_rows(ROWS), image)[0])


def test_any_rows_can_be_kept(head: Head, image: Any) -> None:
    kept = [3, 70, 5]
    assert np.array_equal(run(head.only_rows(kept).data, image)[0], run(FILE, image)[0][:, :, kept])


def test_the_features_are_those_that_the_heat_map_is_made_of(head: Head, image: Any) -> None:
    features, heat = run(head.features_model(), image)
    assert features.shape == (80, 80, head.width)
    assert np.array_equal(heat, run(FILE, image)[0])


def test_rows_of_another_width_are_a_mistake_of_the_caller(head: Head) -> None:
    with pytest.raises(ValueError, match="128 features"):
        head.with_rows(Rows(("a",), np.zeros((1, 64), np.float32), np.zeros(1, np.float32)))


def test_a_row_of_zeros_stays_one() -> None:
    weights, bias, scales = quantize_rows(np.zeros((1, 4), np.float32), np.array([-2.0], np.float32), 0.5)
    assert not weights.any()
    assert bias[0] * scales[0] * 0.5 == pytest.approx(-2.0)


def test_a_network_of_another_kind_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="it has no output named heatmap"):
        Head.open((MODELS / "embedder" / "model.tflite").read_bytes())
