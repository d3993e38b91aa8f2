"""What a user of ``handlens`` can get wrong is told in one line with the remedy, and without a traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.backend import Backend, served
from support.paths import QUERIES
from support.signed_release import rows

from handlens.cli import main

PHOTO = str(QUERIES / "images" / "claw-hammer.jpg")


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Backend:
    made = Backend(tmp_path_factory.mktemp("backend"))
    made.publish_rows({"demo": rows("axe", "saw")}, name="one")
    made.publish_rows({"demo": rows("axe", "early")}, name="early", channel="beta")
    return made


@pytest.fixture(scope="module")
def url(backend: Backend) -> Iterator[str]:
    with backend.serve() as address:
        yield address


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory, backend: Backend, url: str) -> Path:
    folder = tmp_path_factory.mktemp("synced") / "device"
    run("sync", "--server", url, "--trusted-root", str(backend.root), "--data-dir", str(folder))
    return folder


@pytest.fixture
def device(synced: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(synced, tmp_path / "device"))


def run(*words: str) -> Result:
    return CliRunner().invoke(main, [*words])


def is_told(cause: str, *words: str) -> None:
    done = run(*words)
    assert done.exit_code == 1, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    lines = [line for line in done.stderr.strip().splitlines() if "XNNPACK" not in line]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("Error: ")
    assert cause in lines[0]


@pytest.mark.parametrize(
    ("address", "cause"),
    [
        ("lens.example.com", "give an https:// address"),
        ("ftp://lens.example.com", "give an https:// address"),
        ("http://", "check server_url"),
        ("http://[::1", "check server_url"),
        ("http://127.0.0.1:99999", "check server_url"),
        ("http://127.0.0.1:9", "cannot be reached"),
        ("https://127.0.0.1:9", "cannot be reached"),
        ("http://nowhere.invalid", "cannot be reached"),
    ],
)
def test_a_wrong_address(tmp_path: Path, backend: Backend, address: str, cause: str) -> None:
    root = str(backend.root)
    is_told(cause, "sync", "--server", address, "--trusted-root", root, "--data-dir", str(tmp_path / "device"))


def test_a_server_that_is_another(tmp_path: Path, backend: Backend) -> None:
    def app(environ: object, start: object) -> list[bytes]:
        start("404 Not Found", [("Content-Type", "text/plain")])  # type: ignore[operator]
        return [b"nothing here"]

    with served(app) as url:
        where = ("--server", url, "--trusted-root", str(backend.root), "--data-dir", str(tmp_path / "device"))
        is_told("404", "sync", *where)


def test_no_trusted_root(tmp_path: Path, url: str) -> None:
    is_told("--trusted-root", "sync", "--server", url, "--data-dir", str(tmp_path))
    missing = str(tmp_path / "root.json")
    is_told("cannot be read", "sync", "--server", url, "--trusted-root", missing, "--data-dir", str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"no json", b"{}", b'{"signed": {"_type": "root"}, "signatures": []}'])
def test_a_root_that_is_none_takes_no_trust_away(device: Path, url: str, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "root.json").write_bytes(content)
    before = {path.name: path.read_bytes() for path in (device / "trust").glob("*.json")}
    is_told("is no root.json", "sync", "--trusted-root", str(tmp_path / "root.json"), "--data-dir", str(device))
    assert {path.name: path.read_bytes() for path in (device / "trust").glob("*.json")} == before
    assert run("sync", "--data-dir", str(device)).exit_code == 0


def test_a_root_that_somebody_changed_is_none(device: Path, backend: Backend, tmp_path: Path) -> None:
    root = json.loads(backend.root.read_bytes())
    root["signed"]["expires"] = "2099-01-01T00:00:00Z"
    (tmp_path / "root.json").write_text(json.dumps(root))
    is_told("is no root.json", "sync", "--trusted-root", str(tmp_path / "root.json"), "--data-dir", str(device))


def test_an_unknown_pack_and_an_unknown_channel(device: Path) -> None:
    is_told("it has 'demo'", "sync", "--pack", "shoes", "--data-dir", str(device))
    is_told("channels/gamma.json", "sync", "--channel", "gamma", "--data-dir", str(device))
    is_told("is not installed: installed are 'demo'", "search", PHOTO, "--pack", "shoes", "--data-dir", str(device))


@pytest.mark.parametrize(
    "words",
    [
        ("sync", "--no-events"), ("sync",), ("install", "FOLDER"), ("rollback",), ("status",), ("search", PHOTO),
        ("outbox",), ("erase", "--yes"), ("reindex",), ("feedback", PHOTO, "--label", "x", "--consent", "events"),
    ],
)  # fmt: skip
def test_a_folder_that_cannot_be_used(tmp_path: Path, backend: Backend, words: tuple[str, ...]) -> None:
    (tmp_path / "file").write_text("in the way")
    more = ["--server", "http://127.0.0.1:9", "--trusted-root", str(backend.root)] if words[0] == "sync" else []
    is_told("choose another data_dir", *words, *more, "--data-dir", str(tmp_path / "file" / "device"))


def test_nothing_to_go_back_to(device: Path) -> None:
    is_told("no former release", "rollback", "--data-dir", str(device))


def test_server_and_channel_are_remembered_and_a_damaged_note_of_them_is_told(device: Path, url: str) -> None:
    def release(*words: str) -> str:
        done = run("sync", *words, "--json", "--data-dir", str(device))
        assert done.exit_code == 0, done.output
        return str(json.loads(done.stdout)["release"])

    assert release() == "one"
    assert release("--channel", "beta") == "early"
    assert release() == "early"
    (device / "server.json").write_text("{nonsense")
    is_told("name the server again", "sync", "--data-dir", str(device))
    assert release("--server", url, "--channel", "beta") == "early"
    assert release() == "early"


def test_sync_says_where_it_is_and_what_came(device: Path, tmp_path: Path) -> None:
    assert "already at release one" in run("sync", "--data-dir", str(device)).stdout
    told = json.loads(run("status", "--json", "--data-dir", str(device)).stdout)
    assert told["release"] == "one"
    assert {"sequence", "as_of", "items", "vectors"} <= set(told["packs"][0])
    assert min(told["store_bytes"], told["models_bytes"]) > 0
    assert told["age_days"] >= 0
    assert told["checked_at"] >= told["as_of"]
