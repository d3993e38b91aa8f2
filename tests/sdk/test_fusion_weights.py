"""The parameters of understanding, as `model.json` carries them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.paths import MODELS

from handlens.errors import DecodeError
from handlens.wire.fields import Fields
from handlens.wire.fusion import FusionWeights
from handlens.wire.model import ModelSpec

SHIPPED = MODELS / "embedder"


def read(**values: Any) -> FusionWeights:
    return FusionWeights.from_fields(Fields(values, what="understanding"))


def test_survive_the_wire() -> None:
    weights = FusionWeights(bandwidth=0.07, most_words=5, word_curve=((0.1, 0.05), (0.9, 0.8)))
    assert read(**json.loads(json.dumps(weights.to_dict()))) == weights


def test_what_the_file_leaves_out_has_its_default_and_what_is_new_is_passed_over() -> None:
    assert read(doubt=0.5, of_a_newer_fit=True) == FusionWeights(doubt=0.5)


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ({"bandwidth": 0.0}, "bandwidth is 0"),
        ({"bandwidth": "wide"}, "bandwidth is 'wide'"),
        ({"doubt": -1.0}, "doubt is -1"),
        ({"slack": 1.5}, "slack 1.5"),
        ({"most_words": 2.5}, "most_words is 2.5"),
        ({"word_curve": 1}, "a list of pairs"),
        ({"word_curve": [[0.1]]}, "a list of pairs"),
        ({"word_curve": [[0.1, True]]}, "a list of pairs"),
        ({"word_curve": [[0.1, 0.5], [0.2, 0.4]]}, "does not rise"),
        ({"word_curve": [[0.2, 0.4], [0.2, 0.5]]}, "does not rise"),
        ({"word_curve": [[0.1, 1.5]]}, "not all from 0 to 1"),
        ({"word_curve": [[float("nan"), 0.5]]}, "not all from 0 to 1"),
    ],
)
def test_refuse_what_cannot_be(values: dict[str, Any], cause: str) -> None:
    with pytest.raises(DecodeError, match=cause):
        read(**values)


def test_the_shipped_embedder_carries_what_was_fitted_in_its_own_space() -> None:
    spec = ModelSpec.from_json((SHIPPED / "model.json").read_bytes())
    fitted = json.loads((SHIPPED / "understanding.json").read_bytes())
    assert fitted["space"] == spec.space
    assert fitted["parameters"] == spec.understanding.to_dict()
    assert fitted["temperature"] == spec.temperature
    assert len(spec.understanding.word_curve) > 5


def test_a_model_that_was_not_fitted_has_the_defaults() -> None:
    values = json.loads((SHIPPED / "model.json").read_bytes())
    for calibration in ({"temperature": 0.8}, None):
        spec = ModelSpec.from_json(json.dumps({**values, "calibration": calibration}))
        assert spec.understanding == FusionWeights()


def test_a_model_with_a_damaged_fit_is_refused_by_the_name_of_the_field() -> None:
    values = json.loads((SHIPPED / "model.json").read_bytes())
    values["calibration"]["understanding"]["anchor"] = "near"
    with pytest.raises(DecodeError, match=r"calibration\.understanding\.anchor is 'near'"):
        ModelSpec.from_json(json.dumps(values))
