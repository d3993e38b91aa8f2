"""The device's own index: built from the store's vectors, saved beside them, opened with the next start.

Rules:

1. An index file is never downloaded and never trusted: its slot in the store says which generation of the vectors it
   was built from and what its SHA-256 is.
2. While few vectors changed since, the file stays as it is: the new vectors lie beside it (`PatchedIndex`) and those
   that are gone are deleted from it in memory. So a small release costs no new file, and is searched at once. While a
   new file is written, the old one, or the index that is open, answers the same way.
3. A new file is written beside the old one, under a name that no file had before, from it where little changed; one
   row of the store switches; then the old file is deleted.
4. The store's vectors can always answer by exact search. Whenever the HNSW file cannot serve, exact search does, and
   `OpenIndex.reason` says why.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from handlens.errors import StoreError
from handlens.faults import fault_point
from handlens.index import ExactIndex, HnswIndex, PatchedIndex, SearchIndex, add_codes, available
from handlens.options import Options
from handlens.store import Slot, Store
from handlens.sync.reports import Progress
from handlens.wire.model import ModelSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["INDEX_SLOT", "OpenIndex", "build_index", "open_index"]

INDEX_SLOT = "index"
_PATCH_SHARE = 0.05  # of the vectors in the file: so many may be new, and so many gone
_PATCH_MOST = 4096  # new vectors that are scanned beside the graph: less than the graph's own search takes
_REBUILD_SHARE = 0.2  # above it, nodes left over from deleted vectors would cost more than a new graph


@dataclass(frozen=True, slots=True)
class OpenIndex:
    """An index ready to be searched, its kind (exact or hnsw), and why it is this one."""

    index: SearchIndex
    kind: str
    reason: str

    def __str__(self) -> str:
        return f"{self.kind} ({self.reason})"


def build_index(
    store: Store, data_dir: Path, options: Options, spec: ModelSpec, *, anew: bool, progress: Progress
) -> HnswIndex | None:
    """Bring the saved HNSW index up to date when the options ask for one; exact search needs no file.

    Where little changed, the last file is read and changed; where very little changed, it stays. `anew` builds from the
    vectors alone. Returns the index where one was built.

    Raises:
        StoreError: `options.index` is hnsw and hnswlib is not installed, or the file cannot be written.
    """
    generation = store.generation()
    slot = store.slot(INDEX_SLOT)
    total = sum(pack.vectors for pack in store.packs())
    if not _wants_hnsw(options, total):
        if slot is not None:
            _switch(store, data_dir, None)
        return None
    if not anew and slot is not None and (slot.meta.get("generation") == generation or _serves(store, slot, total)):
        return None
    ids, codes = store.vectors()
    former = None if anew else _changed_index(store, data_dir, options, spec, ids)
    index = former or HnswIndex(space=spec.space, dim=spec.dim, threads=options.threads)
    fresh = _not_in(ids, index.ids())
    add_codes(index, ids[fresh], codes[fresh], progress=lambda done: progress("index", done, len(fresh)))
    folder = data_dir / "index"
    folder.mkdir(exist_ok=True)
    path = folder / f"{generation}-{secrets.token_hex(4)}.hnsw"
    fault_point("index.save")
    sha256 = index.save(path)
    fault_point("index.saved")
    meta = {"generation": generation, "vectors": len(ids), "last": int(ids.max(initial=0))}
    _switch(store, data_dir, (path, sha256, meta))
    fault_point("index.switched")
    return index


def _not_in(ids: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of those `ids` that are not among `others`; `np.setdiff1d` would stop all searches for 40 ms."""
    if not len(others):
        return np.arange(len(ids))
    others = np.sort(others)
    at = np.minimum(np.searchsorted(others, ids), len(others) - 1)
    return np.flatnonzero(others[at] != ids)


def _serves(store: Store, slot: Slot, total: int) -> bool:
    """Whether the file in the slot can still serve, patched. Ids are never used twice: higher ones came later."""
    held, last = slot.meta.get("vectors"), slot.meta.get("last")
    if not isinstance(held, int) or not isinstance(last, int):
        return False
    fresh = store.count_vectors(after=last)
    return _is_small(fresh, held - (total - fresh), held)


def _is_small(fresh: int, gone: int, held: int) -> bool:
    """Whether a file is kept as it is."""
    return fresh <= _PATCH_MOST and max(fresh, gone) <= _PATCH_SHARE * held


def _is_moderate(fresh: int, gone: int, held: int) -> bool:
    """Whether an index is changed rather than built anew, and answers quicker than exact search until it was."""
    return fresh + gone <= _REBUILD_SHARE * held


def _changed_index(
    store: Store, data_dir: Path, options: Options, spec: ModelSpec, ids: NDArray[np.int64]
) -> HnswIndex | None:
    """The last index file without the vectors that are gone, where most of it is still good; else None."""
    slot = store.slot(INDEX_SLOT)
    if slot is None:
        return None
    try:
        index = HnswIndex.open(
            # One thread: a change is soon linked, and the other cores are for the searches that go on.
            data_dir / slot.file,
            space=spec.space,
            dim=spec.dim,
            sha256=slot.sha256,
            threads=1,
        )
    except StoreError:
        return None  # damaged, or of another embedding space: it is built anew, from the store
    held = index.ids()
    gone = held[_not_in(held, ids)]
    missing = len(ids) - (len(index) - len(gone))
    if not _is_moderate(missing, len(gone), len(ids)):
        return None
    index.delete(gone)
    return index


def open_index(
    store: Store, data_dir: Path, options: Options, spec: ModelSpec, *, held: SearchIndex | None = None
) -> OpenIndex:
    """The index to search with; `held` is one that this process has open, which is taken where it can still serve.

    Raises:
        StoreError: `options.index` is hnsw and hnswlib is not installed.
    """
    if options.index != "exact":
        index, reason = _open_hnsw(store, data_dir, options, spec, held)
        if index is not None:
            return OpenIndex(index, "hnsw", reason)
    else:
        reason = "as the options ask"
    ids, codes = store.vectors()
    exact = ExactIndex(space=spec.space, dim=spec.dim)
    add_codes(exact, ids, codes)
    return OpenIndex(exact, "exact", reason)


def _open_hnsw(
    store: Store, data_dir: Path, options: Options, spec: ModelSpec, held: SearchIndex | None
) -> tuple[SearchIndex | None, str]:
    module = available()
    if module is None and options.index == "hnsw":
        HnswIndex(space=spec.space, dim=spec.dim)  # raises, and says what to install
    if module is None:
        return None, "hnswlib is not installed"
    slot = store.slot(INDEX_SLOT)
    if slot is None:
        return None, f"fewer than {options.exact_below} vectors" if options.index == "auto" else "HNSW is not built yet"
    base = _base_of(held, spec)
    found = None if base is None else _patched(store, base, is_small=True)
    if found is None and base is not None and slot.meta.get("generation") != store.generation():
        found = _patched(store, base)  # until the file is there
    if found is not None:
        return found, _told(module, found)
    try:
        opened = HnswIndex.open(data_dir / slot.file, space=spec.space, dim=spec.dim, sha256=slot.sha256)
    except StoreError as error:
        return None, f"the HNSW file cannot be used, run handlens reindex: {error}"
    found = opened if slot.meta.get("generation") == store.generation() else _patched(store, opened)
    if found is None:
        return None, "the HNSW file is older than the packs: run handlens reindex"
    return found, _told(module, found)


def _base_of(held: SearchIndex | None, spec: ModelSpec) -> HnswIndex | None:
    """The graph of an index that is open, where it is of the right space."""
    base = held.base if isinstance(held, PatchedIndex) else held
    fits = isinstance(base, HnswIndex) and (base.space, base.dim) == (spec.space, spec.dim)
    return base if isinstance(base, HnswIndex) and fits else None


def _patched(store: Store, base: HnswIndex, *, is_small: bool = False) -> SearchIndex | None:
    """`base` and what came since; None where too much changed, or, with `is_small`, more than a file is kept for."""
    held = base.ids()
    last = int(held.max(initial=0))
    fresh, gone = store.count_vectors(after=last), held[_not_in(held, store.vector_ids())]
    if not (_is_small(fresh, len(gone), len(held)) if is_small else _is_moderate(fresh, len(gone), len(held))):
        return None
    ids, codes = store.vectors(after=last)
    base.delete(gone)
    return PatchedIndex(base, ids, codes) if len(ids) else base


def _told(module: str, index: SearchIndex) -> str:
    patched = index.patched if isinstance(index, PatchedIndex) else 0
    return f"{module}, {patched} newer vectors beside it" if patched else module


def _wants_hnsw(options: Options, count: int) -> bool:
    if options.index == "auto":
        return available() is not None and count >= options.exact_below
    return options.index == "hnsw"


def _switch(store: Store, data_dir: Path, built: tuple[Path, str, Mapping[str, Any]] | None) -> None:
    with store.write() as writer:
        if built is None:
            writer.clear_slot(INDEX_SLOT)
        else:
            path, sha256, meta = built
            writer.set_slot(INDEX_SLOT, str(path.relative_to(data_dir)), sha256, meta)
    _remove_others(data_dir / "index", None if built is None else built[0].name)


def _remove_others(folder: Path, kept: str | None) -> None:
    """Delete every index file but `kept` and those whose names go on from it with a dot (its graph)."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if kept is None or (path.name != kept and not path.name.startswith(f"{kept}.")):
            path.unlink(missing_ok=True)
