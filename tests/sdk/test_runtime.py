from __future__ import annotations

import hashlib
import json
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.paths import MODELS, QUERIES

from handlens.errors import ModelError
from handlens.geometry import WHOLE
from handlens.vision.detector import Detector
from handlens.vision.embedder import Embedder
from handlens.vision.image import load_photo
from handlens.vision.runtime import Output, Session, find_runtime


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the shipped detector that a test may damage."""
    return Path(shutil.copytree(MODELS / "detector", tmp_path / "detector"))


def edit(model: Path, change: Callable[[dict[str, Any]], None]) -> None:
    spec = json.loads((model / "model.json").read_text("utf-8"))
    change(spec)
    (model / "model.json").write_text(json.dumps(spec), "utf-8")


def replace_file(model: Path, data: bytes) -> None:
    """Put other bytes in the place of the model and make model.json vouch for them."""
    (model / "model.tflite").write_bytes(data)
    edit(model, lambda spec: spec.update(sha256=hashlib.sha256(data).hexdigest(), size=len(data)))


def test_a_truncated_model_file_is_refused(model: Path) -> None:
    data = (model / "model.tflite").read_bytes()
    (model / "model.tflite").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="sha256 differs.*install"):
        Detector.open(model)


def test_a_swapped_model_file_is_refused(model: Path) -> None:
    shutil.copy(MODELS / "embedder" / "model.tflite", model / "model.tflite")
    with pytest.raises(ModelError, match="sha256 differs"):
        Detector.open(model)


def test_a_model_with_another_label_count_is_refused(model: Path) -> None:
    edit(model, lambda spec: spec.update(labels=spec["labels"][:-1]))
    with pytest.raises(ModelError, match="80 labels"):
        Detector.open(model)


def test_a_model_json_that_lies_about_the_shapes_is_refused(model: Path) -> None:
    edit(model, lambda spec: spec["outputs"]["distances"].update(shape=[1, 40, 40, 4]))
    with pytest.raises(ModelError, match="distances"):
        Detector.open(model)


def test_a_model_json_that_lies_about_the_input_is_refused(model: Path) -> None:
    edit(model, lambda spec: spec["input"].update(width=512))
    with pytest.raises(ModelError, match="its model.json says"):
        Detector.open(model)


@pytest.mark.parametrize("data", [b"", b"not a flat buffer at all, but long enough to be looked at"])
def test_bytes_that_are_no_model_are_refused_even_with_the_right_hash(model: Path, data: bytes) -> None:
    replace_file(model, data)
    with pytest.raises(ModelError, match="cannot open"):
        Detector.open(model)


def test_an_embedder_in_the_place_of_the_detector_is_refused() -> None:
    with pytest.raises(ModelError, match="a detector is needed"):
        Detector.open(MODELS / "embedder")


@pytest.mark.parametrize("missing", ["model.json", "model.tflite"])
def test_a_missing_file_is_named(model: Path, missing: str) -> None:
    (model / missing).unlink()
    with pytest.raises(ModelError, match=f"{missing}.*sync again"):
        Detector.open(model)


def test_a_runtime_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModelError, match="pip install ai-edge-litert"):
        find_runtime()
    with pytest.raises(ModelError, match="pip install tflite-runtime"):
        find_runtime("tflite")


def test_an_opened_model_serves_many_threads_alike() -> None:
    embedder = Embedder.open(MODELS / "embedder", threads=1)
    photos = [load_photo(QUERIES / "images" / name) for name in ("horses.jpg", "taj-mahal.jpg")]
    alone = [embedder.embed(photo).vectors for photo in photos]
    answers: list[tuple[int, np.ndarray]] = []

    def work(which: int) -> None:
        for _ in range(5):
            answers.append((which, embedder.embed(photos[which]).vectors))

    workers = [threading.Thread(target=work, args=(which,)) for which in (0, 1, 0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(answers) == 20
    assert all(np.array_equal(vector, alone[which]) for which, vector in answers)


@pytest.mark.parametrize("kind", ["detector", "embedder"])
def test_what_a_network_is_given_does_not_depend_on_how_the_pixels_lie_in_memory(kind: str) -> None:
    session = Session.open(MODELS / kind, kind, threads=1)
    image = session.spec.input
    pixels = load_photo(QUERIES / "images" / "horses.jpg").pixels(size=(image.width, image.height))

    def outputs(given: np.ndarray) -> list[np.ndarray]:
        return session.run(given, lambda found: [output.real() for output in found.values()])

    others = (np.asfortranarray(pixels), pixels[::-1].copy()[::-1])
    assert not any(other.flags.c_contiguous for other in others)
    for other in others:
        assert all(map(np.array_equal, outputs(other), outputs(pixels)))


def test_an_object_may_be_cut_before_the_network_is_free() -> None:
    embedder = Embedder.open(MODELS / "embedder", threads=1)
    photos = [load_photo(QUERIES / "images" / name) for name in ("horses.jpg", "taj-mahal.jpg")]
    cuts = [embedder.cut(photo, WHOLE) for photo in photos]
    found = embedder.read([embedder.run(cut) for cut in cuts])
    assert np.array_equal(found.vectors, np.concatenate([embedder.embed(photo).vectors for photo in photos]))


def test_embeddings_have_unit_length_and_labels_come_best_first() -> None:
    embedder = Embedder.open(MODELS / "embedder", threads=1)
    found = embedder.embed(load_photo(QUERIES / "images" / "taj-mahal.jpg"), labels=5)
    assert found.vectors.shape == (1, embedder.spec.dim)
    assert np.linalg.norm(found.vectors) == pytest.approx(1, abs=1e-5)
    scores = [score for _, score in found.label_scores[0]]
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)
    assert 0 < sum(scores) <= 1 + 1e-6


def test_no_boxes_give_no_embeddings() -> None:
    embedder = Embedder.open(MODELS / "embedder", threads=1)
    found = embedder.embed(load_photo(QUERIES / "images" / "taj-mahal.jpg"), [])
    assert found.vectors.shape == (0, embedder.spec.dim)
    assert found.label_scores == ()


@pytest.mark.parametrize("vector", [[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_a_network_that_gives_no_direction_is_refused(vector: list[float]) -> None:
    embedder = Embedder.open(MODELS / "embedder", threads=1)
    given = np.resize(np.array(vector, np.float32), embedder.spec.dim)
    with pytest.raises(ModelError, match="length 0 or NaN"):
        embedder.read([(given, np.zeros(len(embedder.spec.labels), np.float32))])


@pytest.mark.parametrize(("dtype", "scale", "zero_point"), [(np.float32, 1.0, 0), (np.int8, 1 / 256, -128)])
def test_the_least_value_for_a_score_parts_what_reaches_it_from_what_does_not(
    dtype: type, scale: float, zero_point: int
) -> None:
    stored = np.arange(-128, 128).astype(dtype) if dtype is np.int8 else np.linspace(0, 1, 256, dtype=dtype)
    output = Output(stored, scale, zero_point)
    for score in (0.0, 0.2, 0.25, 0.999, 1.5):
        assert np.array_equal(stored >= output.least(score), output.real() >= score)
