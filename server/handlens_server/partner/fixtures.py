"""What a test key's search finds: the same whenever it asks the same, whatever is in the catalogue.

Rules:

1. A search finds an orange in the middle of any picture, and a plate around it. `kinds`, `max_results`, `locale`, a box
   and the caller's profile act as they do for live keys; `refine` with the word ``nothing`` finds objects, no results.
2. A picture must be one, and embeddings must be of the shipped embedder's space and length, or they are refused as live
   ones are; what they show does not matter.
3. With `deadline_ms` below `LATE_MS` the last source was late: the answer is degraded, and says so.
4. An id of a fixture opens that item (`fixture_item`), with a test key only.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handlens.geometry import Box
from handlens.wire.item import Item

if TYPE_CHECKING:
    from handlens.results import FoundObject, SearchResult, Section
    from handlens_server.search_requests import SearchRequest

__all__ = ["LATE_MS", "fixture_item", "fixture_items", "fixture_result"]

LATE_MS = 50.0
_FILE = Path(__file__).parent / "fixtures.json"
_RELEASE = "fixtures"
_POLICY = "fixtures-1"
_LIMIT = 12  # results where the request names none
_MIDDLE = Box(0.25, 0.25, 0.75, 0.75)
_PLATE = Box(0.1, 0.4, 0.9, 0.9)
# (name, title, source, ids, the best first)
_SECTIONS = (
    ("recipes", "Recipes", "annotation", ("fixture.marmalade", "fixture.orange-cake")),
    ("how_to", "How to", "annotation", ("fixture.peel",)),
    ("shop", "Shop", "visual", ("fixture.crate", "fixture.juicer")),
    ("places", "Places", "curated", ("fixture.orchard",)),
)


@functools.cache
def fixture_items() -> Mapping[str, Item]:
    """All fixtures, by id."""
    return {values["item_id"]: Item.from_dict(values) for values in _values()["items"]}


def fixture_item(item_id: str) -> Item | None:
    """A fixture, if there is one with this id."""
    return fixture_items().get(item_id)


def fixture_result(request: SearchRequest, picture: bytes | None) -> SearchResult:
    """The answer to a test key's search.

    Raises:
        ImageError: the picture is none. SearchRefusedError: the embeddings are of another space, or unusable.
    """
    from handlens.results import LeftOut, SearchResult
    from handlens.vision.image import read_size
    from handlens_server.search_requests import check_embeddings

    if picture is None:
        check_embeddings(request, _values()["space"], _values()["dim"])
    size = request.image_size if picture is None else read_size(picture)
    is_late = request.deadline_ms is not None and request.deadline_ms < LATE_MS
    late = LeftOut("curated", f"the deadline of {request.deadline_ms or 0:g} ms was over", is_late=True)
    return SearchResult(
        request_id=request.request_id,
        image_size=size,
        objects=_objects(request, is_late=is_late),
        as_of=str(_values()["as_of"]),
        policy=_POLICY,
        index="fixtures",
        packs=(),
        served_by="server",
        release=_RELEASE,
        refine=request.refine or "",
        left_out=(late,) if is_late else (),
    )


def _objects(request: SearchRequest, *, is_late: bool) -> tuple[FoundObject, ...]:
    from handlens.results import Annotation, Colour, FoundObject, Region, Understanding

    is_asked = request.box is not None
    orange = FoundObject(
        Region(request.box or _MIDDLE, "user" if is_asked else "detector", "orange", 0.9, is_main=True),
        Understanding(
            "food",
            0.95,
            (Annotation("orange", 0.93, ("detector", "classifier")), Annotation("fruit", 0.9, ("neighbours",), True)),
            (Colour("orange", 0.7, (240, 140, 30)), Colour("white", 0.3, (250, 250, 250))),
        ),
        _sections(request, is_late=is_late),
    )
    if is_asked:
        return (orange,)
    plate = FoundObject(
        Region(_PLATE, "detector", "bowl", 0.6),
        Understanding("home", 0.7, (Annotation("plate", 0.6, ("classifier",)),), ()),
        (),
    )
    return (orange, plate)


def _sections(request: SearchRequest, *, is_late: bool) -> tuple[Section, ...]:
    if "nothing" in (request.refine or "").lower().split():
        return ()
    left = _LIMIT if request.limit is None else request.limit
    sections: list[Section] = []
    for name, title, source, ids in _SECTIONS:
        if is_late and source == "curated":
            continue
        items = [item for item in map(fixture_items().__getitem__, ids) if _passes(item, request)][:left]
        left -= len(items)
        if items:
            sections.append(_section(name, title, source, items))
    return tuple(sections)


def _section(name: str, title: str, source: str, items: Sequence[Item]) -> Section:
    from handlens.results import Match, Section, Why

    matches = []
    for at, item in enumerate(items):
        score = round(0.9 - 0.1 * at, 2)
        why = Why(source, score, f"fixtures/{name}", _POLICY, "a fixture for test keys", value=score)
        matches.append(Match(at, item, score, why))
    return Section(name, title, tuple(matches))


def _passes(item: Item, request: SearchRequest) -> bool:
    kinds: Sequence[str] = getattr(request, "kinds", ())
    language = (request.locale or "").partition("-")[0]
    return (not kinds or item.kind in kinds) and (not item.locale or not language or item.locale == language)


@functools.cache
def _values() -> dict[str, Any]:
    values: dict[str, Any] = json.loads(_FILE.read_bytes())
    return values
