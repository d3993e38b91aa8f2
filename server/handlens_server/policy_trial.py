"""A trial: one photo answered from the backend's catalogue by policies that nobody was given yet.

The photo goes through the same models, understanding, sources and blend as on a device. The catalogue is read whole
into an exact index and a full-text table in memory: right for an editor's desk, not for serving.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlalchemy.orm import Session

from handlens.blend import Policy, explain
from handlens.decision import Decision
from handlens.errors import DecodeError
from handlens.geometry import Box
from handlens.index import ExactIndex, add_codes
from handlens.options import Options
from handlens.results import Candidate, Evidence, Neighbour, Query, Region, Understanding
from handlens.sources import AnnotationSource, Source, VisualSource
from handlens.understand import choose_regions, understand
from handlens.vision.detector import Detector
from handlens.vision.embedder import Embedder
from handlens.vision.image import load_photo
from handlens.wire.item import Item
from handlens.wire.pack import PackUpsert, parse_change
from handlens.wire.taxonomy import Taxonomy
from handlens_server.policy_files import PolicyError
from handlens_server.stored_rows import load_rows

__all__ = ["Offered", "TrialCatalogue", "decide", "offers_for"]

_REQUEST = "trial"  # the request id: a trial explores nothing, so it decides nothing
_BM25 = "bm25(texts, 4.0, 1.0, 6.0)"  # as on a device


@dataclass(frozen=True, slots=True)
class Offered:
    """The main object of a photo, understood, and all that the sources offer for it."""

    understanding: Understanding
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class TextHit:
    """An item found by a word; `score` is BM25, large is good."""

    item_key: int
    item: Item
    score: float


class TrialCatalogue:
    """The items of the backend with their embeddings in `space`, in memory.

    Raises:
        CatalogueError: the picture of an item has no embedding in `space`.
    """

    def __init__(self, session: Session, *, space: str, dim: int) -> None:
        self.items: list[Item] = []
        self._parts: list[tuple[int, Box]] = []
        self._index = ExactIndex(space=space, dim=dim)
        self._texts = sqlite3.connect(":memory:")
        self._texts.execute("CREATE VIRTUAL TABLE texts USING fts5 (title, text, tags, tokenize = 'porter unicode61')")
        codes = bytearray()
        for _, line in load_rows(session, space, lambda item: True):
            change = parse_change(line, dim=dim)
            if isinstance(change, PackUpsert):
                self._add(change, codes)
        if self._parts:
            rows = np.frombuffer(bytes(codes), np.int8).reshape(len(self._parts), dim)
            add_codes(self._index, np.arange(len(rows)), rows)

    def _add(self, change: PackUpsert, codes: bytearray) -> None:
        item, key = change.row.item, len(self.items)
        self.items.append(item)
        self._texts.execute(
            "INSERT INTO texts (rowid, title, text, tags) VALUES (?, ?, ?, ?)",
            (key, item.title, item.text, " \n ".join(item.annotations)),
        )
        for part in change.row.embeddings:
            self._parts.append((key, part.box))
            codes += part.code

    def nearest(self, vector: np.ndarray, k: int) -> tuple[Neighbour, ...]:
        """The `k` nearest parts of pictures."""
        near = self._index.search(vector, k)
        pairs = zip(near.ids.tolist(), near.distances.tolist(), strict=True)
        found = ((*self._parts[number], distance) for number, distance in pairs)
        return tuple(Neighbour(key, self.items[key], 1.0 - distance, box) for key, box, distance in found)

    def search_text(
        self,
        terms: Mapping[str, float],
        *,
        limit: int,
        packs: Sequence[str] = (),
        locale: str = "",
        kinds: Sequence[str] = (),
    ) -> list[TextHit]:
        """See `handlens.sources.TextSearch`; languages are the source's own to tell apart."""
        scores: dict[int, float] = {}
        for term, weight in terms.items():
            for key, score in self._matches(term) if weight > 0 else ():
                scores[key] = scores.get(key, 0.0) + weight * score
        ranked = sorted(scores, key=lambda key: (-scores[key], self.items[key].item_id))
        hits = (TextHit(key, self.items[key], scores[key]) for key in ranked)
        return [hit for hit in hits if not kinds or hit.item.kind in kinds][:limit]

    def _matches(self, term: str) -> Iterable[tuple[int, float]]:
        phrase = '"{}"'.format(term.replace('"', '""').replace("\0", " "))
        rows = self._texts.execute(f"SELECT rowid, {_BM25} FROM texts WHERE texts MATCH ?", [phrase])
        return [(key, -rank) for key, rank in rows]


def offers_for(
    photo: Path, models: Path, session: Session, *, gate: float, locale: str, options: Options | None = None
) -> Offered:
    """What the photo's main object is, and what the sources offer for it.

    `models` is the folder that releases are made from; `gate` the confidence from which words are searched.

    Raises:
        ImageError, ModelError, CatalogueError, PolicyError: the photo, a model, the catalogue or the taxonomy cannot be
            used.
    """
    settings = options or Options()
    detector, embedder = Detector.open(models / "detector"), Embedder.open(models / "embedder")
    taxonomy = _taxonomy(models / "taxonomy.json")
    catalogue = TrialCatalogue(session, space=embedder.spec.space, dim=embedder.spec.dim)
    image = load_photo(photo, max_pixels=settings.max_pixels, decode_side=settings.decode_side)
    found = [Region(one.box, "detector", one.label, one.score) for one in detector.detect(image)]
    region = choose_regions(found, limit=1)[0]
    part = embedder.embed(image, [region.box], margin=settings.crop_margin)
    neighbours = catalogue.nearest(part.vectors[0], settings.neighbours)
    detection = None if region.label is None else (region.label, region.score)
    understanding = understand(Evidence(detection, part.label_scores[0], neighbours), taxonomy)
    query = Query(understanding, neighbours, settings.neighbours, locale)
    sources: tuple[Source, ...] = (VisualSource(), AnnotationSource(catalogue, gate=gate))
    return Offered(understanding, tuple(_asked(sources, query)))


def decide(offered: Offered, policy: Policy, *, limit: int, locale: str, as_of: str) -> Decision:
    """What a policy makes of the offers, and why."""
    return explain(
        offered.candidates,
        offered.understanding,
        policy,
        limit=limit,
        request_id=_REQUEST,
        locale=locale,
        as_of=as_of,
    )


def _asked(sources: Sequence[Source], query: Query) -> Iterator[Candidate]:
    for source in sources:
        yield from source.candidates(query)


def _taxonomy(path: Path) -> Taxonomy:
    try:
        return Taxonomy.from_json(path.read_bytes())
    except OSError as error:
        raise PolicyError(f"{path} cannot be read ({error.strerror}): give the right --models") from error
    except (DecodeError, json.JSONDecodeError) as error:
        raise PolicyError(f"{path}: {error}") from error
