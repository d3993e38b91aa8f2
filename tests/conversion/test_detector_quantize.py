"""The detector's ranges and recipe, without the libraries that run them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from handlens_conversion import detector_quantize
from handlens_conversion.detector_sensitivity import BLOCKS


def best_range(values: list[float]) -> tuple[float, float]:
    return detector_quantize._best_range(np.array(values, np.float32))


def test_a_range_always_holds_zero() -> None:
    low, high = best_range([2.0, 3.0, 4.0])
    assert low == 0.0
    assert high == pytest.approx(4.0, rel=0.05)


@given(arrays(np.float32, 60, elements=st.floats(-100, 100, width=32, allow_subnormal=False)), st.floats(1.0, 50.0))
def test_a_range_is_never_worse_than_the_largest_values_seen(values: NDArray[np.float32], outlier: float) -> None:
    seen = np.append(values * np.float32(outlier), values)
    low, high = detector_quantize._best_range(seen)
    widest = (min(0.0, float(seen.min())), max(0.0, float(seen.max())))
    if widest[0] < widest[1]:
        assert detector_quantize._error(seen, low, high) <= detector_quantize._error(seen, *widest)


def test_evenly_spread_values_keep_their_whole_range() -> None:
    low, high = best_range(np.linspace(-2.0, 6.0, 5000).tolist())
    assert (low, high) == pytest.approx((-2.0, 6.0), rel=0.06)


def test_a_tensor_of_zeros_gets_a_range_that_can_be_divided_by() -> None:
    assert best_range([0.0, 0.0]) == (0.0, 1.0)


@pytest.mark.parametrize(
    "name",
    [
        "tower_0/MobilenetV3/expanded_conv_3/expand/Relu;",
        "tower_0/CenternetHead/mul;",
        "tower_0/CenternetHead/Relu;",
        "heatmap;",
        "distances;",
    ],
)
def test_insensitive_layers_are_named_as_the_quantizer_joins_names(name: str) -> None:
    assert any(re.search(pattern, name) for pattern in detector_quantize.INTEGER)


@pytest.mark.parametrize(
    "name",
    [
        "tower_0/MobilenetV3/Conv/hard_swish/mul_1;",
        "tower_0/MobilenetV3/expanded_conv/project/BatchNorm/FusedBatchNorm;",
        "tower_0/MobilenetV3/expanded_conv_12/expand/hard_swish/mul_1;",
        "tower_0/CenternetHead/c3_upsample/add;",
    ],
)
def test_sensitive_layers_are_left_in_float(name: str) -> None:
    assert not any(re.search(pattern, name) for pattern in detector_quantize.INTEGER)


def test_gates_are_an_exception_within_the_integer_blocks() -> None:
    gate = "tower_0/MobilenetV3/expanded_conv_4/squeeze_excite/Conv_1/mul;"
    assert any(re.search(pattern, gate) for pattern in detector_quantize.INTEGER)
    assert any(re.search(pattern, gate) for pattern in detector_quantize.FLOAT)


def test_every_block_of_the_sensitivity_list_is_a_valid_expression() -> None:
    assert all(re.compile(pattern) for patterns in BLOCKS.values() for pattern in patterns)
