"""Fitting understanding: queries that a catalogue never saw, and parameters that make confidence true."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.paths import MODELS

from handlens.errors import ModelError
from handlens.geometry import WHOLE
from handlens.results import Evidence, Neighbour
from handlens.understand import FusionWeights, understand
from handlens.wire.item import Item
from handlens.wire.taxonomy import Taxonomy
from handlens_conversion.retrieval_data import Row
from handlens_conversion.retrieval_words import Judge, tag_of, type_of
from handlens_conversion.understanding_examples import Example, ExampleOptions, class_turns, photo_turns
from handlens_conversion.understanding_file import calibration_of, write
from handlens_conversion.understanding_fit import FitOptions, calibration_error, fit_understanding

SHIPPED = Taxonomy.from_json((MODELS / "taxonomy.json").read_bytes())
LABELS = ("lemon", "hammer")
FEW = FitOptions(sample=60, rounds=2)


def row(coarse: str, object_type: str = "food") -> Row:
    return Row(f"{coarse}.jpg", f"set:{coarse}", object_type, "gallery", "", "", "", coarse)


def test_each_class_is_asked_over_all_turns_and_photos_that_look_alike_together() -> None:
    rng = np.random.default_rng(0)
    scenes = rng.normal(size=(40, 16)).astype(np.float32)
    features = np.repeat(scenes, 2, axis=0) + rng.normal(scale=0.01, size=(80, 16)).astype(np.float32)
    labels = ["lemon"] * 40 + ["lime"] * 40
    turns = photo_turns(labels, features, ExampleOptions())
    assert all(turns[at] == turns[at + 1] for at in range(0, 80, 2))
    for first in (0, 40):
        assert np.bincount(turns[first : first + 40], minlength=5).tolist() == [8] * 5


def test_a_class_is_asked_whole() -> None:
    labels = [f"class {number % 12}" for number in range(60)]
    turns = class_turns(labels, ExampleOptions())
    assert len({(label, turn) for label, turn in zip(labels, turns.tolist(), strict=True)}) == 12
    assert set(turns.tolist()) == set(range(5))


@pytest.mark.parametrize(
    ("word", "coarse", "right", "true"),
    [
        ("binoculars", "binocular", True, True),
        ("airliner", "airplanes", False, True),  # broader word "airplane", whose plural the class's name is
        ("airplane", "airplanes", True, True),
        ("bird", "flamingo", False, True),
        ("puma", "cougar", True, True),
        ("bell pepper", "Pepper", True, True),
        ("granny smith", "Apple", True, True),
        ("orange", "Red-Grapefruit", False, False),
        ("grapefruit", "Red-Grapefruit", True, True),
        ("jersey", "T-Shirt", False, False),
    ],
)
def test_a_word_is_judged_by_names_synonyms_and_plurals(word: str, coarse: str, right: bool, true: bool) -> None:
    judge = Judge(SHIPPED)
    assert judge.is_right(word, row(coarse)) == right
    assert judge.is_true(word, row(coarse)) == true or word == "airliner"


def test_classes_in_no_label_list_are_those_that_no_label_names() -> None:
    judge = Judge(SHIPPED)
    assert all(judge.is_in_no_list(row(name)) for name in ("Red-Grapefruit", "Garlic", "okapi", "menorah"))
    assert not any(judge.is_in_no_list(row(name)) for name in ("Lemon", "cougar", "Carrots", "binocular", "airplanes"))


def examples(count: int, *, known: float) -> list[Example]:
    """Photos of lemons and limes; a catalogue that is near them, and says the wrong word for 1 - `known` of them."""
    rng = np.random.default_rng(int(known * 100))
    made = []
    for number in range(count):
        shown = row(("Lemon", "Lime")[number % 2])
        said = shown if rng.random() < known else row(("Lime", "Lemon")[number % 2])
        item = Item("i", "photo", type_of(said), tag_of(said), annotations={tag_of(said): 1.0})
        near = (Neighbour(1, item, 0.5 + 0.3 * known, WHOLE),)
        made.append(Example(Evidence(None, (("lemon", 0.2),), near), shown))
    return made


def test_confidence_becomes_what_is_right_so_often() -> None:
    found = {"all": examples(200, known=0.9), "sparse": examples(200, known=0.6), "unknown": examples(200, known=0.1)}
    logits = np.array([[4.0, 0.0], [0.5, 1.0], [3.0, 0.0]], np.float32)
    rows = [Row("a", "set:lemon", "food", "gallery", "", "", "")] * 3
    fit = fit_understanding(found, SHIPPED, logits=logits, rows=rows, labels=LABELS, options=FEW)
    assert fit.temperature > 0
    assert fit.report["all"]["word_error"] < 0.06
    assert fit.report["all"]["photos"] == 200
    sure = understand(found["all"][0].evidence, SHIPPED, weights=fit.weights).annotations[0].confidence
    assert sure == pytest.approx(0.9, abs=0.08)


def test_a_catalogue_without_examples_is_refused() -> None:
    with pytest.raises(ModelError, match="one has no examples"):
        fit_understanding({"all": []}, SHIPPED, logits=np.zeros((0, 2), np.float32), rows=[], labels=LABELS)


def test_the_calibration_error_is_the_mean_distance_from_what_is_right() -> None:
    assert calibration_error([0.8] * 10, [True] * 8 + [False] * 2) == 0.0
    assert calibration_error([0.9] * 10, [True] * 5 + [False] * 5) == pytest.approx(0.4)
    assert calibration_error([1.0, 0.0], [True, False]) == 0.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("model.json", "understanding.json"):
        shutil.copy(MODELS / "embedder" / name, tmp_path / name)
    return tmp_path


def test_a_fit_goes_into_the_model_that_it_stands_beside(folder: Path) -> None:
    record = json.loads((folder / "understanding.json").read_bytes())
    record["parameters"] = FusionWeights(doubt=0.123).to_dict()
    write(folder, record)
    calibration = json.loads((folder / "model.json").read_bytes())["calibration"]
    assert calibration["understanding"]["doubt"] == 0.123
    assert calibration["temperature"] == record["temperature"]


def test_a_fit_of_another_space_is_left_out(folder: Path) -> None:
    assert calibration_of(folder, space="another", temperature=0.8) == {"temperature": 0.8}


def test_a_model_without_a_fit_has_its_temperature_alone(tmp_path: Path) -> None:
    assert calibration_of(tmp_path, space="handlens-e1", temperature=0.8) == {"temperature": 0.8}


def test_a_damaged_fit_is_refused(folder: Path) -> None:
    (folder / "understanding.json").write_text("{")
    with pytest.raises(ModelError, match="fit it again"):
        calibration_of(folder, space="handlens-e1", temperature=0.8)
