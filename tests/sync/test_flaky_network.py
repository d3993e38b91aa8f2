"""A device on a bad network: a sync ends right or says `DownloadError`, and what came once is not fetched again."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.backend import Backend
from support.flaky import Network, Weather, network_to
from support.signed_release import rows

from handlens import DownloadError, Lens, Options, SyncError
from handlens.store import Store

# The server of the tests does not close a file whose reader went away; gunicorn, which serves devices, does.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
NAMES = [f"item-{at:04d}" for at in range(400)]


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Backend:
    made = Backend(tmp_path_factory.mktemp("backend"))
    made.publish_rows({"demo": rows(*NAMES)}, name="one")
    made.publish_rows({"demo": rows(*NAMES[:-1], "new")}, name="two")
    return made


@pytest.fixture(scope="module")
def server(backend: Backend) -> Iterator[str]:
    with backend.serve() as url:
        yield url


@pytest.fixture
def way(server: str) -> Iterator[tuple[str, Network]]:
    with network_to(server) as found:
        yield found


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, backend: Backend, server: str) -> Path:
    """The model folders of a device, so that not every test fetches 8 MB."""
    folder = tmp_path_factory.mktemp("models")
    with device(folder, backend, server) as lens:
        lens.sync()
    return folder / "models"


def device(folder: Path, backend: Backend, url: str, **settings: object) -> Lens:
    options = {"retries": 0, "timeout": 2.0, **settings}
    return Lens(Options(data_dir=folder, server_url=url, trusted_root=backend.root, **options))  # type: ignore[arg-type]


def is_right(folder: Path, backend: Backend) -> bool:
    with Store.open(folder) as store:
        (held,) = store.packs()
        promised = backend.publisher.releases()[0].release.packs["demo"]
        return (held.sequence, held.digest) == (promised.sequence, promised.digest)


def synced(folder: Path, backend: Backend, url: str, *, attempts: int = 40) -> int:
    """Sync until it ends right; returns how often it said `DownloadError` before."""
    for failures in range(attempts):
        try:
            with device(folder, backend, url) as lens:
                lens.sync()
        except DownloadError:
            continue
        assert is_right(folder, backend)
        return failures
    raise AssertionError(f"not synced in {attempts} attempts")


@pytest.mark.parametrize("seed", range(12))
def test_whatever_breaks_the_sync_ends_right_or_says_so(
    tmp_path: Path, backend: Backend, models: Path, way: tuple[str, Network], seed: int
) -> None:
    url, network = way
    shutil.copytree(models, tmp_path / "device" / "models")
    chance = random.Random(seed)

    def weather() -> Weather:
        kind = chance.choice(["drop", "reset", "status", "page", "fair"])
        if kind in ("drop", "reset"):
            return Weather(bytes=chance.choice([0, 1, 100, 400, 1000, 5000, 20_000]), is_reset=kind == "reset")
        if kind == "status":
            return Weather(status=chance.choice([429, 500, 502, 503, 504]))
        return Weather(status=200) if kind == "page" else Weather()

    network.forecast(*(weather() for _ in range(12)))
    synced(tmp_path / "device", backend, url)


def test_what_came_is_never_fetched_again(tmp_path: Path, backend: Backend, way: tuple[str, Network]) -> None:
    url, network = way
    with network_to(url) as (direct, fair), device(tmp_path / "fair", backend, direct) as lens:
        lens.sync()
    whole, network.delivered = fair.delivered, 0
    # No resets here: they also throw away what the device's own system had received.
    network.forecast(*(Weather(bytes=200_000 + 7_000 * at) for at in range(60)))
    synced(tmp_path / "device", backend, url)
    # Beside the files themselves: headers, metadata asked again by each attempt, and what was on its way at each break.
    assert network.delivered < whole + 60 * 8_000


def test_a_broken_download_goes_on_after_a_restart(tmp_path: Path, backend: Backend, way: tuple[str, Network]) -> None:
    url, network = way
    big = max(backend.repository.rglob("*.model.tflite"), key=lambda path: path.stat().st_size).stat().st_size
    network.forecast(*([Weather(bytes=big // 2)] * 40))
    with device(tmp_path, backend, url) as lens, pytest.raises(DownloadError):
        lens.sync(allow=lambda: network.delivered < big)
    parts = {path.name: path.stat().st_size for path in (tmp_path / "downloads").iterdir()}
    assert sum(parts.values()) > 0
    network.forecast()
    network.delivered = 0
    assert synced(tmp_path, backend, url) == 0
    assert network.delivered < 9_000_000 - sum(parts.values())


def test_a_thousand_bytes_a_second_are_enough(
    tmp_path: Path, backend: Backend, models: Path, way: tuple[str, Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a tenth of the size and with time running ten times as fast: 10 kB/s against a floor of 640 B/s."""
    monkeypatch.setattr("handlens.sync.transport.RATE_WINDOW", 3.0)
    monkeypatch.setattr("handlens.sync.transport.MIN_RATE", 640)
    url, network = way
    shutil.copytree(models, tmp_path / "device" / "models")
    with device(tmp_path / "device", backend, url) as lens:
        network.forecast(*([Weather(rate=20_000)] * 30))
        lens.sync()
    assert is_right(tmp_path / "device", backend)


def test_errors_of_the_server_are_tried_again_with_pauses(
    tmp_path: Path, backend: Backend, models: Path, way: tuple[str, Network]
) -> None:
    url, network = way
    shutil.copytree(models, tmp_path / "device" / "models")
    network.forecast(Weather(status=503), Weather(status=502), Weather(bytes=0), Weather(status=500))
    with device(tmp_path / "device", backend, url, retries=6) as lens:
        report = lens.sync()
    assert report.release == "two"


def test_a_login_page_is_named_and_nothing_of_it_is_kept(
    tmp_path: Path, backend: Backend, way: tuple[str, Network]
) -> None:
    url, network = way
    network.forecast(*([Weather(status=200)] * 5))
    with device(tmp_path, backend, url) as lens, pytest.raises(DownloadError, match="may want a login"):
        lens.sync()
    network.forecast()
    assert synced(tmp_path, backend, url) == 0


def test_a_server_that_never_answers_is_given_up(tmp_path: Path, backend: Backend) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with device(tmp_path, backend, url, timeout=0.3) as lens, pytest.raises(SyncError, match="cannot be reached"):
            lens.sync()
