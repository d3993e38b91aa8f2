"""The cells to learn from: which ones, with which features, and kept on disk by all that they depend on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.paths import MODELS
from support.taught import DEMO, windmill_dataset

from handlens.vision.detector import Detector
from handlens.vision.image import load_photo
from handlens.wire.model import ModelSpec
from handlens_conversion.training.cache import cached_cells, cells_key
from handlens_conversion.training.cells import Cells, FeatureReader
from handlens_conversion.training.coco import read_dataset
from handlens_conversion.training.head import Head
from handlens_conversion.training.records import BoxedPhoto, TrainingOptions

LABELS = ("windmill",)
WHOLE = TrainingOptions(views=1)


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return Detector.open(MODELS / "detector", threads=1).spec


@pytest.fixture(scope="module")
def reader(spec: ModelSpec) -> FeatureReader:
    return FeatureReader(Head.open((MODELS / "detector" / "model.tflite").read_bytes()), spec, threads=1)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> BoxedPhoto:
    """The first windmill."""
    return read_dataset(windmill_dataset(tmp_path_factory.mktemp("data")), photos=DEMO).train[0]


def seen(reader: FeatureReader, photo: BoxedPhoto, options: TrainingOptions = WHOLE) -> Cells:
    return reader.cells(photo, LABELS, options, key="photo")


def test_the_middle_of_an_object_is_a_cell_with_the_networks_own_features(
    reader: FeatureReader, photo: BoxedPhoto
) -> None:
    cells = seen(reader, photo)
    features, _ = reader.features(load_photo(photo.path).pixels(size=(320, 320), resample="quad"))
    left, top, right, bottom = photo.boxes[0] * 80
    certain = cells.targets[:, 0] == 255
    middle = features[int((top + bottom) / 2), int((left + right) / 2)]
    assert (cells.features[certain] == middle).all(axis=1).any()
    assert cells.weights[certain].sum() == pytest.approx(1)


def test_cells_of_the_background_that_were_left_out_are_counted_by_those_that_stayed(
    reader: FeatureReader, photo: BoxedPhoto
) -> None:
    cells = seen(reader, photo)
    assert len(cells.weights) < 80 * 80 / 2
    assert cells.weights[cells.targets < 255].sum() == pytest.approx(80 * 80, rel=0.1)


def test_places_to_ignore_have_no_cells_but_those_of_objects(reader: FeatureReader, photo: BoxedPhoto) -> None:
    everywhere = replace(photo, ignored=np.array([[0.0, 0.0, 1.0, 1.0]]))
    cells = seen(reader, everywhere)
    assert len(cells.targets)
    assert cells.targets.any(axis=1).all()


def test_a_photo_without_objects_is_background_alone(reader: FeatureReader, photo: BoxedPhoto) -> None:
    empty = replace(photo, boxes=np.zeros((0, 4)), labels=())
    assert not seen(reader, empty, TrainingOptions(background_views=2)).targets.any()


def test_features_come_from_the_disk_the_second_time(tmp_path: Path, reader: FeatureReader, photo: BoxedPhoto) -> None:
    def cells(open_reader: Any) -> Any:
        return list(cached_cells([photo], LABELS, WHOLE, network="n", folder=tmp_path / "cells", reader=open_reader))

    def never() -> FeatureReader:
        raise AssertionError("nothing had to be computed")

    ((key, first),), ((again, second),) = cells(lambda: reader), cells(never)
    assert key == again
    assert np.array_equal(first.features, second.features)
    assert np.array_equal(first.weights, second.weights)


@pytest.mark.parametrize("kept", [0, 10, 1000])
def test_a_damaged_file_of_the_cache_is_made_again(
    tmp_path: Path, reader: FeatureReader, photo: BoxedPhoto, kept: int
) -> None:
    given = {"network": "n", "folder": tmp_path, "reader": lambda: reader}
    ((_, first),) = cached_cells([photo], LABELS, WHOLE, **given)
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    file.write_bytes(content[:kept])
    ((_, again),) = cached_cells([photo], LABELS, WHOLE, **given)
    assert np.array_equal(first.features, again.features)
    assert file.read_bytes() == content


def test_all_that_features_depend_on_is_in_the_key(photo: BoxedPhoto) -> None:
    def key(
        of: BoxedPhoto = photo, content: str = "c", labels: Any = LABELS, network: str = "n", **options: Any
    ) -> str:
        return cells_key(of, content, labels, TrainingOptions(**options), network)

    others = {
        key(content="d"),
        key(network="m"),
        key(labels=("mill",)),
        key(replace(photo, boxes=photo.boxes * 0.5)),
        key(replace(photo, ignored=photo.boxes)),
        key(seed=1),
        key(views=3),
        key(mirror=False),
        key(directed=("windmill",)),
    }
    assert len(others | {key()}) == 10
    assert key(epochs=99) == key()
