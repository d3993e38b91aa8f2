"""Spark carries the pipeline to the end that plain lists come to: on any master, in any order."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.drawn_boxes import Export, drawn_on, events_of, lines_of, make_photos
from support.paths import ROOT
from support.plain_job import plain_job
from support.spark import running_cluster, spark_or_skip

from handlens.errors import TrainingDataError
from handlens_conversion.boxes.cleaning import CleaningSettings
from handlens_conversion.boxes.consensus import ConsensusSettings
from handlens_conversion.boxes.reasons import RejectReason
from handlens_conversion.boxes.robots import RobotSettings, hour_of, shape_of
from handlens_conversion.pipeline.opening import Pictures
from handlens_conversion.pipeline.photo_rows import ListedPhoto, read_photo_row
from handlens_conversion.pipeline.photo_work import PhotoRules

pytest.importorskip("pyarrow", reason="rows travel as Arrow batches")
from handlens_conversion.pipeline.job import JobRules, records_of
from handlens_conversion.pipeline.people import HOUR, SHAPE

pytestmark = [pytest.mark.heavy, pytest.mark.usefixtures("spark")]
JSON = ["--json", "--quiet"]


@pytest.fixture(scope="module")
def spark() -> None:
    spark_or_skip()


def messy(photos: list[str]) -> list[bytes]:
    """An export with what real ones have: the same event again, a robot, a busy user, strangers, and broken rows."""
    drawn = drawn_on([*photos, "nowhere"])
    robot = [
        replace(one, user="robot", event_id=f"{one.event_id[:-4]}0000", box=(0.2, 0.2, 0.8, 0.8)) for one in drawn[:70]
    ]
    busy = [replace(one, user="busy", event_id=f"{one.event_id[:-4]}1111", at=one.at + 5) for one in drawn]
    lines = lines_of(events_of([*drawn, *drawn[:9], *robot, *busy])).splitlines(keepends=True)
    inverted = {**events_of(drawn[:1])[0], "box": [0.5, 0.5, 0.1, 0.1]}
    return [*lines, b"{\n", b"\xff\n", b"\n", b'{"format":7}\n', json.dumps(inverted).encode() + b"\n"]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Export:
    folder = tmp_path_factory.mktemp("export")
    shutil.rmtree(folder)
    photos = make_photos(folder, 24)
    lines = messy(photos[:-1])
    (folder / "events.jsonl").write_bytes(b"".join(lines))
    (folder / "images" / f"{photos[0]}.jpg").write_bytes(b"no picture")
    (folder / "images" / f"{photos[1]}.jpg").unlink()
    return Export(folder)


def started(export: Export, out: Path, *arguments: object, events: Path | None = None) -> subprocess.Popen[str]:
    paths = os.pathsep.join(str(ROOT / name) for name in ("sdk", "conversion"))
    command = ["-m", "handlens_conversion", "boxes", events or export.events, "--photos", export.photos, "--out", out]
    return subprocess.Popen(
        [sys.executable, *map(str, (*command, "--sheets", 2, "--max-bad", 0.5, *JSON, *arguments))],
        env={**os.environ, "PYTHONPATH": paths, "PYSPARK_PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def made(export: Export, out: Path, *arguments: object, events: Path | None = None) -> dict[str, object]:
    process = started(export, out, *arguments, events=events)
    told, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-3000:]
    return dict(json.loads(told))


def error_of(export: Export, out: Path, *arguments: object, events: Path | None = None) -> str:
    process = started(export, out, *arguments, events=events)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 1, errors[-3000:]
    assert "Traceback" not in errors
    assert not list(out.glob("boxes-*"))
    return errors.strip().splitlines()[-1]


def content(run: dict[str, object]) -> dict[str, bytes]:
    folder = Path(str(run["folder"]))
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def alone(export: Export, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The data set that one core makes."""
    return made(export, tmp_path_factory.mktemp("alone"), "--master", "local[1]")


@pytest.fixture(scope="module")
def session(spark: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One Spark for all tests that need no process of their own."""
    from handlens_conversion.pipeline.session import SparkOptions, open_session

    with open_session(SparkOptions(scratch=tmp_path_factory.mktemp("scratch"), master="local[2]")) as opened:
        yield opened


def carried(session: Any, export: Export, rules: JobRules, *, events: Path | None = None) -> Any:
    from handlens_conversion.pipeline.job import JobInputs, carry

    inputs = JobInputs((str(events or export.events),), str(export.photos), str(export.folder))
    return carry(session, inputs, rules, look_at=Pictures(str(export.folder)))


def test_the_objects_and_counts_are_those_of_plain_lists(session: Any, export: Export) -> None:
    # Caps that this small export reaches.
    cleaning = CleaningSettings(per_user=12, per_user_photo=3, per_photo=12)
    rules = JobRules(photo=PhotoRules(cleaning=cleaning), robots=RobotSettings(min_boxes=40), max_bad=0.5)
    listed: dict[str, ListedPhoto] = {}
    for line in export.photos.read_bytes().splitlines():
        photo = read_photo_row(line)
        assert photo is not None
        listed[photo.photo] = photo
    lines = [line for line in export.events.read_bytes().splitlines() if line.strip()]
    records, left, used = plain_job(lines, listed, rules, Pictures(str(export.folder)))
    found = carried(session, export, rules)
    assert list(records_of(found.finished)) == records
    assert len(records) >= 18  # of 21 whole photos; a cap may take one's third user, by the hash of names of the demo
    assert {reason: count for reason, count in found.summary.tally.counts.items() if count} == left
    assert found.summary.used == used
    assert found.summary.tally.rows == len(lines) == used + left.total()
    assert {reason.value for reason in left} >= {
        "seen-before", "robot", "over-user-cap", "unknown-photo", "missing-photo", "corrupt-photo", "not-unicode",
        "not-json", "unknown-format", "inverted",
    }  # fmt: skip


def test_spark_counts_hours_and_shapes_as_the_pure_functions_do(session: Any) -> None:
    chance = random.Random(5)
    sides = [0.0, 0.0625, 0.1875, 0.4375, 0.9375, 1.0, *(chance.random() for _ in range(40))]
    times = [0.0, 3599.999, 3600.0, 1_700_000_000.5]
    rows = [(chance.choice(times), *(chance.choice(sides) for _ in range(4))) for _ in range(500)]
    frame = session.createDataFrame(rows, "at double, x_min double, y_min double, x_max double, y_max double")
    counted = frame.selectExpr(HOUR, SHAPE).collect()
    assert [tuple(one) for one in counted] == [(hour_of(at), shape_of(tuple(box))) for at, *box in rows]


def test_broken_files_are_told_and_what_is_good_of_them_is_used(session: Any, export: Export, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    photos = [json.loads(line)["item_id"] for line in export.photos.read_text().splitlines()][2:8]
    events, folder = events_of(drawn_on(photos, users=6)), tmp_path / "events"
    folder.mkdir()
    third = len(events) // 3
    pq.write_table(pa.Table.from_pylist(events[:third]), folder / "whole.parquet")
    (folder / "whole.jsonl").write_bytes(lines_of(events[third : 2 * third]))
    packed = gzip.compress(lines_of(events[2 * third :]))
    (folder / "torn.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    (folder / "torn.parquet").write_bytes((folder / "whole.parquet").read_bytes()[:-100])
    (folder / "empty.jsonl.gz").write_bytes(b"")
    (folder / "_SUCCESS").write_bytes(b"")
    tally = carried(session, export, JobRules(max_bad=0.9), events=folder).summary.tally
    told = [sample.split(":")[0] for sample in tally.samples(RejectReason.BROKEN_FILE)]
    assert told == ["empty.jsonl.gz", "torn.jsonl.gz", "torn.parquet"]
    assert 2 * third + 3 <= tally.rows < len(events) + 3
    with pytest.raises(TrainingDataError, match=r"--max-bad.*broken-file"):
        carried(session, export, JobRules(), events=folder)


@pytest.mark.parametrize(
    ("events", "told"),
    [
        (b"", "the export is empty"),
        (b"\n\n", "the export is empty"),
        (b'{"format":2}\n' * 50, "unknown-format"),
        (("not UTF-8\n" * 50).encode("utf-16"), "not-unicode"),
        (None, "holds no events"),
    ],
)
def test_an_export_of_no_use_is_refused_by_what_is_wrong(
    session: Any, export: Export, tmp_path: Path, events: bytes | None, told: str
) -> None:
    path = tmp_path / "events.jsonl"
    if events is not None:
        path.write_bytes(events)
    with pytest.raises(TrainingDataError, match=told):
        carried(session, export, JobRules(), events=path)


def test_photos_that_too_few_users_drew_on_are_told(session: Any, export: Export) -> None:
    rules = JobRules(photo=PhotoRules(consensus=ConsensusSettings(min_users=99)), max_bad=0.5)
    with pytest.raises(TrainingDataError, match="--min-users"):
        carried(session, export, rules)


def test_a_list_that_is_no_list_of_photos_is_refused(session: Any, export: Export, tmp_path: Path) -> None:
    wrong = Export(tmp_path)
    with pytest.raises(TrainingDataError, match=r"photos\.jsonl"):
        carried(session, wrong, JobRules(), events=export.events)
    wrong.photos.write_text('{"image": 3}\n')
    with pytest.raises(TrainingDataError, match="are no photos"):
        carried(session, wrong, JobRules(), events=export.events)


def test_two_cores_and_another_order_give_the_same_bytes(
    export: Export, alone: dict[str, object], tmp_path: Path
) -> None:
    lines = export.events.read_bytes().splitlines(keepends=True)
    random.Random(3).shuffle(lines)
    shuffled = tmp_path / "events"
    shuffled.mkdir()
    (shuffled / "a.jsonl").write_bytes(b"".join(lines[:100]))
    (shuffled / "b.jsonl.gz").write_bytes(gzip.compress(b"".join(lines[100:])))
    assert content(made(export, tmp_path / "out", "--master", "local[2]", events=shuffled)) == content(alone)


def test_a_cluster_of_which_a_worker_dies_in_the_middle_gives_the_same_bytes(
    export: Export, alone: dict[str, object], tmp_path: Path
) -> None:
    with running_cluster(tmp_path) as cluster:
        process = started(export, tmp_path / "out", "--master", cluster.master, "--executor-memory", "512m")
        until = time.monotonic() + 300
        # In the middle: both have done tasks after the first shuffle, so one loses rows that the other needs.
        while not all(cluster.has_worked(at) for at in range(2)):
            assert time.monotonic() < until
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        cluster.kill_worker(0)
        told, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors[-3000:]
        assert "Lost executor" in errors
        assert cluster.workers[1].poll() is None
    assert content(json.loads(told)) == content(alone)


def test_a_run_stopped_in_the_middle_leaves_nothing_that_looks_whole_and_the_next_one_makes_it(
    export: Export, alone: dict[str, object], tmp_path: Path
) -> None:
    process = started(export, tmp_path, "--master", "local[2]")
    until = time.monotonic() + 300
    while not list(tmp_path.glob(".partial-*/.scratch/blockmgr-*/*/*")):  # Spark keeps rows: it is in the middle
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not list(tmp_path.glob("boxes-*"))
    assert list(tmp_path.glob(".partial-*"))
    assert content(made(export, tmp_path, "--master", "local[2]")) == content(alone)
    assert not list(tmp_path.glob(".partial-*"))


def test_a_master_that_is_not_there_is_named(export: Export, tmp_path: Path) -> None:
    assert "nonsense" in error_of(export, tmp_path, "--master", "nonsense")
