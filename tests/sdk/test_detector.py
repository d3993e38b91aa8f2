from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.paths import MODELS, QUERIES

from handlens.errors import ModelError
from handlens.vision.detector import Detector
from handlens.vision.image import Photo, load_photo
from handlens.vision.runtime import Output
from handlens.wire.model import InputSpec, ModelSpec, OutputSpec

SIDE = 10  # cells of the heat maps below; stride 4 makes the input 40 pixels
PHOTO = load_photo(Image.new("RGB", (40, 40)))


class HeatMap:
    """Stands in for a runtime session: it gives the heat map and distances it was made with."""

    def __init__(self, heat: np.ndarray, reach: np.ndarray, *, scale: float = 1.0, zero_point: int = 0) -> None:
        outputs = {"heatmap": OutputSpec(0, (1, *heat.shape)), "distances": OutputSpec(1, (1, *reach.shape))}
        labels = tuple(f"label{channel}" for channel in range(heat.shape[2]))
        decode = {"method": "centernet", "stride": 4, "cell_offset": 0.0, "min_score": 0.3, "nms_iou": 0.6}
        image = InputSpec(40, 40, "float32", "bilinear", 0.0, 1.0)
        self.spec = ModelSpec(
            "detector", "net", "1", "f", "0" * 64, 1, image, outputs, labels, decode, "", 0, None, {}
        )  # fmt: skip
        self._outputs = {"heatmap": Output(heat, scale, zero_point), "distances": Output(reach, 1.0, 0)}

    def run(self, pixels: np.ndarray, read: Callable[[dict[str, Output]], Any]) -> Any:
        assert pixels.shape == (40, 40, 3)
        return read(self._outputs)


def detector(heat: np.ndarray, *, reach: float = 4.0, **quantization: Any) -> Detector:
    distances = np.full((SIDE, SIDE, 4), reach, np.float32)
    return Detector(HeatMap(heat, distances, **quantization))  # type: ignore[arg-type]


def heat_of(*peaks: tuple[int, int, int, float]) -> np.ndarray:
    heat = np.zeros((SIDE, SIDE, 3), np.float32)
    for row, column, channel, score in peaks:
        heat[row, column, channel] = score
    return heat


def test_a_peak_becomes_a_box_around_its_cell() -> None:
    (found,) = detector(heat_of((5, 2, 1, 0.9))).detect(PHOTO)
    assert found.label == "label1"
    assert found.score == pytest.approx(0.9)
    assert found.box.to_list() == [0.1, 0.4, 0.3, 0.6]


def test_a_box_that_leaves_the_image_is_clipped() -> None:
    (found,) = detector(heat_of((0, 0, 0, 0.9))).detect(PHOTO)
    assert found.box.to_list() == [0.0, 0.0, 0.1, 0.1]


def test_cells_below_the_score_and_cells_beside_a_higher_one_are_no_objects() -> None:
    heat = heat_of((5, 5, 0, 0.9), (5, 6, 0, 0.8), (1, 1, 0, 0.29))
    assert [found.score for found in detector(heat).detect(PHOTO)] == [pytest.approx(0.9)]


def test_the_same_object_under_two_labels_is_told_once_unless_labels_are_asked_for() -> None:
    both = detector(heat_of((5, 5, 0, 0.9), (5, 5, 1, 0.8)))
    assert [found.label for found in both.detect(PHOTO)] == ["label0"]
    assert [found.label for found in both.detect(PHOTO, per_label=True)] == ["label0", "label1"]


def test_at_most_limit_objects_come_best_first() -> None:
    many = detector(heat_of((1, 1, 0, 0.5), (8, 8, 0, 0.9), (1, 8, 0, 0.7)))
    assert [round(found.score, 1) for found in many.detect(PHOTO, limit=2)] == [0.9, 0.7]


def test_a_quantized_heat_map_gives_the_same_objects_as_its_float_twin() -> None:
    heat = heat_of((5, 5, 0, 0.9), (1, 1, 2, 0.4), (9, 9, 1, 0.1))
    quantized = np.rint(heat * 255 - 128).astype(np.int8)
    told = [
        [(found.label, found.box) for found in one.detect(PHOTO)]
        for one in (detector(heat), detector(quantized, scale=1 / 255, zero_point=-128))
    ]
    assert told[0] == told[1]
    assert len(told[0]) == 2


def test_an_empty_heat_map_has_no_objects() -> None:
    assert detector(heat_of()).detect(PHOTO) == ()


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_on_any_heat_map_the_objects_are_local_maxima_that_overlap_little(seed: int) -> None:
    heat = np.random.default_rng(seed).random((SIDE, SIDE, 3), np.float32)
    found = detector(heat, reach=6.0).detect(PHOTO, limit=50)
    padded = np.pad(heat, ((1, 1), (1, 1), (0, 0)))
    peaks = {
        round(float(heat[row, column, channel]), 5)
        for row in range(SIDE) for column in range(SIDE) for channel in range(3)
        if heat[row, column, channel] >= padded[row : row + 3, column : column + 3, channel].max()
    }  # fmt: skip
    assert all(round(one.score, 5) in peaks for one in found)
    assert all(a.box.iou(b.box) <= 0.6 + 1e-6 for at, a in enumerate(found) for b in found[:at])
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_another_way_of_decoding_is_refused() -> None:
    session = HeatMap(heat_of(), np.zeros((SIDE, SIDE, 4), np.float32))
    session.spec.decode["method"] = "ssd"  # type: ignore[index]
    with pytest.raises(ModelError, match="knows centernet"):
        Detector(session)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shipped() -> Detector:
    return Detector.open(MODELS / "detector", threads=1)


def query(name: str) -> Photo:
    return load_photo(QUERIES / "images" / name)


@pytest.mark.parametrize(("photo", "label", "at_least"), [("horses.jpg", "horse", 2), ("giraffes.jpg", "giraffe", 2)])
def test_the_shipped_detector_finds_the_objects_of_real_photos(
    shipped: Detector, photo: str, label: str, at_least: int
) -> None:
    found = shipped.detect(query(photo), limit=5)
    assert sum(one.label == label for one in found) >= at_least
    assert all(one.score >= shipped.min_score for one in found)


def test_the_shipped_detector_answers_alike_each_time(shipped: Detector) -> None:
    assert shipped.detect(query("horses.jpg")) == shipped.detect(query("horses.jpg"))
