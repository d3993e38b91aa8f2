"""Fitting the softmax temperature."""

from __future__ import annotations

import numpy as np
import pytest

from handlens_conversion.embedder_temperature import calibration_error, fit_temperature, named_classes


def sampled(scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and true classes drawn from the softmax of logits times `scale`: 1 / scale is the right temperature."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (6000, 5)).astype(np.float32)
    odds = np.exp(logits * scale)
    edges = (odds / odds.sum(axis=1, keepdims=True)).cumsum(axis=1)
    return logits, (random.random((6000, 1)) > edges).sum(axis=1)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_the_temperature_that_made_the_labels_is_found(scale: float) -> None:
    logits, truth = sampled(scale)
    fitted = fit_temperature(logits, truth)
    assert fitted.temperature == pytest.approx(1 / scale, rel=0.06)
    assert fitted.error_after < 0.02
    assert fitted.error_after <= fitted.error_before + 0.005


def test_confidence_that_is_never_right_has_an_error_of_its_confidence() -> None:
    logits = np.array([[0.0, 50.0]], np.float32)
    assert calibration_error(logits, np.array([0])) == pytest.approx(1.0)


def test_labels_are_matched_by_name_without_prefix_case_or_underscores() -> None:
    labels = ["caltech:electric_guitar", "grocery:Granny-Smith", "caltech:buddha", "pizza"]
    assert named_classes(labels, ["granny smith", "electric guitar", "pizza"]) == [1, 0, None, 2]
