"""`Lens`: a photo in, blended results out. It composes the steps and holds no rule of its own.

>>> with Lens(Options(data_dir="~/.handlens")) as lens:              # doctest: +SKIP
...     lens.install("release/")                                     # models, packs, policy: verified
...     result = lens.search("street.jpg")                           # never touches the network
...     print(result.objects[0].type, result.objects[0].sections[0].title)

A `Lens` may be used by many threads. Models open with the first search; when another process installs a release, the
next search uses it.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from handlens.blend import Policy, blend
from handlens.errors import DecodeError, NotReadyError, StoreCorruptError
from handlens.geometry import Box
from handlens.options import Options
from handlens.results import (
    Candidate,
    Evidence,
    FoundObject,
    Match,
    Neighbour,
    Query,
    Region,
    SearchResult,
    Section,
    Understanding,
)
from handlens.sources import AnnotationSource, Source, VisualSource
from handlens.store import Store
from handlens.sync.indexing import OpenIndex, build_index, open_index
from handlens.sync.install import Progress, install_release
from handlens.understand import choose_regions, understand
from handlens.vision.detector import Detector
from handlens.vision.embedder import Embedder
from handlens.vision.image import Photo, PhotoSource, load_photo
from handlens.vision.runtime import read_spec
from handlens.wire.pack import PackHeader
from handlens.wire.release import Release
from handlens.wire.taxonomy import Taxonomy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Lens", "Status"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Status:
    """What is on this device. Sizes are bytes."""

    release: str
    as_of: str
    packs: tuple[PackHeader, ...]
    detector: str
    embedder: str
    runtime: str
    index: str
    policy: str
    store_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "release": self.release,
            "as_of": self.as_of,
            "packs": [pack.to_dict() for pack in self.packs],
            "detector": self.detector,
            "embedder": self.embedder,
            "runtime": self.runtime,
            "index": self.index,
            "policy": self.policy,
            "store_bytes": self.store_bytes,
        }


@dataclass(frozen=True, slots=True)
class _Engine:
    """All that one generation of the store needs to answer; opened once, replaced whole."""

    generation: int
    release: Release
    taxonomy: Taxonomy
    policy: Policy
    detector: Detector
    embedder: Embedder
    index: OpenIndex
    allowed: NDArray[np.int64] | None
    packs: tuple[str, ...]
    sources: tuple[Source, ...]


class Lens:
    """Visual search on this device.

    Raises:
        NotReadyError: nothing is installed in `options.data_dir` (from `search` and `status`, never from `install`).
        StoreError: the store is damaged, or of a newer handlens.
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self._lock = threading.Lock()
        self._store: Store | None = None
        self._engine: _Engine | None = None

    def __enter__(self) -> Lens:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store and let go of the models. The Lens may be used again: it then opens anew."""
        with self._lock:
            if self._store is not None:
                self._store.close()
            self._store = self._engine = None

    def install(self, folder: str | Path, *, progress: Progress | None = None) -> Release:
        """Verify a release folder, make it this device's release, and build the index.

        `progress` is called with (step, done, total).

        Raises:
            StoreError, DecodeError: the folder is incomplete, damaged or does not fit; the old release stays in use.
        """
        report = progress or (lambda step, done, total: None)
        store = self._opened(create=True)
        release = install_release(store, Path(folder).expanduser(), self.options.data_path, progress=report)
        self.reindex(progress=report)
        return release

    def reindex(self, *, progress: Progress | None = None) -> None:
        """Build the index file anew from the store's vectors."""
        store = self._opened()
        spec = read_spec(self._model_folder(store, "embedder"), "embedder")
        report = progress or (lambda step, done, total: None)
        build_index(store, self.options.data_path, self.options, spec, progress=report)

    def search(
        self,
        photo: PhotoSource,
        *,
        box: Box | None = None,
        refine: str | None = None,
        limit: int | None = None,
        request_id: str | None = None,
    ) -> SearchResult:
        """Search by a photo: a path, bytes, an open file, a Pillow image or an (h, w, 3) uint8 RGB array.

        `box` is the user's own crop, in fractions of the upright photo; without it objects are detected. `refine` is
        a word such as "recipe". `limit` is the most matches per object. The same photo, box, store and `request_id`
        always give the same answer. The network is never touched.

        Raises:
            ImageError: the photo cannot be used. NotReadyError: nothing is installed. UnknownPackError: `options.packs`
            names a pack that is not installed. ModelError, StoreError: models or store are damaged.
        """
        engine = self._ready()
        clock = _Stopwatch()
        with clock.step("decode"):
            image = load_photo(photo, max_pixels=self.options.max_pixels, decode_side=self.options.decode_side, box=box)
        request = request_id or uuid.uuid4().hex
        objects = self._search_regions(engine, image, box, clock, _Wish(refine, limit or self.options.limit, request))
        return SearchResult(
            request_id=request,
            image_size=image.size,
            objects=objects,
            as_of=engine.release.as_of,
            policy=engine.policy.version,
            index=engine.index.kind,
            packs=engine.packs,
            timings_ms=clock.milliseconds,
        )

    def thumbnail(self, match: Match) -> bytes | None:
        """The WebP thumbnail of a match, or None when its item has no picture."""
        return self._opened().thumbnail(match.item_key)

    def status(self) -> Status:
        """What is installed, which runtime and which index run, and why."""
        engine, store = self._ready(), self._opened()
        return Status(
            release=engine.release.name,
            as_of=engine.release.as_of,
            packs=store.packs(),
            detector=engine.detector.spec.model_id,
            embedder=engine.embedder.spec.model_id,
            runtime=engine.embedder.runtime,
            index=str(engine.index),
            policy=engine.policy.version,
            store_bytes=store.stats().bytes,
        )

    def _search_regions(
        self, engine: _Engine, photo: Photo, box: Box | None, clock: _Stopwatch, wish: _Wish
    ) -> tuple[FoundObject, ...]:
        with clock.step("detect"):
            regions = self._regions(engine, photo, box)
        with clock.step("embed"):
            boxes = [region.box for region in regions]
            embeddings = engine.embedder.embed(photo, boxes, margin=self.options.crop_margin)
        found = []
        for row, region in enumerate(regions):
            with clock.step("index"):
                neighbours = self._neighbours(engine, embeddings.vectors[row])
            with clock.step("understand"):
                evidence = Evidence(_detection(region), embeddings.label_scores[row], neighbours)
                understanding = understand(evidence, engine.taxonomy)
            with clock.step("sources"):
                candidates = self._candidates(engine, understanding, neighbours, wish)
            with clock.step("blend"):
                sections = self._blend(engine, candidates, understanding, wish)
            found.append(FoundObject(region, understanding, sections))
        return tuple(found)

    def _regions(self, engine: _Engine, photo: Photo, box: Box | None) -> tuple[Region, ...]:
        if box is not None:
            return (Region(box, "user"),)
        options = self.options
        detections = engine.detector.detect(photo, min_score=options.min_detection_score)
        return choose_regions(
            [Region(found.box, "detector", found.label, found.score) for found in detections], limit=options.max_objects
        )

    def _neighbours(self, engine: _Engine, vector: NDArray[np.float32]) -> tuple[Neighbour, ...]:
        near = engine.index.index.search(vector, self.options.neighbours, allowed=engine.allowed)
        ids = [int(vector_id) for vector_id in near.ids]
        items = self._opened().items_of(ids)
        return tuple(
            Neighbour(items[vector_id][0], items[vector_id][1], 1.0 - float(distance), items[vector_id][2])
            for vector_id, distance in zip(ids, near.distances, strict=True)
            if vector_id in items  # another process may have dropped the row since the index was opened
        )

    def _candidates(
        self, engine: _Engine, understanding: Understanding, neighbours: tuple[Neighbour, ...], wish: _Wish
    ) -> list[Candidate]:
        query = Query(understanding, neighbours, self.options.neighbours, self.options.locale, wish.refine)
        return [candidate for source in engine.sources for candidate in source.candidates(query)]

    def _blend(
        self, engine: _Engine, candidates: list[Candidate], understanding: Understanding, wish: _Wish
    ) -> tuple[Section, ...]:
        return blend(
            candidates,
            understanding,
            engine.policy,
            limit=wish.limit,
            request_id=wish.request_id,
            refine=wish.refine,
        )

    def _opened(self, *, create: bool = False) -> Store:
        with self._lock:
            if self._store is None:
                self._store = Store.open(self.options.data_path, create=create)
            return self._store

    def _ready(self) -> _Engine:
        store = self._opened()
        generation = store.generation()
        with self._lock:
            if self._engine is None or self._engine.generation != generation:
                self._engine = self._open_engine(store, generation)
            return self._engine

    def _open_engine(self, store: Store, generation: int) -> _Engine:
        options = self.options
        folders = {kind: self._model_folder(store, kind) for kind in ("detector", "embedder")}
        embedder = Embedder.open(folders["embedder"], threads=options.threads, runtime=options.runtime)
        index = open_index(store, options.data_path, options, embedder.spec)
        policy = _parsed(Policy.from_json, store, "policy")
        allowed = store.vector_ids(packs=options.packs, locale=options.locale)
        return _Engine(
            generation=generation,
            release=_parsed(Release.from_json, store, "release"),
            taxonomy=_parsed(Taxonomy.from_json, store, "taxonomy"),
            policy=policy,
            detector=Detector.open(folders["detector"], threads=options.threads, runtime=options.runtime),
            embedder=embedder,
            index=index,
            allowed=None if len(allowed) == len(index.index) else allowed,
            packs=options.packs or tuple(pack.pack for pack in store.packs()),
            sources=(
                VisualSource(),
                AnnotationSource(store, gate=policy.gates.annotation, packs=options.packs),
            ),
        )

    def _model_folder(self, store: Store, kind: str) -> Path:
        slot = store.slot(kind)
        if slot is None:
            raise NotReadyError(f"no {kind} is installed in {self.options.data_path}: handlens install a release first")
        return self.options.data_path / slot.file


@dataclass(frozen=True, slots=True)
class _Wish:
    """What one call of `search` asked for."""

    refine: str | None
    limit: int
    request_id: str


class _Stopwatch:
    """Milliseconds by step; a step that runs for several objects adds up."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.milliseconds[name] = self.milliseconds.get(name, 0.0) + (time.perf_counter() - begun) * 1000


def _detection(region: Region) -> tuple[str, float] | None:
    return None if region.label is None else (region.label, region.score)


def _parsed(read: Callable[[str], T], store: Store, name: str) -> T:
    try:
        return read(store.document(name))
    except DecodeError as error:
        raise StoreCorruptError(f"the store's {name} is malformed ({error}): install the release again") from error
