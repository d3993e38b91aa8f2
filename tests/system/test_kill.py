"""Killed anywhere, nothing is lost and nothing is half done.

Processes are ended by SIGKILL at every fault point they pass (each write, rename, commit and fsync of sync, apply,
index switch, outbox and publish), and at random moments. ``HANDLENS_KILLS`` sets how many kills there are: 40 by
default, spread over all points; with 300 every point is reached at every pass, and the rest is random. The import is
killed in tests/server/test_catalog_kill.py.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from support.backend import Backend
from support.paths import QUERIES, ROOT
from support.signed_release import rows

from handlens import Lens, NotReadyError, Options
from handlens.store import Outbox, Store
from handlens_server.tables import EventRow
from handlens_server.verifying import verify

KILLS = int(os.environ.get("HANDLENS_KILLS", "40"))
MOST = {"held": 0.3, "empty": 0.2, "publish": 0.3}  # of the kills; what is left of them happens at random
DRIVER = ROOT / "tests" / "support" / "kill_driver.py"
PHOTO = QUERIES / "images" / "claw-hammer.jpg"
NAMES = [f"item-{at:03d}" for at in range(60)]


class Stage:
    """A backend with releases one and two, served, and a device that has one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.backend = Backend(folder / "backend")
        self.backend.publish_rows({"demo": rows("axe", *NAMES)}, name="one")
        self.published = folder / "published-one"
        shutil.copytree(folder / "backend", self.published)
        self.url = ""
        self.digests: dict[str, str] = {}

    def prepare(self) -> None:
        """With the server up: a device at release one, then release two."""
        with Lens(self.options(self.folder / "device")) as lens:
            lens.sync()
        self.backend.publish_rows({"demo": rows("axe", *NAMES[5:], "new", value=2)}, name="two")
        for line in self.backend.publisher.releases():
            self.digests[line.release.name] = line.release.packs["demo"].digest

    def options(self, data_dir: Path) -> Options:
        return Options(
            data_dir=data_dir, server_url=self.url, trusted_root=self.backend.root, index="hnsw", consent="events"
        )

    def device(self, target: Path, *, start: str = "held") -> Path:
        """A copy of the device at release one, or an empty one; the models, which nobody writes to, are shared."""
        if start == "empty":
            target.mkdir()
            return target
        shutil.copytree(self.folder / "device", target, ignore=shutil.ignore_patterns("models"))
        shutil.copytree(self.folder / "device" / "models", target / "models", copy_function=os.link)
        return target


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(tmp_path_factory.mktemp("stage"))
    with made.backend.serve() as made.url:
        made.prepare()
        yield made


def start(*arguments: str | Path, **variables: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join(str(ROOT / name) for name in ("sdk", "server", "tests"))
    return subprocess.Popen(
        [sys.executable, str(DRIVER), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": paths, "PYTHONWARNINGS": "ignore", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def points_of(log: Path, *arguments: str | Path) -> list[str]:
    """Every pass of a fault point in an undisturbed run: ``name:1``, ``name:2``..."""
    done = start(*arguments, HANDLENS_FAULT_LOG=str(log))
    _, errors = done.communicate(timeout=60)
    assert done.returncode == 0, errors
    seen: Counter[str] = Counter()
    passes = []
    for name in log.read_text("utf-8").split():
        seen[name] += 1
        passes.append(f"{name}:{seen[name]}")
    return passes


def some_of(passes: list[str], count: int) -> list[str]:
    """`count` of the passes: every point once before any point twice."""
    by_turn = sorted(passes, key=lambda one: int(one.rpartition(":")[2]))
    return by_turn[:count]


def is_killed(process: subprocess.Popen[str], what: str) -> list[str]:
    """Wait for the end by SIGKILL; what was printed before it."""
    out, errors = process.communicate(timeout=60)
    assert process.returncode == -9, f"{what}: ended with {process.returncode}: {errors[-2000:]}"
    return out.split("\n")


@pytest.fixture(scope="module")
def spent() -> dict[str, int]:
    """How many kills each test used."""
    return {}


@pytest.mark.parametrize("begins", ["held", "empty"])
def test_a_device_killed_anywhere(stage: Stage, tmp_path: Path, spent: dict[str, int], begins: str) -> None:
    trial = stage.device(tmp_path / "trial", start=begins)
    passes = points_of(tmp_path / "log", "device", trial, stage.url, stage.backend.root)
    needed = {"store.before_commit", "index.save", "outbox.add", "download.rename", "events.sent"}
    assert needed | ({"models.rename", "durable.rename"} if begins == "empty" else set()) <= set(map(point_of, passes))
    chosen = some_of(passes, int(KILLS * MOST[begins]))
    for number, point in enumerate(chosen):
        data_dir = stage.device(tmp_path / f"device-{number}", start=begins)
        killed = start("device", data_dir, stage.url, stage.backend.root, HANDLENS_FAULT=point)
        is_whole(stage, data_dir, is_killed(killed, point), point, searches=number % 10 == 0)
        shutil.rmtree(data_dir)
    spent[begins] = len(chosen)
    print(f"device, {begins}: {len(chosen)} kills at {len(set(map(point_of, chosen)))} points")


def point_of(one: str) -> str:
    return one.rpartition(":")[0]


def is_whole(stage: Stage, data_dir: Path, printed: list[str], what: str, *, searches: bool) -> None:
    """The store is the old or the new release, proved; no event that was kept is lost or doubled."""
    name = held(stage, data_dir)
    if searches and name:
        with Lens(stage.options(data_dir)) as lens:
            assert lens.search(PHOTO).release == name
    with Lens(stage.options(data_dir)) as lens:
        report = lens.sync()
        assert report.events_error == ""
        assert lens.status().index.startswith("hnsw"), what
    outbox = Outbox.open(data_dir)
    assert outbox.count() == 0
    outbox.close()
    kept = {line.removeprefix("kept ") for line in printed if line.startswith("kept ")}
    with stage.backend.database() as database, database.read() as session:
        stored = set(session.scalars(select(EventRow.event_id)))  # the key of the table: none can be there twice
    assert kept <= stored, what


def held(stage: Stage, data_dir: Path) -> str:
    """The release in the store, whose rows are proved; empty where nothing was installed yet."""
    try:
        with Store.open(data_dir) as store:
            store.check()
            packs, release = store.packs(), store.optional_document("release")
    except NotReadyError:
        return ""
    if release is None:
        assert packs == ()
        return ""
    (name,) = (name for name, digest in stage.digests.items() if digest == packs[0].digest)
    assert f'"release": "{name}"' in release
    return name


def test_a_publish_killed_anywhere(stage: Stage, tmp_path: Path, spent: dict[str, int]) -> None:
    shutil.copytree(stage.published, tmp_path / "trial")
    passes = points_of(tmp_path / "log", "publish", tmp_path / "trial")
    needed = {"states.rename", "publish.record", "publish.offer", "repository.timestamp"}
    assert needed <= set(map(point_of, passes))
    chosen = some_of(passes, int(KILLS * MOST["publish"]))
    for number, point in enumerate(chosen):
        folder = Path(shutil.copytree(stage.published, tmp_path / f"backend-{number}"))
        is_killed(start("publish", folder, HANDLENS_FAULT=point), point)
        is_published(folder, point)
        shutil.rmtree(folder)
    spent["publish"] = len(chosen)
    print(f"publish: {len(chosen)} kills at {len(set(map(point_of, chosen)))} points")


def is_published(folder: Path, what: str) -> None:
    """The repository is the old or the new release, and the next publish succeeds."""
    backend = Backend(folder)
    (name,) = verify(backend.repository, "stable").releases
    assert name in ("one", "two"), what
    backend.publish_rows({"demo": rows("axe", "saw", value=3)}, name="three")
    assert verify(backend.repository, "stable").releases == ("three",), what


def test_killed_at_random(stage: Stage, tmp_path: Path, spent: dict[str, int]) -> None:
    chance = random.Random(20260101)
    count = KILLS - sum(spent.values())
    for number in range(count):
        is_device = number % 3 > 0
        if is_device:
            folder = stage.device(tmp_path / f"device-{number}", start=chance.choice(["held", "empty"]))
            process = start("device", folder, stage.url, stage.backend.root)
        else:
            folder = Path(shutil.copytree(stage.published, tmp_path / f"backend-{number}"))
            process = start("publish", folder)
        printed = killed_after(process, 0.2 + 0.6 * chance.random())
        if is_device:
            is_whole(stage, folder, printed, f"random {number}", searches=False)
        else:
            is_published(folder, f"random {number}")
        shutil.rmtree(folder)
    print(f"random: {count} kills; {sum(spent.values()) + count} in all")


def killed_after(process: subprocess.Popen[str], seconds: float) -> list[str]:
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    return process.communicate()[0].split("\n")
