"""Making a downloaded release the store's own, in one transaction.

Rules:

1. Everything that can be refused is refused before or inside the transaction: afterwards the device has the new release
   whole, otherwise the old one whole.
2. Each pack must end in the state, with the digest, that the release names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from handlens.blend import Policy
from handlens.errors import DecodeError, HashMismatchError, IncompatibleError, IncompatibleReleaseError, ReleaseError
from handlens.faults import fault_point
from handlens.store import Store, Writer
from handlens.sync.download import Downloads
from handlens.sync.models import install_model, model_folder, models_of
from handlens.sync.pacing import Pace
from handlens.sync.plan import Plan
from handlens.sync.reports import Progress
from handlens.wire.model import ModelSpec
from handlens.wire.pack import read_pack
from handlens.wire.release import PackFile, Release
from handlens.wire.taxonomy import Taxonomy

__all__ = ["WANTED", "apply_release"]

WANTED = "wanted_packs"  # the document that says which packs this device wants; an empty list means all


@dataclass(frozen=True, slots=True)
class _Documents:
    """The texts of a release, read and found good."""

    release: str
    taxonomy: str
    policy: str
    wanted: str


def apply_release(
    store: Store,
    data_dir: Path,
    downloads: Downloads,
    release: Release,
    plan: Plan,
    wanted: tuple[str, ...],
    *,
    keeps_former: bool,
    progress: Progress,
    pace: Pace,
) -> int:
    """Switch the store to `release`, all of whose files lie in `downloads` or in place; returns the changes made.

    `keeps_former` says whether what the store holds becomes the former release (not when only packs are added or
    dropped within one release). `pace` is called after each row.

    Raises:
        ReleaseError: a file is malformed, or not what the release says; nothing was changed.
        StoreError: the store cannot be written.
    """
    with _refusing(release):
        documents = _read_documents(downloads, release, wanted)
        for kind, model in models_of(release).items():
            install_model(data_dir / model_folder(kind, model), model, downloads)
        _check_models(data_dir, release)
        with store.write() as writer:
            if keeps_former:
                writer.remember()
            for pack in plan.dropped:
                writer.drop_pack(pack)
            changes = sum(
                _apply_pack(writer, downloads, release, name, path, progress, pace) for name, path in plan.paths.items()
            )
            _set_documents(writer, documents)
            for kind, model in models_of(release).items():
                writer.set_slot(kind, model_folder(kind, model), "", {})
            fault_point("apply.end")
    return changes


def _apply_pack(
    writer: Writer,
    downloads: Downloads,
    release: Release,
    name: str,
    path: tuple[PackFile, ...],
    progress: Progress,
    pace: Pace,
) -> int:
    changes = 0
    for file in path:
        header, lines = read_pack(downloads.path(file.file))
        if (header.pack, header.from_sequence, header.sequence) != (name, file.from_sequence, file.sequence):
            raise HashMismatchError(
                f"{file.file.path} holds states {header.from_sequence} to {header.sequence} of pack {header.pack!r}: "
                "not what the release says"
            )
        if (header.space, header.dim) != (release.space, release.dim):
            raise IncompatibleReleaseError(
                f"pack {name!r} was embedded in {header.space!r} ({header.dim}-d), the release's embedder makes "
                f"{release.space!r} ({release.dim}-d): the operator must build the pack again"
            )
        is_last = file.sequence == release.packs[name].sequence
        if is_last and header.digest != release.packs[name].digest:
            raise HashMismatchError(f"{file.file.path} leads to another state of pack {name!r} than the release names")
        writer.apply(header, lines, progress=_row_progress(progress, name, header.changes), pace=pace)
        changes += header.changes
        fault_point("apply.pack")
    return changes


def _row_progress(progress: Progress, pack: str, total: int) -> Callable[[int], None]:
    return lambda done: progress(f"pack {pack}", done, total)


def _read_documents(downloads: Downloads, release: Release, wanted: tuple[str, ...]) -> _Documents:
    taxonomy = downloads.path(release.taxonomy).read_text(encoding="utf-8")
    policy = downloads.path(release.policy).read_text(encoding="utf-8")
    Taxonomy.from_json(taxonomy)
    Policy.from_json(policy)
    return _Documents(json.dumps(release.to_dict(), sort_keys=True), taxonomy, policy, json.dumps(wanted))


def _set_documents(writer: Writer, documents: _Documents) -> None:
    writer.set_document("release", documents.release)
    writer.set_document("taxonomy", documents.taxonomy)
    writer.set_document("policy", documents.policy)
    writer.set_document(WANTED, documents.wanted)


def _check_models(data_dir: Path, release: Release) -> None:
    specs = {
        kind: ModelSpec.from_json((data_dir / model_folder(kind, model) / "model.json").read_bytes())
        for kind, model in models_of(release).items()
    }
    for kind, spec in specs.items():
        if spec.kind != kind:
            raise IncompatibleReleaseError(f"release {release.name!r} calls a {spec.kind} a {kind}")
    embedder = specs["embedder"]
    if (embedder.space, embedder.dim) != (release.space, release.dim):
        raise IncompatibleReleaseError(
            f"release {release.name!r} is for the embedding space {release.space!r} ({release.dim}-d), its embedder "
            f"makes {embedder.space!r} ({embedder.dim}-d): the operator must publish again"
        )


@contextmanager
def _refusing(release: Release) -> Iterator[None]:
    """A malformed file that was signed is the operator's fault: it refuses the release."""
    try:
        yield
    except (DecodeError, UnicodeDecodeError) as error:
        raise ReleaseError(f"release {release.name!r} is malformed ({error}): nothing was changed") from error
    except IncompatibleError as error:
        raise IncompatibleReleaseError(f"release {release.name!r} does not fit ({error})") from error
