"""A data set's folder is there whole or not at all, whenever the run that makes it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from handlens.errors import TrainingDataError
from handlens_conversion.pipeline.whole_folder import DONE, LATEST, check_whole, partial_folder, publish

PROGRAM = """
import sys
from pathlib import Path
from handlens_conversion.pipeline.whole_folder import partial_folder, publish
root = Path(sys.argv[1])
with partial_folder(root) as partial:
    for name in ("train.json", "val.json"):
        (partial / name).write_text(name * 100)
    publish(partial, root, prefix="boxes", record={"made_by": "test"})
"""
POINTS = ["dataset.files", "durable.rename:1", "dataset.done", "dataset.renamed", "durable.rename:2", "durable.done:2"]


def make(root: Path, fault: str = "") -> int:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, root], env={**environment, "HANDLENS_FAULT": fault}, check=False
    ).returncode


def data_sets(root: Path) -> list[Path]:
    return [folder for folder in root.glob("boxes-*") if folder.is_dir()]


@pytest.mark.parametrize("point", POINTS)
def test_a_run_killed_at_any_point_leaves_a_whole_data_set_or_none_and_the_next_run_makes_it(
    tmp_path: Path, point: str
) -> None:
    assert make(tmp_path, point) == -signal.SIGKILL
    for folder in data_sets(tmp_path):
        check_whole(folder)
    assert make(tmp_path) == 0
    [folder] = data_sets(tmp_path)
    assert sorted(check_whole(folder)["files"]) == ["train.json", "val.json"]
    assert (tmp_path / LATEST).read_text().strip() == folder.name
    assert not list(tmp_path.glob(".partial*"))


def test_a_run_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with partial_folder(tmp_path) as partial:
            (partial / "train.json").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_second_run_at_the_same_time_is_refused(tmp_path: Path) -> None:
    with partial_folder(tmp_path), pytest.raises(TrainingDataError, match="another run"), partial_folder(tmp_path):
        pass


@pytest.mark.parametrize("damage", ["missing", "changed", "no record", "half a record"])
def test_a_folder_that_is_not_whole_is_not_taken_for_one(tmp_path: Path, damage: str) -> None:
    assert make(tmp_path) == 0
    [folder] = data_sets(tmp_path)
    if damage == "missing":
        (folder / "val.json").unlink()
    elif damage == "changed":
        (folder / "val.json").write_text("x")
    elif damage == "no record":
        (folder / DONE).unlink()
    else:
        (folder / DONE).write_bytes((folder / DONE).read_bytes()[:-9])
    with pytest.raises(TrainingDataError, match="make it again"):
        check_whole(folder)
    if damage == "changed":
        assert make(tmp_path) == 1  # rather than passing off the damaged folder as the new one


def test_the_same_content_has_the_same_name_and_another_content_another(tmp_path: Path) -> None:
    assert make(tmp_path) == 0
    assert make(tmp_path) == 0
    assert len(data_sets(tmp_path)) == 1
    with partial_folder(tmp_path) as partial:
        (partial / "train.json").write_text("other")
        other = publish(partial, tmp_path, prefix="boxes", record={"made_by": "test"})
    assert len(data_sets(tmp_path)) == 2
    assert json.loads((other / DONE).read_text())["version"] in other.name


def test_a_root_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingDataError, match="name another folder"), partial_folder(tmp_path / "file"):
        pass
