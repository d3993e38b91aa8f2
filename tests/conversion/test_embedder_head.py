"""The head's file: read back exactly, and refused when it does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from handlens.errors import ModelError
from handlens_conversion.embedder_head import Head, load_head, save_head
from handlens_conversion.embedder_network import TAPS


def made(*taps: str, dim: int = 4) -> Head:
    rows = sum(TAPS[tap] for tap in taps)
    weights = np.arange(rows * dim, dtype=np.float32).reshape(rows, dim) / 1000
    return Head("space-1", taps, weights, np.ones(dim, np.float32), {"seeds": [1, 2]})


def saved(head: Head, folder: Path) -> Path:
    save_head(head, folder / "head.npz")
    return folder / "head.npz"


def test_a_head_is_read_back_exactly(tmp_path: Path) -> None:
    head = made("top", "block4")
    again = load_head(saved(head, tmp_path))
    assert (again.space, again.taps, again.about) == (head.space, head.taps, head.about)
    np.testing.assert_array_equal(again.weights, head.weights)
    np.testing.assert_array_equal(again.bias, head.bias)


def test_the_same_head_gives_the_same_bytes(tmp_path: Path) -> None:
    first = saved(made("top"), tmp_path).read_bytes()
    assert saved(made("top"), tmp_path).read_bytes() == first


def test_the_parts_of_a_head_are_what_it_applies(tmp_path: Path) -> None:
    head = made("block4", "block7")
    features = np.random.default_rng(0).random((3, 120), dtype=np.float32)
    (_, first), (_, second) = head.parts()
    expected = features[:, :40] @ first + features[:, 40:] @ second + head.bias
    np.testing.assert_allclose(head.apply(features), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"taps": ("block99",)}, "block99"),
        ({"taps": ()}, "reads nothing"),
        ({"taps": ("block4", "block4")}, "each once"),
        ({"weights": np.zeros((3, 4), np.float32)}, r"need weights \(40, dim\)"),
        ({"bias": np.zeros(5, np.float32)}, "bias"),
        ({"weights": np.full((40, 4), np.nan, np.float32)}, "not finite"),
        ({"space": ""}, "names no embedding space"),
    ],
)
def test_a_head_that_does_not_fit_is_refused(tmp_path: Path, changed: dict[str, object], message: str) -> None:
    path = saved(replace(made("block4"), **changed), tmp_path)
    with pytest.raises(ModelError, match=message):
        load_head(path)


def test_a_head_of_another_format_is_refused(tmp_path: Path) -> None:
    path = saved(made("block4"), tmp_path)
    with np.load(path) as file:
        arrays = dict(file) | {"format": np.int64(2)}
    np.savez(path, **arrays)
    with pytest.raises(ModelError, match="format 2"):
        load_head(path)


@pytest.mark.parametrize("content", [b"", b"not a head", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_head_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "head.npz").write_bytes(content)
    with pytest.raises(ModelError, match="is not a head"):
        load_head(tmp_path / "head.npz")


def test_pickled_objects_in_a_head_are_never_loaded(tmp_path: Path) -> None:
    path = saved(made("block4"), tmp_path)
    with np.load(path) as file:
        arrays = dict(file) | {"weights": np.array([{"a": 1}], dtype=object)}
    np.savez(path, **arrays)
    with pytest.raises(ModelError, match="is not a head"):
        load_head(path)


def test_a_missing_head_is_an_error_that_says_how_to_train_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="handlens-convert train head"):
        load_head(tmp_path / "head.npz")
