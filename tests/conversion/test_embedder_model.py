"""The embedder as it is shipped: its files agree with each other, and with what the SDK and the card promise."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from support.paths import MODELS

from handlens.vision.embedder import Embedder
from handlens_conversion.calibration import check_list, load_list
from handlens_conversion.embedder_head import load_head

FOLDER = MODELS / "embedder"
ROOT = MODELS.parent
LARGEST = 5_600_000  # bytes


def record(name: str) -> dict[str, object]:
    content: dict[str, object] = json.loads((FOLDER / name).read_bytes())
    return content


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder.open(FOLDER, threads=1)


def test_model_json_names_the_file_it_stands_beside(embedder: Embedder) -> None:
    content = (FOLDER / embedder.spec.file).read_bytes()
    assert embedder.spec.sha256 == hashlib.sha256(content).hexdigest()
    assert embedder.spec.size == len(content) <= LARGEST


def test_there_are_1000_different_labels_in_lower_case_each_with_its_synonyms(embedder: Embedder) -> None:
    labels = embedder.spec.labels
    assert len(set(labels)) == 1000
    assert all(label == label.lower().strip() for label in labels)
    synonyms = record("synonyms.json")["labels"]
    assert list(synonyms) == list(labels)


def test_every_tensor_is_an_integer_and_no_pixel_is_rounded(embedder: Embedder) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(FOLDER / "model.tflite"))
    interpreter.allocate_tensors()
    kinds = {np.dtype(tensor["dtype"]).name for tensor in interpreter.get_tensor_details()}
    assert kinds <= {"int8", "int32"}
    scale, zero_point = interpreter.get_input_details()[0]["quantization"]
    assert (scale, zero_point) == (1.0, -1)
    assert (embedder.spec.input.mean, embedder.spec.input.std) == (127.0, 1.0)


def test_no_bias_comes_near_the_end_of_32_bits() -> None:
    """A saturated bias overflows when products are added to it, and runtimes differ in what happens then."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(FOLDER / "model.tflite"))
    interpreter.allocate_tensors()
    biases = [
        interpreter.get_tensor(tensor["index"])
        for tensor in interpreter.get_tensor_details()
        if tensor["name"].endswith("/bias")
    ]
    assert len(biases) > 50
    assert max(int(np.abs(bias.astype(np.int64)).max()) for bias in biases) < 2**30


def test_the_head_in_the_folder_is_of_the_space_and_dimension_of_the_model(embedder: Embedder) -> None:
    head = load_head(FOLDER / "head.npz")
    assert (head.space, head.dim) == (embedder.spec.space, embedder.spec.dim)


def test_the_training_list_has_one_line_for_each_photograph_that_the_head_saw() -> None:
    lines = (FOLDER / "head_training.jsonl").read_text("utf-8").splitlines()
    head = load_head(FOLDER / "head.npz")
    assert len({json.loads(line)["sha256"] for line in lines}) == len(lines) == head.about["photos"]


def test_the_calibration_photographs_are_in_the_repository_unchanged() -> None:
    assert len(check_list(load_list(FOLDER / "calibration.json"), root=ROOT)) >= 100


def test_the_parity_report_is_of_this_model(embedder: Embedder) -> None:
    assert record("parity.json")["model_sha256"] == embedder.spec.sha256


def test_the_parity_report_holds_what_the_model_must_reach() -> None:
    report = record("parity.json")
    assert report["agreement"]["cosine_mean"] >= 0.99
    for name, least in (("multi_domain", 0.77), ("grocery_sku", 0.38)):
        figures = report["retrieval"][name]
        assert figures["int8"]["recall_at_1"] >= least
        assert abs(figures["int8"]["recall_at_1"] - figures["float"]["recall_at_1"]) <= 0.010
        unseen = report["held_out_classes"]["means"][name]
        assert unseen["head"] >= unseen["pca"]


def test_the_card_shows_the_measured_recall() -> None:
    card = (FOLDER / "CARD.md").read_text("utf-8")
    for name in ("multi_domain", "grocery_sku"):
        assert f"{record('parity.json')['retrieval'][name]['int8']['recall_at_1']:.3f}" in card


def test_a_picture_and_its_brighter_copy_are_near_and_another_picture_is_far(embedder: Embedder) -> None:
    from handlens.vision.image import load_photo

    photos = sorted((ROOT / "demo" / "catalog" / "images").glob("*.jpg"))[::60][:2]
    one, other = (np.asarray(load_photo(path).image) for path in photos)
    brighter = np.clip(one.astype(np.int16) + 8, 0, 255).astype(np.uint8)
    first, second, third = (embedder.embed(load_photo(pixels)).vectors[0] for pixels in (one, brighter, other))
    assert float(first @ second) > 0.95 > float(first @ third) + 0.2


def test_no_file_of_the_folder_names_a_path_of_the_machine_it_was_made_on() -> None:
    for path in FOLDER.iterdir():
        if path.suffix in (".json", ".md", ".jsonl"):
            text = path.read_text("utf-8")
            assert str(Path.home()) not in text
            assert str(ROOT.parent) + "/" not in text
