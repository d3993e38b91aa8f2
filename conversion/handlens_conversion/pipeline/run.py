"""One run of the pipeline, from a command's options to a published folder.

::

    found = run(JobInputs(("events/",), "items.jsonl", "catalogue"), Path("datasets"), RunOptions())
    print(found.folder, found.sheet["objects"])
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handlens.errors import ImageError, TrainingDataError
from handlens_conversion.boxes.drawn import DrawnBox
from handlens_conversion.files import write_whole
from handlens_conversion.pipeline import job
from handlens_conversion.pipeline.boxes_report import Sheet, draw_report
from handlens_conversion.pipeline.dataset import write_dataset
from handlens_conversion.pipeline.datasheet import datasheet, to_markdown
from handlens_conversion.pipeline.exports import java_cause, lines_of
from handlens_conversion.pipeline.image_votes import Neighbours, PictureVotes, embed_items
from handlens_conversion.pipeline.job import JobInputs, JobRules
from handlens_conversion.pipeline.opening import Pictures
from handlens_conversion.pipeline.photo_rows import read_photo_row
from handlens_conversion.pipeline.photo_work import ImageVotes, PhotoRecord
from handlens_conversion.pipeline.progress import showing
from handlens_conversion.pipeline.sample_sheets import Seen, draw_sheet, photos_to_show
from handlens_conversion.pipeline.session import SparkOptions, open_session, require_java
from handlens_conversion.pipeline.whole_folder import SCRATCH, partial_folder, publish

__all__ = ["Run", "RunOptions", "run"]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run is done.

    `unseen` opens no picture (`opening.Pictures`). Labels must agree with what the detector in `gate` sees, or with
    tags of the items that the embedder in `neighbours` finds alike; with neither, users alone decide. `detector` is a
    model folder whose predictions are shown in the report, `sheets` how many photos the report shows, with at most
    `boxes_shown` users' boxes each.
    """

    master: str = "local[*]"
    driver_memory: str = "1g"
    executor_memory: str = "1g"
    spark: tuple[str, ...] = ()
    unseen: bool = False
    gate: Path | None = None
    neighbours: Path | None = None
    detector: Path | None = None
    sheets: int = 24
    boxes_shown: int = 200
    progress: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """What a run made: the folder, the datasheet, and seconds by step."""

    folder: Path
    sheet: dict[str, Any]
    seconds: dict[str, float]


def run(inputs: JobInputs, out: Path, rules: JobRules, options: RunOptions) -> Run:
    """Make a data set below `out`.

    Raises:
        TrainingDataError: Spark cannot run, the input is empty or too bad, nothing was found, or `out` cannot be
        written.
    """
    require_java()
    clock = _Clock()
    with partial_folder(out) as partial:
        spark_options = SparkOptions(
            scratch=(partial / SCRATCH).resolve(),
            master=options.master,
            driver_memory=options.driver_memory,
            executor_memory=options.executor_memory,
            extra=options.spark,
        )
        pictures = Pictures(inputs.root, options.unseen)
        with open_session(spark_options) as spark:
            clock.lap("start")
            try:
                votes = _image_votes(spark, inputs, pictures, options, spark_options.scratch)
                carried = job.carry(
                    spark, inputs, rules, look_at=pictures, image_votes=votes, progress=options.progress
                )
                clock.lap("carry")
                sheet = _write(spark, carried, partial, inputs, rules, options)
            except TrainingDataError:
                raise
            except Exception as error:
                if not _is_sparks(error):
                    raise
                raise TrainingDataError(f"Spark gave up: {java_cause(error)}") from error
            clock.lap("write")
        return Run(
            publish(partial, out, prefix="boxes", record={"made_by": "handlens-convert boxes"}), sheet, clock.laps
        )


def _image_votes(
    spark: Any, inputs: JobInputs, pictures: Pictures, options: RunOptions, scratch: Path
) -> ImageVotes | None:
    """What labels must agree with; the embedded items travel with the job as a file."""
    if options.gate is None and options.neighbours is None:
        return None
    neighbours = None
    if options.neighbours is not None:
        lines = [bytes(row.line) for row in lines_of(spark, [inputs.photos]).collect()]
        items = [item for line in lines if line.strip() and (item := read_photo_row(line)) is not None]
        file = scratch / "neighbours.npz"
        if not embed_items(items, pictures, str(options.neighbours), file):
            raise TrainingDataError(f"no item of {inputs.photos} has tags and a picture: leave --neighbours away")
        spark.sparkContext.addFile(str(file))
        neighbours = Neighbours(file.name, str(options.neighbours.resolve()))
    detector = None if options.gate is None else str(options.gate.resolve())
    return PictureVotes(pictures, detector, neighbours)


def _write(
    spark: Any, carried: job.Carried, partial: Path, inputs: JobInputs, rules: JobRules, options: RunOptions
) -> dict[str, Any]:
    with showing(spark, "writing", shown=options.progress):
        sides = job.sides_of(carried.finished, rules.split)
        shown = photos_to_show(sides, options.sheets)
        kept: dict[str, PhotoRecord] = {}
        labels = sorted(label for label in carried.summary.labels if label)
        records = _keeping(job.records_of(carried.finished), set(shown), kept)
        info = {"description": "Objects that several users drew boxes on, merged by handlens-convert boxes"}
        figures = write_dataset(partial, records, sides, labels=labels, info=info)
        drawn = job.users_boxes(carried.rows, shown, most=options.boxes_shown)
    sheet = datasheet(carried.summary, figures, rules, carried.modes)
    write_whole(partial / "datasheet.json", (json.dumps(sheet, indent=1, ensure_ascii=False) + "\n").encode())
    write_whole(partial / "DATASHEET.md", to_markdown(sheet).encode())
    sheets = _sheets([kept[photo] for photo in shown], drawn, Pictures(inputs.root, options.unseen), options.detector)
    detector = None if options.detector is None else options.detector.name
    write_whole(partial / "report.html", draw_report(sheet, sheets, detector=detector).encode())
    return sheet


def _keeping(records: Any, wanted: set[str], kept: dict[str, PhotoRecord]) -> Any:
    for record in records:
        if record.listed.photo in wanted:
            kept[record.listed.photo] = record
        yield record


def _sheets(
    records: Sequence[PhotoRecord], drawn: dict[str, list[DrawnBox]], pictures: Pictures, detector: Path | None
) -> list[Sheet]:
    if pictures.unseen:
        return []
    see = None if detector is None else _seeing(detector)
    sheets = []
    for record in records:
        data = pictures.read(record.listed)
        credit = " · ".join(part for part in (record.listed.credit, record.listed.licence) if part)
        picture: bytes | str = "the picture is missing"
        if isinstance(data, bytes):
            try:
                picture = draw_sheet(data, drawn[record.listed.photo], record, see(data) if see else None)
            except ImageError as error:
                picture = str(error)
        sheets.append(Sheet(record.listed.photo, picture, credit))
    return sheets


def _seeing(folder: Path) -> Any:
    from handlens.vision.detector import Detector
    from handlens.vision.image import load_photo

    detector = Detector.open(folder)

    def see(data: bytes) -> list[Seen]:
        return [Seen(one.box.edges, one.label, one.score) for one in detector.detect(load_photo(data))]

    return see


def _is_sparks(error: Exception) -> bool:
    return type(error).__module__.split(".", 1)[0] in ("py4j", "pyspark")


class _Clock:
    """Seconds by step."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, step: str) -> None:
        now = time.perf_counter()
        self.laps[step], self._last = round(now - self._last, 2), now
