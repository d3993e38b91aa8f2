"""What a picture says of the objects in it, with the shipped models on photographs of the demo."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.paths import CATALOG, MODELS

from handlens_conversion.pipeline.image_votes import Neighbours, PictureVotes, embed_items
from handlens_conversion.pipeline.opening import Pictures
from handlens_conversion.pipeline.photo_rows import ListedPhoto, read_photo_row

WHOLE = (0.02, 0.02, 0.98, 0.98)
PICTURES = Pictures(str(CATALOG))
DETECTOR, EMBEDDER = str(MODELS / "detector"), str(MODELS / "embedder")


def items() -> list[ListedPhoto]:
    lines = (CATALOG / "items.jsonl").read_bytes().splitlines()
    pictured = [line for line in lines if json.loads(line).get("image")]
    return [item for line in pictured[::4] if (item := read_photo_row(line)) is not None]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("items") / "items.npz"
    assert embed_items(items(), PICTURES, EMBEDDER, file) == len(items())
    return str(file)


def test_similar_items_name_what_a_photo_shows_without_the_item_itself(embedded: str) -> None:
    votes = PictureVotes(PICTURES, neighbours=Neighbours(embedded, EMBEDDER))
    asked = items()[::6]
    named = [set(votes(item, [WHOLE])[0]) & set(item.tags) for item in asked]
    assert sum(map(bool, named)) >= 0.7 * len(asked)
    assert all(0 <= weight <= 1.001 for item in asked[:3] for weight in votes(item, [WHOLE])[0].values())


def test_the_detector_names_what_lies_in_a_box_and_not_what_lies_elsewhere() -> None:
    from handlens.vision.detector import Detector
    from handlens.vision.image import load_photo

    detector = Detector.open(DETECTOR)
    for item in items():
        best = next(iter(detector.detect(load_photo(PICTURES.path(item)))), None)
        if best is not None and best.score > 0.6 and best.box.area < 0.4:
            break
    assert best is not None
    corner = (0.0, 0.0, 0.02, 0.02)
    here, elsewhere = PictureVotes(PICTURES, detector=DETECTOR)(item, [best.box.edges, corner])
    assert here[best.label] == pytest.approx(best.score, abs=0.01)
    assert elsewhere == {}


def test_a_picture_that_is_not_there_has_no_say(tmp_path: Path) -> None:
    votes = PictureVotes(Pictures(str(tmp_path)), detector=DETECTOR)
    assert votes(ListedPhoto("a", "a.jpg"), [WHOLE, WHOLE]) == [{}, {}]
