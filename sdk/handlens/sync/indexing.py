"""The device's own index: built from the store's vectors, saved beside them, opened with the next start.

Rules:

1. An index file is never downloaded and never trusted: its slot in the store says which generation of the vectors it
   was built from and what its SHA-256 is.
2. A new file is written beside the old one, under a name that no file had before, from it where little changed; one
   row of the store switches; then the old file is deleted.
3. The store's vectors can always answer by exact search. Whenever the HNSW file cannot serve, exact search does, and
   `OpenIndex.reason` says why.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from handlens.errors import StoreError
from handlens.faults import fault_point
from handlens.index import ExactIndex, HnswIndex, Index, add_codes, available
from handlens.options import Options
from handlens.store import Store
from handlens.sync.reports import Progress
from handlens.wire.model import ModelSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["INDEX_SLOT", "OpenIndex", "build_index", "open_index"]

INDEX_SLOT = "index"
_REBUILD_SHARE = 0.2  # above it, nodes left over from deleted vectors would cost more than a new graph


@dataclass(frozen=True, slots=True)
class OpenIndex:
    """An index ready to be searched, its kind (exact or hnsw), and why it is this one."""

    index: Index
    kind: str
    reason: str

    def __str__(self) -> str:
        return f"{self.kind} ({self.reason})"


def build_index(
    store: Store, data_dir: Path, options: Options, spec: ModelSpec, *, anew: bool, progress: Progress
) -> None:
    """Bring the saved HNSW index up to date when the options ask for one; exact search needs no file.

    Where little changed, the last file is read and changed; `anew` builds from the vectors alone.

    Raises:
        StoreError: `options.index` is hnsw and hnswlib is not installed, or the file cannot be written.
    """
    generation = store.generation()
    slot = store.slot(INDEX_SLOT)
    if not _wants_hnsw(options, sum(pack.vectors for pack in store.packs())):
        if slot is not None:
            _switch(store, data_dir, None)
        return
    if not anew and slot is not None and slot.meta.get("generation") == generation:
        return
    ids, codes = store.vectors()
    former = None if anew else _changed_index(store, data_dir, options, spec, ids)
    index = former or HnswIndex(space=spec.space, dim=spec.dim, threads=options.threads)
    fresh = np.flatnonzero(np.isin(ids, index.ids(), invert=True))
    add_codes(index, ids[fresh], codes[fresh], progress=lambda done: progress("index", done, len(fresh)))
    folder = data_dir / "index"
    folder.mkdir(exist_ok=True)
    path = folder / f"{generation}-{secrets.token_hex(4)}.hnsw"
    fault_point("index.save")
    sha256 = index.save(path)
    fault_point("index.saved")
    _switch(store, data_dir, (path, sha256, generation))
    fault_point("index.switched")


def _changed_index(
    store: Store, data_dir: Path, options: Options, spec: ModelSpec, ids: NDArray[np.int64]
) -> HnswIndex | None:
    """The last index file without the vectors that are gone, where most of it is still good; else None."""
    slot = store.slot(INDEX_SLOT)
    if slot is None:
        return None
    try:
        index = HnswIndex.open(
            data_dir / slot.file, space=spec.space, dim=spec.dim, sha256=slot.sha256, threads=options.threads
        )
    except StoreError:
        return None  # damaged, or of another embedding space: it is built anew, from the store
    gone = np.setdiff1d(index.ids(), ids)
    missing = len(ids) - (len(index) - len(gone))
    if len(gone) + missing > _REBUILD_SHARE * len(ids):
        return None
    index.delete(gone)
    return index


def open_index(store: Store, data_dir: Path, options: Options, spec: ModelSpec) -> OpenIndex:
    """The index to search with.

    Raises:
        StoreError: `options.index` is hnsw and hnswlib is not installed.
    """
    if options.index != "exact":
        index, reason = _open_hnsw(store, data_dir, options, spec)
        if index is not None:
            return OpenIndex(index, "hnsw", reason)
    else:
        reason = "as the options ask"
    ids, codes = store.vectors()
    exact = ExactIndex(space=spec.space, dim=spec.dim)
    add_codes(exact, ids, codes)
    return OpenIndex(exact, "exact", reason)


def _open_hnsw(store: Store, data_dir: Path, options: Options, spec: ModelSpec) -> tuple[HnswIndex | None, str]:
    module = available()
    if module is None and options.index == "hnsw":
        HnswIndex(space=spec.space, dim=spec.dim)  # raises, and says what to install
    if module is None:
        return None, "hnswlib is not installed"
    slot = store.slot(INDEX_SLOT)
    if slot is None:
        return None, f"fewer than {options.exact_below} vectors" if options.index == "auto" else "HNSW is not built yet"
    if slot.meta.get("generation") != store.generation():
        return None, "the HNSW file is older than the packs: run handlens reindex"
    try:
        return HnswIndex.open(data_dir / slot.file, space=spec.space, dim=spec.dim, sha256=slot.sha256), module
    except StoreError as error:
        return None, f"the HNSW file cannot be used, run handlens reindex: {error}"


def _wants_hnsw(options: Options, count: int) -> bool:
    if options.index == "auto":
        return available() is not None and count >= options.exact_below
    return options.index == "hnsw"


def _switch(store: Store, data_dir: Path, built: tuple[Path, str, int] | None) -> None:
    with store.write() as writer:
        if built is None:
            writer.clear_slot(INDEX_SLOT)
        else:
            path, sha256, generation = built
            writer.set_slot(INDEX_SLOT, str(path.relative_to(data_dir)), sha256, {"generation": generation})
    _remove_others(data_dir / "index", None if built is None else built[0].name)


def _remove_others(folder: Path, kept: str | None) -> None:
    """Delete every index file but `kept` and those whose names go on from it with a dot (its graph)."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if kept is None or (path.name != kept and not path.name.startswith(f"{kept}.")):
            path.unlink(missing_ok=True)
