"""The report and the datasheet: every figure is there, and what users wrote is text, never markup."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from support.drawn_boxes import drawn_on, make_photos

from handlens_conversion.boxes.modes import CAREFUL
from handlens_conversion.boxes.reasons import Reject, RejectReason
from handlens_conversion.pipeline.dataset import Figures
from handlens_conversion.pipeline.look import Look
from handlens_conversion.pipeline.photo_rows import ListedPhoto
from handlens_conversion.pipeline.photo_work import PhotoRules, work_on
from handlens_conversion.pipeline.sample_sheets import Seen, draw_sheet, photos_to_show

pytest.importorskip("pyarrow", reason="the datasheet's figures come from Arrow rows")
pytest.importorskip("matplotlib", reason="plots are drawn with matplotlib")
from handlens_conversion.pipeline.boxes_report import Sheet, draw_report
from handlens_conversion.pipeline.carrying import Summary
from handlens_conversion.pipeline.datasheet import datasheet, to_markdown
from handlens_conversion.pipeline.job import JobRules

EVIL = '<script>alert("x")</script>|`$\\frac{$'


@pytest.fixture(scope="module")
def sheet() -> dict[str, object]:
    summary, figures = Summary(), Figures()
    summary.tally.rows, summary.used = 100, 90
    summary.tally.add(Reject(RejectReason.NOT_JSON, EVIL))
    record, *_ = work_on(
        ListedPhoto(EVIL, "a.jpg", licence=EVIL),
        drawn_on([EVIL]),
        PhotoRules(),
        look_at=lambda _: Look((9, 9), "0", "0" * 16),
    )
    assert record is not None
    figures.add(record, "train", EVIL)
    figures.labels[EVIL] += 1
    return datasheet(summary, figures, JobRules(), [CAREFUL])


def test_no_text_of_users_is_markup_in_the_report(sheet: dict[str, object]) -> None:
    page = draw_report(sheet, [Sheet(EVIL, EVIL, EVIL), Sheet(EVIL, b"jpeg", EVIL)], detector=EVIL)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page  # nothing is fetched: the page stands alone


def test_no_text_of_users_is_markup_in_the_datasheet(sheet: dict[str, object]) -> None:
    page = to_markdown(sheet)
    before_settings = page[: page.index("## Settings")]
    assert "<script" not in before_settings
    assert "| not-json | bad | 1 |" in page


def test_the_same_figures_give_the_same_page(sheet: dict[str, object]) -> None:
    assert draw_report(sheet, [], detector=None) == draw_report(sheet, [], detector=None)


def test_a_sheet_shows_users_consensus_and_detector_side_by_side(tmp_path: Path) -> None:
    [photo] = make_photos(tmp_path / "set", 1)
    data = next((tmp_path / "set" / "images").iterdir()).read_bytes()
    drawn = drawn_on([photo])
    listed = ListedPhoto(photo, "a.jpg")
    record, *_ = work_on(listed, drawn, PhotoRules(), look_at=lambda _: Look((9, 9), "0", "0" * 16))
    assert record is not None
    two = Image.open(io.BytesIO(draw_sheet(data, drawn, record, None)))
    three = Image.open(io.BytesIO(draw_sheet(data, drawn, record, [Seen((0.1, 0.1, 0.5, 0.5), "cup", 0.5)])))
    assert two.height == three.height
    assert three.width > 1.4 * two.width


def test_the_photos_shown_do_not_depend_on_their_order() -> None:
    photos = [f"photo-{at}" for at in range(100)]
    assert photos_to_show(photos, 5) == photos_to_show(reversed(photos), 5)
    assert photos_to_show(photos[:3], 5) == photos[:3]
