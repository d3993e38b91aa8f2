"""What one version of the store needs to answer: opened once, and renewed behind the searches when the store changes.

>>> engines = Engines(options)                  # doctest: +SKIP
>>> engines.ready(store).answerer               # doctest: +SKIP
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from handlens.answering import Answerer, Eyes
from handlens.blend import Policy
from handlens.errors import DecodeError, HandlensError, NotReadyError, StoreCorruptError
from handlens.local_catalogue import LocalCatalogue
from handlens.options import Options
from handlens.store import Store
from handlens.sync.indexing import OpenIndex, open_index
from handlens.wire.release import Release
from handlens.wire.taxonomy import Taxonomy

if TYPE_CHECKING:
    from handlens.index import HnswIndex

__all__ = ["Engine", "Engines", "model_folder"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Engine:
    """All that one version of the store needs to answer; replaced whole."""

    version: str
    release: Release
    policy: Policy
    eyes: Eyes
    folders: tuple[Path, Path]
    index: OpenIndex
    packs: tuple[str, ...]
    answerer: Answerer


class Engines:
    """The engine of the store as it is. Thread-safe."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._renewing = threading.Lock()
        self._engine: Engine | None = None

    @property
    def is_open(self) -> bool:
        """Whether this process searches: one that only syncs opens no model."""
        return self._engine is not None

    def ready(self, store: Store) -> Engine:
        """The engine to answer with: the first one is waited for, a newer one is opened behind the searches.

        Raises:
            NotReadyError: no models are installed. ModelError, StoreError: models or store are damaged.
        """
        version = store.version()
        engine = self._engine
        if engine is None:
            return self._renewed(store, None)
        if engine.version != version and not self._renewing.locked():
            threading.Thread(target=self._renew_behind, args=(store,), name="handlens-renew", daemon=True).start()
        return engine

    def renew(self, store: Store, built: HnswIndex | None = None) -> None:
        """Renew the engine where one is open; `built` is an index that was built in this process just now.

        Raises:
            ModelError, StoreError: models or store are damaged.
        """
        if self._engine is not None:
            self._renewed(store, built)

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Let go of the engine; while the block runs, which may close the store, none is opened."""
        with self._renewing:
            self._engine = None
            yield

    def _renewed(self, store: Store, built: HnswIndex | None) -> Engine:
        """Open an engine for the store as it is, unless the one there is: models that stayed the same stay open."""
        with self._renewing:
            version = store.version()
            engine = self._engine
            if engine is None or engine.version != version:
                engine = self._engine = _open_engine(store, version, self._options, engine, built)
            return engine

    def _renew_behind(self, store: Store) -> None:
        try:
            self._renewed(store, None)
        except HandlensError:
            return  # the old engine goes on; the next search tries again


def model_folder(store: Store, data_path: Path, kind: str) -> Path:
    """The folder of the installed detector or embedder.

    Raises:
        NotReadyError: none is installed.
    """
    slot = store.slot(kind)
    if slot is None:
        raise NotReadyError(f"no {kind} is installed in {data_path}: sync, or install a release first")
    return data_path / slot.file


def _open_engine(
    store: Store, version: str, options: Options, former: Engine | None, built: HnswIndex | None
) -> Engine:
    data_path = options.data_path
    folders = (model_folder(store, data_path, "detector"), model_folder(store, data_path, "embedder"))
    eyes = former.eyes if former is not None and former.folders == folders else Eyes.open(*folders, options)
    spec = eyes.embedder.spec
    held = former.index.index if built is None and former is not None else built
    index = open_index(store, data_path, options, spec, held=held)
    policy = _parsed(Policy.from_json, store, "policy")
    taxonomy = _parsed(Taxonomy.from_json, store, "taxonomy")
    release = _parsed(Release.from_json, store, "release")
    catalogue = LocalCatalogue(store, index.index, packs=options.packs, locale=options.locale)
    return Engine(
        version=version,
        release=release,
        policy=policy,
        eyes=eyes,
        folders=folders,
        index=index,
        packs=options.packs or tuple(pack.pack for pack in store.packs()),
        answerer=Answerer(catalogue, taxonomy, policy, options, weights=spec.understanding, as_of=release.as_of),
    )


def _parsed(read: Callable[[str], T], store: Store, name: str) -> T:
    try:
        return read(store.document(name))
    except DecodeError as error:
        raise StoreCorruptError(
            f"the store's {name} is malformed ({error}): sync again, or install the release again"
        ) from error
