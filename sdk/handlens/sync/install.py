"""Install a release from a folder: a factory image, an SD card, or what a download left behind.

Rules:

1. Every file is checked against its size and SHA-256 in `release.json` before anything of it is used.
2. Model folders are written beside the old ones under names made of their hashes; nothing is overwritten.
3. Packs, policy, taxonomy and the choice of models change in one transaction of the store: after a crash at any moment
   the device has the old release or the new one, whole.
4. Old model folders are deleted only after that transaction.

`release.json` itself is trusted as given: install folders from a source you trust.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from handlens.blend import Policy
from handlens.errors import DecodeError, IncompatibleError, StoreCorruptError, StoreError
from handlens.store import Store
from handlens.wire.model import ModelSpec
from handlens.wire.pack import PackHeader, PackRow, read_pack
from handlens.wire.release import Release, ReleaseFile
from handlens.wire.taxonomy import Taxonomy

__all__ = ["Progress", "install_release", "read_release"]

Progress = Callable[[str, int, int], None]  # step, done, total

_BLOCK = 1 << 20  # bytes hashed at a time


def read_release(folder: Path) -> Release:
    """The `release.json` of a folder.

    Raises:
        StoreError: there is none, or it cannot be read.
        DecodeError: it is malformed.
    """
    path = folder / "release.json"
    try:
        return Release.from_json(path.read_bytes())
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read ({error.strerror}): give the folder that handlens-server bundle wrote"
        ) from error


def install_release(store: Store, folder: Path, data_dir: Path, *, progress: Progress | None = None) -> Release:
    """Verify the release in `folder` and make it the store's own.

    Raises:
        StoreError: a file is missing or unreadable. StoreCorruptError: a file is not what release.json says.
        IncompatibleError: packs and embedder do not fit together.
        DecodeError: a file is malformed. In every case the store stays as it was.
    """
    report = progress or (lambda step, done, total: None)
    release = read_release(folder)
    _verify(folder, release, report)
    taxonomy, policy = _text(folder / release.taxonomy), _text(folder / release.policy)
    Taxonomy.from_json(taxonomy)
    Policy.from_json(policy)
    ModelSpec.from_json(_text(folder / release.detector / "model.json"))
    embedder = ModelSpec.from_json(_text(folder / release.embedder / "model.json"))
    models = {
        kind: _copy_model(folder / path, data_dir / "models", kind, release.files_in(path))
        for kind, path in (("detector", release.detector), ("embedder", release.embedder))
    }
    with store.write() as writer:
        for pack in store.packs():
            writer.drop_pack(pack.pack)
        for name, path in release.packs.items():
            header, rows = read_pack(folder / path)
            _check_pack(name, header, embedder)
            writer.replace_pack(header, _counted(rows, header, report))
        writer.set_document("taxonomy", taxonomy)
        writer.set_document("policy", policy)
        writer.set_document("release", json.dumps(release.to_dict(), sort_keys=True))
        for kind, target in models.items():
            writer.set_slot(kind, str(target.relative_to(data_dir)), "", {})
    _remove_others(data_dir / "models", set(models.values()))
    return release


def _verify(folder: Path, release: Release, report: Progress) -> None:
    total = sum(file.size for file in release.files.values())
    done = 0
    for path, file in release.files.items():
        _check_file(folder / path, file)
        done += file.size
        report("verify", done, total)


def _check_file(path: Path, file: ReleaseFile) -> None:
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
                size += len(block)
                if size > file.size:
                    break
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}): copy the release again") from error
    if size != file.size or digest.hexdigest() != file.sha256:
        raise StoreCorruptError(f"{path} is not the file that release.json names: copy the release again")


def _check_pack(name: str, header: PackHeader, embedder: ModelSpec) -> None:
    if header.pack != name:
        raise DecodeError(f"release.json calls a pack {name!r} whose own name is {header.pack!r}: build it again")
    if (header.space, header.dim) != (embedder.space, embedder.dim):
        raise IncompatibleError(
            f"pack {name!r} was embedded in {header.space!r} ({header.dim}-d), the release's embedder makes "
            f"{embedder.space!r} ({embedder.dim}-d): build the pack again with this embedder"
        )


def _counted(rows: Iterable[PackRow], header: PackHeader, report: Progress) -> Iterator[PackRow]:
    for done, row in enumerate(rows, start=1):
        yield row
        report(f"pack {header.pack}", done, header.items)


def _copy_model(source: Path, models: Path, kind: str, files: dict[str, ReleaseFile]) -> Path:
    digest = hashlib.sha256("".join(f"{name}:{file.sha256};" for name, file in sorted(files.items())).encode())
    target = models / f"{kind}-{digest.hexdigest()[:16]}"
    if _is_whole(target, files):
        return target
    models.mkdir(parents=True, exist_ok=True)
    partial = models / f".{target.name}.{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        for name in files:
            shutil.copyfile(source / name, partial / name)
        shutil.rmtree(target, ignore_errors=True)  # there only when it is damaged
        os.replace(partial, target)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise StoreError(f"{target} cannot be written ({error.strerror}): free some space and install again") from error
    return target


def _is_whole(folder: Path, files: dict[str, ReleaseFile]) -> bool:
    try:
        for name, file in files.items():
            _check_file(folder / name, file)
    except StoreError:
        return False
    return True


def _remove_others(models: Path, kept: set[Path]) -> None:
    for folder in models.iterdir():
        if folder not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} cannot be read ({error}): copy the release again") from error
