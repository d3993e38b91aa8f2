"""Reading labelled photos, and the report's and the card's text, on figures written out here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from handlens.errors import ModelError
from handlens_conversion.detector_card import render_card
from handlens_conversion.detector_evaluate import DetectorReport, Latency, Parity, Quality, load_rows
from handlens_conversion.detector_metrics import OperatingPoint, Precision

ROW: dict[str, Any] = {
    "image": "images/a.jpg",
    "width": 200,
    "height": 100,
    "split": "val",
    "boxes": [[20, 10, 120, 60, "cup"], [190, 90, 260, 130, "dog"], [50, 50, 50, 80, "cat"]],
}


def write_rows(folder: Path, *rows: str) -> Path:
    (folder / "detection").mkdir()
    (folder / "detection" / "coco.jsonl").write_text("\n".join(rows) + "\n")
    return folder


def report() -> DetectorReport:
    precision = Precision(0.2912, 0.4501, 0.06, 0.22, None, 0.4, {"cup": 0.25, "mouse": 0.0})
    parent = Precision(0.2881, 0.4451, 0.06, 0.22, None, 0.4, {"cup": 0.25, "mouse": 0.0})
    return DetectorReport(
        size=2_379_120,
        parent_size=8_117_800,
        sha256="0" * 64,
        photos=67,
        objects=486,
        quality=(Quality("quantized", "litert", precision), Quality("float parent", "litert", parent)),
        latency=(Latency("litert", 1, 9.0, 12.0, 60),),
        parity=(Parity("quantized on litert", "float parent on litert", 20, 0.2, 0.0003, 90.0, 1.3),),
        labelled=(OperatingPoint(0.25, 0.65, 0.32, 3.5),),
        boxes=(OperatingPoint(0.25, 0.71, 0.34, 3.5),),
        machine={
            "processor": "x86_64",
            "cores": 2,
            "load_average": 0.3,
            "runtimes": {"litert": "ai-edge-litert 2.3.0"},
        },
    )


SPEC: dict[str, Any] = {
    "name": "centernet-mobilenetv3",
    "version": "1.0.0",
    "labels": ["cup"] * 80,
    "input": {"width": 320, "height": 320, "dtype": "float32"},
    "decode": {"stride": 4, "nms_iou": 0.6, "min_score": 0.25},
}


def test_boxes_become_fractions_clipped_to_the_photo_and_empty_ones_vanish(tmp_path: Path) -> None:
    (photo,) = load_rows(write_rows(tmp_path, json.dumps(ROW)), "val")
    assert [truth.label for truth in photo.truths] == ["cup", "dog"]
    cup, dog = (truth.box for truth in photo.truths)
    assert (cup.x_min, cup.y_min, cup.x_max, cup.y_max) == (0.1, 0.1, 0.6, 0.6)
    assert (dog.x_max, dog.y_max) == (1.0, 1.0)
    assert photo.path == tmp_path / "images" / "a.jpg"


def test_missing_labels_name_the_file_and_the_option(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"coco\.jsonl cannot be read .*--data"):
        load_rows(tmp_path, "val")


@pytest.mark.parametrize("row", ["not json", "[]", '{"image": "a.jpg"}', json.dumps({**ROW, "width": 0})])
def test_a_malformed_row_is_refused(tmp_path: Path, row: str) -> None:
    with pytest.raises(ModelError, match="is not a list of labelled photos"):
        load_rows(write_rows(tmp_path, row), "val")


def test_a_split_without_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no photo of the split 'test'"):
        load_rows(write_rows(tmp_path, json.dumps(ROW)), "test")


def test_the_report_gives_the_ratio_of_latencies() -> None:
    assert report().to_dict()["latency"][0]["ratio"] == 0.75


def test_the_report_is_json() -> None:
    assert json.loads(json.dumps(report().to_dict()))["quality"][0]["precision"]["map"] == 0.2912


def test_the_card_shows_every_figure_of_the_report() -> None:
    card = render_card(report(), SPEC)
    for figure in (
        "| 0.291 | 0.450 |",
        "| 0.288 | 0.445 |",
        "2.38 MB",
        "8.12 MB",
        "0.75",
        "| 0.25 | 0.71 | 0.34 |",
        "mouse (0.00)",
    ):
        assert figure in card


def test_the_card_says_that_no_licence_was_seen() -> None:
    assert "No licence file was seen" in render_card(report(), SPEC)
