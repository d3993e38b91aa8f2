"""Killed anywhere, nothing is lost and nothing is half done.

Processes are ended by SIGKILL at every fault point they pass, at the calls that change a file (each write, rename,
fsync, link and unlink of theirs and of their libraries, among them those of a commit), and at random moments, on the
device and on the server. ``HANDLENS_KILLS`` sets how many kills there are: 40 by default, spread over everything; with
300 every fault point is reached. The import is killed in tests/server/test_catalog_kill.py, the server while it takes
events in tests/system/test_server_kill.py.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from support.backend import Backend
from support.kills import Kill, calls_to_kill, is_killed, points_to_kill, run, share, start, watching
from support.paths import QUERIES, ROOT
from support.signed_release import rows

from handlens import Lens, NotReadyError, Options
from handlens.store import Outbox, Store
from handlens_server.tables import EventRow
from handlens_server.verifying import verify

# The server of the tests does not close a file whose reader was killed; gunicorn, which serves devices, does.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
DRIVER = ROOT / "tests" / "support" / "kill_driver.py"
PHOTO = QUERIES / "images" / "claw-hammer.jpg"
NAMES = [f"item-{at:03d}" for at in range(60)]
NEEDED = {  # the fault points that a run passes, or it does not what its name says
    "device": {"store.before_commit", "index.save", "outbox.add", "outbox.remove", "download.rename", "events.sent"},
    "packs": {"store.before_commit", "index.switched", "apply.pack"},
    "publish": {"states.rename", "publish.record", "publish.offer", "repository.timestamp"},
    "operate": {"states.rename", "publish.offered", "repository.root", "repository.targets", "durable.rename"},
}


class Stage:
    """A backend with releases one and two, served, and a device that has one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.backend = Backend(folder / "backend", enrolments_per_hour=1_000_000)
        tools = rows("drill", "saw")
        self.backend.publish_rows({"demo": rows("axe", *NAMES), "tools": tools}, name="one")
        self.published = folder / "published-one"
        shutil.copytree(folder / "backend", self.published)
        self.url = ""
        self.digests: dict[str, dict[str, str]] = {}

    def prepare(self) -> None:
        """With the server up: a device at release one, then release two."""
        with Lens(self.options(self.folder / "device")) as lens:
            lens.sync(["demo"])
        changed = {"demo": rows("axe", *NAMES[5:], "new", value=2), "tools": rows("drill", "vice")}
        self.backend.publish_rows(changed, name="two")
        for line in self.backend.publisher.releases():
            self.digests[line.release.name] = {name: pack.digest for name, pack in line.release.packs.items()}

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

    def command(self, what: str, data_dir: Path) -> list[object]:
        return [DRIVER, what, data_dir, self.url, self.backend.root]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(tmp_path_factory.mktemp("stage"))
    with made.backend.serve() as made.url:
        made.prepare()
        yield made


@pytest.mark.parametrize(
    ("what", "begins", "part"), [("device", "held", 0.15), ("device", "empty", 0.1), ("packs", "empty", 0.1)]
)
def test_a_device_killed_at_its_fault_points(stage: Stage, tmp_path: Path, what: str, begins: str, part: float) -> None:
    trial = stage.device(tmp_path / "trial", start=begins)
    run(stage.command(what, trial), {"HANDLENS_FAULT_LOG": str(tmp_path / "log")})
    passed = (tmp_path / "log").read_text("utf-8").split()
    assert NEEDED[what] | ({"models.rename", "durable.rename"} if begins == "empty" else set()) <= set(passed)
    kill_devices(stage, tmp_path, what, begins, points_to_kill(passed, share(part)))


@pytest.mark.parametrize(
    ("what", "begins", "part"), [("device", "held", 0.1), ("device", "empty", 0.1), ("packs", "held", 0.05)]
)
def test_a_device_killed_at_its_calls(stage: Stage, tmp_path: Path, what: str, begins: str, part: float) -> None:
    trial = stage.device(tmp_path / "trial", start=begins)
    run(stage.command(what, trial), {**watching(trial), "HANDLENS_KILL_LOG": str(tmp_path / "log")})
    called = (tmp_path / "log").read_text("utf-8").split()
    assert {"rename", "fsync", "pwrite64", "fdatasync", "unlink"} <= set(called)
    # The calls of a device count by its folder, so each device lies where the trial lay.
    kills = list(calls_to_kill(called, trial, share(part)))
    shutil.rmtree(trial)
    kill_devices(stage, tmp_path, what, begins, kills)
    print(f"{what}, {begins}: {len(called)} calls, {dict(sorted(counted(called).items()))}")


def counted(names: list[str]) -> dict[str, int]:
    return {name: names.count(name) for name in set(names)}


def kill_devices(stage: Stage, folder: Path, what: str, begins: str, kills: list[Kill]) -> None:
    data_dir = folder / "trial"
    for number, kill in enumerate(kills):
        shutil.rmtree(data_dir, ignore_errors=True)
        stage.device(data_dir, start=begins)
        printed = is_killed(stage.command(what, data_dir), kill)
        is_whole(stage, data_dir, printed, kill.what, searches=number % 10 == 0)
    print(f"{what}, {begins}: {len(kills)} kills")


def is_whole(stage: Stage, data_dir: Path, printed: list[str], what: str, *, searches: bool) -> None:
    """The store is the old or the new release, proved; no event that was kept is lost or doubled."""
    name = held(stage, data_dir)
    if searches and name:
        with Lens(stage.options(data_dir)) as lens:
            assert lens.search(PHOTO).release == name
    with Lens(stage.options(data_dir)) as lens:
        report = lens.sync()
        assert report.events_error == "", what
        assert lens.status().index.startswith("hnsw"), what
    outbox = Outbox.open(data_dir)
    assert outbox.count() == 0
    outbox.close()
    assert held(stage, data_dir) == report.release
    kept = {line.removeprefix("kept ") for line in printed if line.startswith("kept ")}
    assert kept <= stored(stage), what


def stored(stage: Stage) -> set[str]:
    """The events that the server has: the key of their table, so none can be there twice."""
    with stage.backend.database() as database, database.read() as session:
        return set(session.scalars(select(EventRow.event_id)))


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
    found = {pack.pack: pack.digest for pack in packs}
    (name,) = (name for name, digests in stage.digests.items() if found and found.items() <= digests.items())
    assert f'"release": "{name}"' in release
    return name


def test_an_erasure_killed_anywhere_is_done_or_not_begun_and_the_server_learns_of_it(
    stage: Stage, tmp_path: Path
) -> None:
    trial = stage.device(tmp_path / "trial")
    watched = {**watching(trial), "HANDLENS_KILL_LOG": str(tmp_path / "log")}
    run(stage.command("erase", trial), watched)
    kills = list(calls_to_kill((tmp_path / "log").read_text("utf-8").split(), trial, 4 * share(0.05)))
    for kill in kills[-share(0.05) :]:  # the erasure is the end of the run
        shutil.rmtree(trial)
        stage.device(trial)
        printed = is_killed(stage.command("erase", trial), kill)
        kept = {line.removeprefix("kept ") for line in printed if line.startswith("kept ")}
        with Lens(stage.options(trial)) as lens:
            waited, device = lens.outbox.count(), lens.outbox.note("device_id")
            is_erased = device is None
            assert waited == 0 or not is_erased, kill.what
            lens.sync()
            assert lens.outbox.note("erase_token") is None, kill.what
        assert not is_erased or not kept & stored(stage), kill.what


@pytest.mark.parametrize(("what", "part"), [("publish", 0.1), ("operate", 0.1)])
def test_a_backend_killed_at_its_fault_points(stage: Stage, tmp_path: Path, what: str, part: float) -> None:
    shutil.copytree(stage.published, tmp_path / "trial")
    run([DRIVER, what, tmp_path / "trial"], {"HANDLENS_FAULT_LOG": str(tmp_path / "log")})
    passed = (tmp_path / "log").read_text("utf-8").split()
    assert NEEDED[what] <= set(passed)
    kill_backends(stage, tmp_path, what, points_to_kill(passed, share(part)))


@pytest.mark.parametrize(("what", "part"), [("publish", 0.05), ("operate", 0.05)])
def test_a_backend_killed_at_its_calls(stage: Stage, tmp_path: Path, what: str, part: float) -> None:
    trial = shutil.copytree(stage.published, tmp_path / "trial")
    run([DRIVER, what, trial], {**watching(trial), "HANDLENS_KILL_LOG": str(tmp_path / "log")})
    called = (tmp_path / "log").read_text("utf-8").split()
    kill_backends(stage, tmp_path, what, list(calls_to_kill(called, trial, share(part))))
    print(f"{what}: {len(called)} calls, {dict(sorted(counted(called).items()))}")


def kill_backends(stage: Stage, folder: Path, what: str, kills: list[Kill]) -> None:
    trial = folder / "trial"
    for kill in kills:
        shutil.rmtree(trial, ignore_errors=True)
        shutil.copytree(stage.published, trial)
        is_killed([DRIVER, what, trial], kill)
        is_published(trial, kill.what)
    print(f"{what}: {len(kills)} kills")


def is_published(folder: Path, what: str) -> None:
    """The repository is as it was before or after a step; what was begun can be ended; the next publish succeeds."""
    backend = Backend(folder)
    names = verify(backend.repository, "stable", root=backend.root).releases
    assert set(names) <= {"one", "two", "back"}, what
    for key in ("timestamp", "packs", "root2"):
        backend.publisher.rotate(key)  # one that was interrupted is ended by being asked for again
    backend.publish_rows({"demo": rows("axe", "saw", value=3)}, name="three")
    assert verify(backend.repository, "stable", root=backend.root).releases == ("three",), what


def test_killed_at_random(stage: Stage, tmp_path: Path) -> None:
    chance = random.Random(20260101)
    count = share(0.1)
    for number in range(count):
        folder, what = tmp_path / f"trial-{number}", f"random {number}"
        if number % 3:
            stage.device(folder, start=chance.choice(["held", "empty"]))
            command = stage.command("device", folder)
        else:
            shutil.copytree(stage.published, folder)
            command = [DRIVER, "publish", folder]
        process = start(command)
        printed = killed_after(process, 0.2 + 0.6 * chance.random())
        if number % 3:
            is_whole(stage, folder, printed, what, searches=False)
        else:
            is_published(folder, what)
        shutil.rmtree(folder)
    print(f"random: {count} kills")


def killed_after(process: subprocess.Popen[str], seconds: float) -> list[str]:
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    return process.communicate()[0].split("\n")
