"""A release as a folder, for a device image or an SD card: ``handlens install FOLDER`` takes it.

The folder is written under another name and renamed when it is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from handlens.blend import Policy
from handlens.errors import HandlensError, ModelError
from handlens.vision.detector import Detector
from handlens.vision.embedder import Embedder
from handlens.wire.pack import PackHeader, PackRow, write_pack
from handlens.wire.release import Release, ReleaseFile
from handlens.wire.taxonomy import Taxonomy
from handlens_server.catalogue import Catalogue
from handlens_server.embedding import embed_catalogue

__all__ = ["BundleError", "PackSource", "build_bundle"]

Progress = Callable[[Iterable[PackRow], str, int], Iterable[PackRow]]

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")


class BundleError(HandlensError):
    """The release folder cannot be written."""


@dataclass(frozen=True, slots=True)
class PackSource:
    """A catalogue and the name of the pack that it becomes."""

    name: str
    catalogue: Catalogue

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise BundleError(f"pack name {self.name!r} cannot be used: give lower-case letters, digits and '-'")


def build_bundle(
    sources: Sequence[PackSource],
    models: Path,
    out: Path,
    *,
    name: str,
    as_of: datetime | None = None,
    threads: int = 2,
    progress: Progress | None = None,
) -> Release:
    """Embed the catalogues with the models in `models` and write the release folder `out`.

    Raises:
        BundleError: `out` exists or cannot be written. ModelError: a model cannot be used.
        CatalogueError: a picture cannot be read. DecodeError: taxonomy or policy is malformed.
    """
    if out.exists():
        raise BundleError(f"{out} exists: remove it or choose another --out")
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        _copy_models(models, partial)
        when = (as_of or datetime.now(timezone.utc)).strftime("%Y-%m-%dT%H:%M:%SZ")
        _write_packs(sources, models, partial, when, threads, progress or (lambda rows, name, total: rows))
        release = _release(partial, name, when, [source.name for source in sources])
        (partial / "release.json").write_text(json.dumps(release.to_dict(), indent=1, sort_keys=True), encoding="utf-8")
        os.replace(partial, out)
    except OSError as error:
        raise BundleError(f"{out} cannot be written ({error.strerror}): free some space or choose another") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return release


def _copy_models(models: Path, out: Path) -> None:
    for kind in ("detector", "embedder"):
        target = out / "models" / kind
        target.mkdir(parents=True)
        for file in ("model.json", "model.tflite", "CARD.md"):
            _copy(models / kind / file, target / file)
    for file, check in (("taxonomy.json", Taxonomy.from_json), ("policy.json", Policy.from_json)):
        _copy(models / file, out / file)
        check((out / file).read_text(encoding="utf-8"))


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError as error:
        raise ModelError(
            f"{source} is not there: build it with handlens-convert, or give the right --models"
        ) from error


def _write_packs(
    sources: Sequence[PackSource], models: Path, out: Path, as_of: str, threads: int, progress: Progress
) -> None:
    detector = Detector.open(models / "detector", threads=threads)
    embedder = Embedder.open(models / "embedder", threads=threads)
    (out / "packs").mkdir()
    for source in sources:
        items = source.catalogue.items
        rows = list(progress(embed_catalogue(source.catalogue, detector, embedder), source.name, len(items)))
        header = PackHeader(
            pack=source.name,
            sequence=1,
            as_of=as_of,
            space=embedder.spec.space,
            dim=embedder.spec.dim,
            items=len(rows),
            vectors=sum(len(row.embeddings) for row in rows),
        )
        write_pack(out / "packs" / f"{source.name}.pack", header, rows)


def _release(folder: Path, name: str, as_of: str, packs: Iterable[str]) -> Release:
    return Release(
        name=name,
        as_of=as_of,
        detector="models/detector",
        embedder="models/embedder",
        taxonomy="taxonomy.json",
        policy="policy.json",
        packs={pack: f"packs/{pack}.pack" for pack in packs},
        files={
            path.relative_to(folder).as_posix(): _file(path) for path in sorted(folder.rglob("*")) if path.is_file()
        },
    )


def _file(path: Path) -> ReleaseFile:
    data = path.read_bytes()
    return ReleaseFile(hashlib.sha256(data).hexdigest(), len(data))
