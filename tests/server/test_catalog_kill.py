"""An import that is killed at any write leaves the old catalogue or the new one, and the next run completes it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from support.catalogue import an_item, as_stored, catalogue, opened, records, run_import, some_items, write_feed
from support.paths import MODELS, ROOT

from handlens_server.config import Config
from handlens_server.pictures import PictureStore
from handlens_server.stored_rows import unembedded

OLD = [an_item(), an_item(item_id="lamp-2"), an_item(item_id="lamp-3")]
NEW = [an_item(title="Another lamp"), *OLD[1:2], *some_items(photos=2, others=1)]
POINTS = {  # each is passed by an import of two pictures; a commit is a point before and after itself
    "import.picture.write",
    "import.picture.fsync",
    "import.picture.rename",
    "import.picture.renamed",
    "import.picture.flushed",
    "import.embedding.commit",
    "import.embedding.committed",
    "import.items.commit",
    "import.items.committed",
    "database.commit",
}


@pytest.fixture
def before(tmp_path: Path) -> Config:
    """A backend with the old items, and the folder of the new ones beside it."""
    config = Config(data_dir=tmp_path / "server")
    with opened(config) as database:
        run_import(config, database, write_feed(tmp_path / "lamps", OLD), feed="lamps")
    write_feed(tmp_path / "lamps", NEW)
    return config


def import_in_a_process(config: Config, **faults: str) -> int:
    """How the process ended."""
    words = ["catalog", "import", config.data_dir.parent / "lamps", "--withdraw-missing", "--models", MODELS]
    paths = os.pathsep.join(str(ROOT / name) for name in ("sdk", "server"))
    environment = {**os.environ, "PYTHONPATH": paths, **faults}
    program = "from handlens_server.cli import main; main()"
    command = [sys.executable, "-c", program, *map(str, words), "--data-dir", str(config.data_dir)]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


def test_the_points_are_those_that_an_import_passes(before: Config, tmp_path: Path) -> None:
    assert import_in_a_process(before, HANDLENS_FAULT_LOG=str(tmp_path / "points")) == 0
    passed = Counter((tmp_path / "points").read_text().split())
    assert set(passed) == POINTS
    assert passed["import.picture.rename"] == 2


@pytest.mark.parametrize(
    "point", sorted([*POINTS, "import.picture.write:2", "import.picture.renamed:2", "database.commit:3"])
)
def test_killed_at_a_point_the_catalogue_is_old_or_new_and_the_next_run_completes_it(
    before: Config, point: str
) -> None:
    assert import_in_a_process(before, HANDLENS_FAULT=point) == -signal.SIGKILL
    is_done = point in ("import.items.committed",)
    with opened(before) as database:
        assert records(database) == as_stored(NEW if is_done else OLD)
        check_pictures(before)
        report = run_import(before, database, before.data_dir.parent / "lamps", feed="lamps", withdraw_missing=True)
        assert (report.added, report.changed, report.withdrawn) == ((0, 0, 0) if is_done else (3, 1, 1))
        assert records(database) == as_stored(NEW)
        assert set(catalogue(database, withdrawn=True)) == {"lamp-3"}
    check_pictures(before, parts=0, whole=2)


def embed_in_a_process(config: Config, models: Path, **faults: str) -> int:
    words = ["catalog", "embed", "--models", models, "--data-dir", config.data_dir]
    paths = os.pathsep.join(str(ROOT / name) for name in ("sdk", "server"))
    environment = {**os.environ, "PYTHONPATH": paths, **faults}
    program = "from handlens_server.cli import main; main()"
    return subprocess.run([sys.executable, "-c", program, *map(str, words)], env=environment, check=False).returncode


@pytest.mark.parametrize("point", ["import.embedding.commit:2", "database.commit:3", "import.embedding.committed:1"])
def test_killed_while_all_is_embedded_anew_the_next_run_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    config = Config(data_dir=tmp_path / "server")
    items = some_items(photos=40, others=0)  # two commits of at most 32 pictures
    with opened(config) as database:
        run_import(config, database, write_feed(tmp_path / "feed", items), feed="feed")
        before = catalogue(database)
    other = another_embedder(tmp_path / "models")
    assert embed_in_a_process(config, other, HANDLENS_FAULT=point) == -signal.SIGKILL
    assert embed_in_a_process(config, other, HANDLENS_FAULT_LOG=str(tmp_path / "points")) == 0
    assert (tmp_path / "points").read_text().split().count("import.embedding.commit") == 1  # the rest alone
    with opened(config) as database:
        after = catalogue(database)
        with database.read() as session:
            assert unembedded(session, "another-space") == 0
    assert min(after.values()) > max(before.values())  # devices are told of every item, once each
    assert len(set(after.values())) == len(after)


def another_embedder(folder: Path) -> Path:
    """The shipped models under the name of another embedding space."""
    shutil.copytree(MODELS, folder)
    record = folder / "embedder" / "model.json"
    values = json.loads(record.read_text("utf-8"))
    values["embedding"]["space"] = "another-space"
    record.write_text(json.dumps(values), "utf-8")
    return folder


def check_pictures(config: Config, *, parts: int | None = None, whole: int | None = None) -> None:
    """Whatever has a picture's name is that picture; only a killed import leaves another file."""
    files = [path for path in config.pictures_path.rglob("*") if path.is_file()]
    named = [path for path in files if not path.suffix]
    for path in named:
        PictureStore(config.pictures_path).read(path.name)
    assert whole is None or len(named) == whole
    assert len(files) - len(named) == parts if parts is not None else len(files) - len(named) <= 1
