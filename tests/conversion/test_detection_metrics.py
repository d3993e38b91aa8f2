"""Detection metrics: average precision as COCO defines it, and precision and recall at a score."""

from __future__ import annotations

import pytest

from handlens.geometry import Box
from handlens.vision.detector import Detection

pytest.importorskip("pycocotools", reason="pycocotools comes with the extra 'conversion'")

from handlens_conversion.detector_metrics import ScoredPhoto, Truth, average_precision, operating_point

LABELS = ("cup", "dog")
LEFT, RIGHT = Box(0.0, 0.0, 0.4, 0.4), Box(0.5, 0.5, 0.9, 0.9)


def photo(truths: list[tuple[Box, str]], found: list[tuple[Box, str, float]]) -> ScoredPhoto:
    return ScoredPhoto((640, 480), tuple(Truth(*truth) for truth in truths), tuple(Detection(*row) for row in found))


def test_perfect_detections_score_one() -> None:
    quality = average_precision(
        [photo([(LEFT, "cup"), (RIGHT, "dog")], [(LEFT, "cup", 0.9), (RIGHT, "dog", 0.8)])], labels=LABELS
    )
    assert quality.map == pytest.approx(1.0)
    assert quality.ap50 == pytest.approx(1.0)
    assert quality.by_label == pytest.approx({"cup": 1.0, "dog": 1.0})


def test_a_wrong_label_scores_nothing() -> None:
    quality = average_precision([photo([(LEFT, "cup")], [(LEFT, "dog", 0.9)])], labels=LABELS)
    assert quality.map == 0.0


def test_a_label_without_truth_does_not_count() -> None:
    quality = average_precision([photo([(LEFT, "cup")], [(LEFT, "cup", 0.9)])], labels=LABELS)
    assert list(quality.by_label) == ["cup"]
    assert quality.map == pytest.approx(1.0)


def test_a_loose_box_counts_at_half_overlap_and_not_at_high_overlap() -> None:
    loose = Box(0.0, 0.0, 0.4, 0.28)  # IoU 0.70: right at 0.50 to 0.65 or 0.70, wrong above
    quality = average_precision([photo([(LEFT, "cup")], [(loose, "cup", 0.9)])], labels=LABELS)
    assert quality.ap50 == pytest.approx(1.0)
    assert quality.map == pytest.approx(0.4, abs=0.101)


def test_a_false_detection_above_the_right_one_halves_the_precision() -> None:
    quality = average_precision([photo([(LEFT, "cup")], [(RIGHT, "cup", 0.9), (LEFT, "cup", 0.5)])], labels=LABELS)
    assert quality.ap50 == pytest.approx(0.5)


def test_photos_without_objects_only_cannot_be_scored() -> None:
    with pytest.raises(ValueError, match="no photo has an annotated object"):
        average_precision([photo([], [(LEFT, "cup", 0.9)])], labels=LABELS)


def test_a_label_that_the_model_does_not_know_is_named() -> None:
    with pytest.raises(ValueError, match="'cat' is not among"):
        average_precision([photo([(LEFT, "cat")], [])], labels=LABELS)


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    average_precision([photo([(LEFT, "cup")], [(LEFT, "cup", 0.9)])], labels=LABELS)
    assert capsys.readouterr().out == ""


def test_precision_and_recall_at_a_score() -> None:
    shown = photo([(LEFT, "cup"), (RIGHT, "dog")], [(LEFT, "cup", 0.9), (LEFT, "cup", 0.6), (RIGHT, "dog", 0.2)])
    point = operating_point([shown], min_score=0.5)
    assert (point.precision, point.recall, point.per_photo) == (0.5, 0.5, 2.0)


def test_a_wrong_label_counts_as_a_box_when_labels_do_not_matter() -> None:
    shown = photo([(LEFT, "cup")], [(LEFT, "dog", 0.9)])
    assert operating_point([shown], min_score=0.5).recall == 0.0
    assert operating_point([shown], min_score=0.5, same_label=False).recall == 1.0


def test_nothing_shown_is_never_wrong() -> None:
    point = operating_point([photo([(LEFT, "cup")], [])], min_score=0.5)
    assert (point.precision, point.recall) == (1.0, 0.0)
