"""PCA and the training of a head, on features whose structure is known."""

from __future__ import annotations

import numpy as np
import pytest

from handlens.errors import ModelError
from handlens_conversion.embedder_network import TAPS
from handlens_conversion.embedder_train import TrainOptions, pca, train
from handlens_conversion.retrieval_metrics import unit

TAP = ("block4",)
CHANNELS = TAPS["block4"]


def features(classes: int = 8, each: int = 40) -> tuple[np.ndarray, list[str]]:
    """Classes that differ in a few quiet channels, among loud channels that say nothing."""
    random = np.random.default_rng(0)
    centres = random.normal(0, 1, (classes, 6))
    values = random.normal(0, 3, (classes * each, CHANNELS)).astype(np.float32)
    values[:, :6] = np.repeat(centres, each, axis=0) + random.normal(0, 0.3, (classes * each, 6))
    return values, [f"class {number}" for number in range(classes) for _ in range(each)]


def recall(vectors: np.ndarray, labels: list[str]) -> float:
    similarity = unit(vectors) @ unit(vectors).T
    np.fill_diagonal(similarity, -2)
    nearest = similarity.argmax(axis=1)
    return float(np.mean([labels[row] == labels[at] for row, at in enumerate(nearest)]))


def test_pca_half_whitens_the_main_axes() -> None:
    values, _ = features()
    projected = pca(values, TAP, dim=4).apply(values)
    covariance = np.cov(projected, rowvar=False)
    deviations = np.sqrt(np.linalg.eigvalsh(np.cov(values, rowvar=False))[::-1][:4])
    np.testing.assert_allclose(projected.mean(axis=0), 0, atol=1e-2)
    np.testing.assert_allclose(covariance, np.diag(deviations), rtol=2e-2, atol=2e-2)


def test_pca_is_the_same_whatever_the_order_of_the_photographs() -> None:
    values, _ = features()
    first, second = pca(values, TAP, dim=4), pca(values[::-1], TAP, dim=4)
    np.testing.assert_allclose(first.weights, second.weights, atol=1e-4)


def test_a_trained_head_finds_the_classes_that_pca_does_not_see() -> None:
    pytest.importorskip("torch", reason="needs the conversion extra: the head is trained with PyTorch")
    values, labels = features()
    options = TrainOptions(dim=8, epochs=60, batch=64, rate=0.02, seeds=(0,), taps=TAP)
    head = train(values, labels, TAP, options=options, threads=1, progress=False)
    assert recall(head.apply(values), labels) > recall(pca(values, TAP, dim=8).apply(values), labels) + 0.3
    assert TrainOptions.of(head) == options


def test_too_few_photographs_are_an_error() -> None:
    pytest.importorskip("torch", reason="needs the conversion extra: the head is trained with PyTorch")
    values, labels = features()
    with pytest.raises(ModelError, match="too few"):
        train(values[:100], labels[:100], TAP, progress=False)


def test_options_of_a_head_that_does_not_say_how_it_was_made_are_an_error() -> None:
    values, _ = features()
    with pytest.raises(ModelError, match="does not say how it was trained"):
        TrainOptions.of(pca(values, TAP, dim=4))
