"""A disk that fills up in mid-sync or mid-publish: told by an error of the tree, and what was there goes on serving.

Once on a file system of its own that is really full, where this user may mount one; once everywhere by the limit that
the system sets to the size of a file, in a process of its own.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.backend import Backend
from support.paths import QUERIES, ROOT
from support.signed_release import rows

from handlens import HandlensError, Lens, Options, StoreError, SyncError
from handlens.store import Store
from handlens_server.verifying import verify

PHOTO = QUERIES / "images" / "claw-hammer.jpg"
NAMES = [f"item-{at:04d}" for at in range(800)]
DRIVER = ROOT / "tests" / "support" / "kill_driver.py"
pytestmark = [  # the test server forgets files whose reader went away; gunicorn, which serves devices, does not
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A device at release one, the backend as it was then, and the backend with release two, where all rows changed."""
    folder = tmp_path_factory.mktemp("template")
    backend = Backend(folder / "backend")
    backend.publish_rows({"demo": rows(*NAMES)}, name="one")
    with backend.serve() as url, device(folder / "device", backend, url) as lens:
        lens.sync()
    shutil.copytree(folder / "backend", folder / "backend-one")
    backend.publish_rows({"demo": rows(*NAMES, "new", value=2)}, name="two")
    return folder


@pytest.fixture(scope="module")
def url(template: Path) -> Iterator[str]:
    with Backend(template / "backend").serve() as address:
        yield address


def device(folder: Path, backend: Backend, url: str) -> Lens:
    return Lens(Options(data_dir=folder, server_url=url, trusted_root=backend.root, retries=0, index="hnsw"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, *, leaving: int) -> Path:
    """A file that leaves so many bytes free."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        file.write(b"x" * (shutil.disk_usage(disk).free - leaving))
    return ballast


def is_as_before(folder: Path) -> None:
    with Store.open(folder) as store:
        store.check()
    with Lens(Options(data_dir=folder)) as lens:
        assert lens.search(PHOTO).release == "one"


@pytest.mark.parametrize("leaving", [0, 8_000, 40_000, 100_000, 200_000, 400_000, 800_000])
def test_a_device_whose_disk_is_full_keeps_its_release(
    template: Path, url: str, small_disk: Path, monkeypatch: pytest.MonkeyPatch, leaving: int
) -> None:
    backend = Backend(template / "backend")
    data_dir = Path(shutil.copytree(template / "device", small_disk / "device"))
    with device(data_dir, backend, url) as lens:
        assert lens.search(PHOTO).release == "one"
        ballast = fill(small_disk, leaving=leaving)
        with pytest.raises((SyncError, StoreError), match="MB free|make room"):
            lens.sync(send_events=False)
        # The look at the free space is left out: the disk fills up while the release is fetched and applied.
        monkeypatch.setattr("handlens.sync.session._require_room", lambda data_dir, plan: None)
        with pytest.raises((SyncError, StoreError), match="make room"):
            lens.sync(send_events=False)
        assert lens.search(PHOTO).release == "one"
    ballast.unlink()
    is_as_before(data_dir)
    with device(data_dir, backend, url) as lens:
        assert lens.sync().release == "two"
        assert lens.status().index.startswith("hnsw")


@pytest.mark.parametrize("leaving", [0, 4_000, 20_000, 60_000, 100_000, 140_000])
def test_a_publish_on_a_full_disk_leaves_the_release_that_there_is(
    template: Path, small_disk: Path, leaving: int
) -> None:
    folder = Path(shutil.copytree(template / "backend-one", small_disk / "backend"))
    backend = Backend(folder)
    ballast = fill(small_disk, leaving=leaving)
    with pytest.raises(HandlensError, match="make room"):
        backend.publish_rows({"demo": rows(*NAMES, "new", value=2)}, name="two")
    assert verify(backend.repository, "stable").releases == ("one",)
    ballast.unlink()
    backend.publish_rows({"demo": rows(*NAMES, "new", value=2)}, name="two")
    assert verify(backend.repository, "stable").releases == ("two",)


def limited(size: int, *words: object) -> str:
    """Run the driver with files limited to `size` bytes; the last line of what it says."""
    paths = ":".join(str(ROOT / name) for name in ("sdk", "server", "tests"))
    done = subprocess.run(
        [sys.executable, str(DRIVER), *map(str, words)],
        env={"PYTHONPATH": paths, "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("size", [5_000, 50_000, 100_000, 300_000])
def test_a_device_whose_files_may_not_grow_keeps_its_release(
    template: Path, url: str, tmp_path: Path, size: int
) -> None:
    backend = Backend(template / "backend")
    data_dir = Path(shutil.copytree(template / "device", tmp_path / "device"))
    last = limited(size, "device", data_dir, url, backend.root)
    assert last.startswith("handlens.errors."), last
    is_as_before(data_dir)
    with device(data_dir, backend, url) as lens:
        assert lens.sync().release == "two"


@pytest.mark.parametrize("size", [0, 1_000])
def test_a_publish_whose_files_may_not_grow_leaves_the_release_that_there_is(
    template: Path, tmp_path: Path, size: int
) -> None:
    folder = Path(shutil.copytree(template / "backend-one", tmp_path / "backend"))
    last = limited(size, "publish", folder)
    assert last.startswith("handlens"), last
    assert verify(Backend(folder).repository, "stable").releases == ("one",)
