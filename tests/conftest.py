"""A real release and a real device, made once for all tests: the shipped models over a part of the demo catalogue."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.paths import CATALOG

from handlens import Lens, Options

# A busy machine must not fail a property, and CI must judge every change by the same examples.
settings.register_profile(
    "handlens",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    derandomize="CI" in os.environ,
)
settings.load_profile("handlens")

PICTURES_EVERY = 4  # every fourth photograph is enough to search in, and a quarter of the time


@pytest.fixture(scope="session")
def small_catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalogue folder: a quarter of the demo's photographs and all its other items."""
    folder = tmp_path_factory.mktemp("catalogue")
    lines = (CATALOG / "items.jsonl").read_text("utf-8").splitlines()
    photos = [line for line in lines if json.loads(line).get("image")]
    others = [line for line in lines if not json.loads(line).get("image")]
    kept = photos[::PICTURES_EVERY]
    for line in kept:
        picture = folder / json.loads(line)["image"]
        picture.parent.mkdir(exist_ok=True)
        shutil.copy(CATALOG / json.loads(line)["image"], picture)
    (folder / "items.jsonl").write_text("\n".join(kept + others) + "\n", "utf-8")
    return folder


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory, small_catalogue: Path) -> Path:
    """A release folder with one pack, demo. Tests copy it before they change it."""
    from support.backend import make_release  # here: the environment of the workshop has no server

    return make_release(small_catalogue, tmp_path_factory.mktemp("release"), "test-1")


@pytest.fixture(scope="session")
def device(tmp_path_factory: pytest.TempPathFactory, release: Path) -> Path:
    """The data folder of a device that has the release. Tests copy it before they change it."""
    data_dir = tmp_path_factory.mktemp("device")
    with Lens(Options(data_dir=data_dir)) as lens:
        lens.install(release)
    return data_dir


@pytest.fixture(scope="session")
def demo_device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A device with the whole demo catalogue, as scripts/demo makes it."""
    folder = tmp_path_factory.mktemp("demo")
    from support.backend import make_release

    make_release(CATALOG, folder, "demo")
    with Lens(Options(data_dir=folder / "device", index="hnsw")) as lens:
        lens.install(folder / "release")
    return folder / "device"


@pytest.fixture
def own_release(tmp_path: Path, release: Path) -> Path:
    """A copy of the release that a test may damage."""
    return Path(shutil.copytree(release, tmp_path / "release"))


@pytest.fixture
def own_device(tmp_path: Path, device: Path) -> Path:
    """A copy of the device that a test may damage."""
    return Path(shutil.copytree(device, tmp_path / "device"))
