"""Asking the server for a better answer, and putting it in the place of the offline one. Pure: nothing is sent here.

Rules:

1. What is sent is what this device understood of the photo: boxes, labels, colours, the int8 code of each object's
   embedding, the words of `refine`. The photo is not there to be sent, and neither is anything about the user.
2. The server's answer counts for the same request and the same objects, or not at all.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from handlens.errors import DecodeError, DownloadError
from handlens.result_reader import read_result
from handlens.results import FoundObject, Match, SearchResult

__all__ = ["merge_answer", "online_query"]

MAX_OBJECTS = 8  # that one request may have

Keys = Callable[[Sequence[str]], Mapping[str, int]]


def online_query(
    result: SearchResult, *, space: str, limit: int, locale: str, deadline_ms: float | None
) -> dict[str, Any]:
    """The JSON object to send for an answer of this device.

    Raises:
        ValueError: the answer has no embeddings: it did not come from this device's `search`.
    """
    if not result.objects or not all(found.code for found in result.objects):
        raise ValueError("only an answer that `search` gave on this device can be upgraded: this one has no embeddings")
    query = {
        "format": 1,
        "request_id": result.request_id,
        "space": space,
        "image_size": list(result.image_size),
        "limit": limit,
        "locale": locale,
        "refine": result.refine[:200],
        "deadline_ms": deadline_ms,
        "objects": [_sent(found) for found in result.objects[:MAX_OBJECTS]],
    }
    return {name: value for name, value in query.items() if value not in (None, "")}


def merge_answer(result: SearchResult, answer: object, keys_of: Keys) -> SearchResult:
    """The server's answer to `online_query`, with what only this device knows.

    `keys_of` gives the keys of those items that the store here holds, so that their thumbnails are found.

    Raises:
        DownloadError: it is malformed, or the answer to something else.
    """
    try:
        found = read_result(answer)
    except DecodeError as error:
        raise DownloadError(f"the server's answer cannot be read ({error}): upgrade handlens") from error
    if found.request_id != result.request_id or len(found.objects) != len(result.objects[:MAX_OBJECTS]):
        raise DownloadError("the server answered another request: ask again")
    ids = {match.item.item_id for one in found.objects for section in one.sections for match in section.matches}
    keys = keys_of(sorted(ids))
    pairs = zip(found.objects, result.objects, strict=False)
    objects = tuple(_merged(online, offline, keys) for online, offline in pairs)
    return replace(found, objects=objects + result.objects[MAX_OBJECTS:], image_size=result.image_size)


def _sent(found: FoundObject) -> dict[str, Any]:
    return {
        "box": found.box.to_list(),
        "found_by": found.region.found_by,
        "label": found.region.label,
        "score": round(found.region.score, 6),
        "embedding": base64.b64encode(found.code).decode(),
        "label_scores": [[label, round(score, 6)] for label, score in found.label_scores],
        "colours": [colour.to_dict() for colour in found.colours],
    }


def _merged(online: FoundObject, offline: FoundObject, keys: Mapping[str, int]) -> FoundObject:
    def keyed(match: Match) -> Match:
        return replace(match, item_key=keys.get(match.item.item_id, match.item_key))

    sections = tuple(
        replace(section, matches=tuple(keyed(match) for match in section.matches)) for section in online.sections
    )
    return replace(
        online, region=offline.region, sections=sections, code=offline.code, label_scores=offline.label_scores
    )
