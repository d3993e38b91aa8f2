"""What ``POST /v1/search`` is asked: a photo, or what a device saw in one while the photo stays there.

Rules:

1. A request is read whole and checked before a model or an index is touched. What it cannot be is refused with an
   error of its own (`SearchRefusedError`); a field of a wrong kind is a `DecodeError`.
2. Text that a user typed is bounded here and never becomes part of a query language further on.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from handlens.answering import Seen
from handlens.errors import BoxError, DecodeError
from handlens.geometry import WHOLE, Box
from handlens.results import Colour, Region
from handlens.wire.fields import Fields, load_object
from handlens.wire.model import ModelSpec
from handlens.wire.palette import COLOURS
from handlens.wire.taxonomy import Taxonomy
from handlens_server.search_errors import SearchRefusedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from handlens.blend import Policy

__all__ = ["MAX_OBJECTS", "SearchRequest", "SearchScope", "read_query", "read_seen"]

MAX_OBJECTS = 8
_FORMAT = 1
_MAX_LIMIT = 100  # matches an object
_MAX_LABELS = 50  # of the classifier, an object
_MAX_REFINE = 1000  # characters
_MAX_DEADLINE = 60_000  # milliseconds
_MAX_PACKS = 100
_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LOCALE = re.compile(r"[A-Za-z0-9-]{0,35}")
_FOUND_BY = ("detector", "user", "whole")


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What is asked beside the photo or the embeddings; empty fields leave it to the server.

    `objects` are the undecoded entries of an embedding query, `box` is the user's crop of a photo query. Only items of
    `kinds` are offered; none names all.
    """

    request_id: str
    limit: int | None
    refine: str | None
    locale: str | None
    deadline_ms: float | None
    packs: tuple[str, ...]
    space: str
    box: Box | None
    image_size: tuple[int, int]
    objects: tuple[Fields, ...]
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchScope:
    """Whom an answer is for, where it is not for everybody.

    `audience` is whom the policy asks about; items of no other than `audiences` are looked at. `policy` is the blending
    policy in place of the release's. Scopes with one `name` are one and the same.
    """

    name: str
    audience: str
    audiences: frozenset[str]
    policy: Policy | None = None


def read_query(text: bytes) -> SearchRequest:
    """Read the JSON of a request.

    Raises:
        DecodeError: malformed. SearchRefusedError: a value is out of its bounds.
    """
    fields = Fields(load_object(text, what="search"), what="search")
    if "format" in fields.values:
        fields.require_format(_FORMAT)
    objects = tuple(fields.records("objects")) if "objects" in fields.values else ()
    if len(objects) > MAX_OBJECTS:
        raise SearchRefusedError("too-many-objects", f"a search has at most {MAX_OBJECTS} objects, not {len(objects)}")
    return SearchRequest(
        request_id=_matching(fields, "request_id", _PLAIN, "at most 64 letters, digits, '.', '_' and '-'"),
        limit=_limit(fields),
        refine=_refine(fields),
        locale=None if "locale" not in fields.values else _matching(fields, "locale", _LOCALE, "a language: en, en-GB"),
        deadline_ms=_deadline(fields),
        packs=_packs(fields),
        space=fields.text("space", ""),
        box=_box(fields),
        image_size=_image_size(fields),
        objects=objects,
    )


def read_seen(request: SearchRequest, spec: ModelSpec, taxonomy: Taxonomy) -> tuple[Seen, ...]:
    """The objects of an embedding query, for the embedder `spec`.

    Raises:
        DecodeError: malformed. SearchRefusedError: another embedding space, an embedding of another length, zero or not
            finite, or a label that the taxonomy has not.
    """
    if not request.objects:
        raise SearchRefusedError("nothing-to-search", "give `objects` with an embedding each, or a photo (multipart)")
    _check_space(request, spec.space)
    seen = [_seen(fields, spec, taxonomy) for fields in request.objects]
    return tuple(replace(one, region=replace(one.region, is_main=at == 0)) for at, one in enumerate(seen))


def check_embeddings(request: SearchRequest, space: str, dim: int) -> None:
    """Refuse embeddings that `read_seen` refuses, where there is no model: raises as it does."""
    _check_space(request, space)
    for fields in request.objects:
        _vector(fields, space, dim)


def _check_space(request: SearchRequest, space: str) -> None:
    if request.space != space:
        raise SearchRefusedError(
            "embedding-space-unknown",
            f"space is {request.space[:80]!r}, this server searches {space!r}: sync the device, or send the photo",
        )


def _seen(fields: Fields, spec: ModelSpec, taxonomy: Taxonomy) -> Seen:
    label = fields.optional_text("label")
    if label is not None and label not in taxonomy.detector:
        raise _unknown_label(fields.what, label)
    box = _box(fields)
    found_by = fields.text("found_by", "whole" if box is None else "user" if label is None else "detector")
    if found_by not in _FOUND_BY:
        raise fields.wrong("found_by", f"one of {', '.join(_FOUND_BY)}")
    region = Region(box or WHOLE, found_by, label, _fraction(fields, "score", 1.0))
    return Seen(region, _vector(fields, spec.space, spec.dim), _label_scores(fields, spec, taxonomy), _colours(fields))


def _colours(fields: Fields) -> tuple[Colour, ...]:
    """What the device saw of the object's colours; it alone has the pixels."""
    entries = fields.records("colours") if "colours" in fields.values else []
    if len(entries) > len(COLOURS):
        raise fields.wrong("colours", f"at most {len(COLOURS)} colours")
    return tuple(Colour.from_fields(entry) for entry in entries)


def _vector(fields: Fields, space: str, dim: int) -> NDArray[np.float32]:
    """The embedding: the base64 of its int8 code, or a list of numbers."""
    value = fields.values.get("embedding")
    vector = _from_code(fields, value) if isinstance(value, str) else _from_list(fields, value)
    if vector.shape != (dim,):
        raise _unusable(fields, f"it has {vector.size} components, {space!r} has {dim}")
    if not np.isfinite(vector).all() or not 0.0 < float(vector @ vector) < math.inf:
        raise _unusable(fields, "it is zero or not finite: it has no direction")
    return vector


def _from_code(fields: Fields, text: str) -> NDArray[np.float32]:
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), np.int8).astype(np.float32)
    except (binascii.Error, ValueError) as error:
        raise fields.wrong("embedding", "the int8 code in base64, or a list of numbers") from error


def _from_list(fields: Fields, value: object) -> NDArray[np.float32]:
    if not isinstance(value, list) or not all(type(one) in (int, float) for one in value):
        raise fields.wrong("embedding", "the int8 code in base64, or a list of numbers")
    with np.errstate(over="ignore"):  # becomes infinite, and is refused as such
        try:
            return np.array(value, np.float64).astype(np.float32)
        except OverflowError as error:
            raise _unusable(fields, "it is not finite: it has no direction") from error


def _label_scores(fields: Fields, spec: ModelSpec, taxonomy: Taxonomy) -> tuple[tuple[str, float], ...]:
    pairs = fields.values.get("label_scores", [])
    if not isinstance(pairs, list) or len(pairs) > _MAX_LABELS:
        raise fields.wrong("label_scores", f"a list of at most {_MAX_LABELS} pairs [label, probability]")
    scores = []
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str) or not _is_fraction(pair[1]):
            raise fields.wrong("label_scores", "pairs [label, probability 0..1]")
        if pair[0] not in taxonomy.classifier and pair[0] not in spec.labels:
            raise _unknown_label(fields.what, pair[0])
        scores.append((pair[0], float(pair[1])))
    return tuple(scores)


def _unusable(fields: Fields, how: str) -> SearchRefusedError:
    return SearchRefusedError("embedding-unusable", f"{fields.what}.embedding cannot be searched: {how}")


def _unknown_label(what: str, label: str) -> SearchRefusedError:
    return SearchRefusedError(
        "label-unknown", f"{what} has the label {label[:80]!r}, which the taxonomy has not: sync the device"
    )


def _limit(fields: Fields) -> int | None:
    if fields.values.get("limit") is None:
        return None
    value = fields.integer("limit")
    if not 1 <= value <= _MAX_LIMIT:
        raise fields.wrong("limit", f"a whole number from 1 to {_MAX_LIMIT}")
    return value


def _refine(fields: Fields) -> str | None:
    text = fields.optional_text("refine")
    if text is not None and len(text) > _MAX_REFINE:
        raise SearchRefusedError(
            "refine-too-long", f"refine has {len(text)} characters: give a few words, at most {_MAX_REFINE} characters"
        )
    return text


def _deadline(fields: Fields) -> float | None:
    if fields.values.get("deadline_ms") is None:
        return None
    value = fields.number("deadline_ms")
    if not 0 < value <= _MAX_DEADLINE:
        raise fields.wrong("deadline_ms", f"milliseconds above 0, at most {_MAX_DEADLINE}")
    return value


def _packs(fields: Fields) -> tuple[str, ...]:
    packs = fields.strings("packs") if fields.values.get("packs") is not None else ()
    if len(packs) > _MAX_PACKS:
        raise fields.wrong("packs", f"at most {_MAX_PACKS} names")
    return tuple(dict.fromkeys(packs))


def _image_size(fields: Fields) -> tuple[int, int]:
    size = fields.values.get("image_size", [0, 0])
    if not isinstance(size, list) or len(size) != 2 or not all(type(one) is int and 0 <= one < 1 << 31 for one in size):
        raise fields.wrong("image_size", "width and height in pixels")
    return size[0], size[1]


def _box(fields: Fields) -> Box | None:
    edges = fields.values.get("box")
    try:
        return None if edges is None else Box.from_list(edges)
    except BoxError as error:
        raise DecodeError(f"{fields.what}: {error}") from error


def _matching(fields: Fields, name: str, pattern: re.Pattern[str], expected: str) -> str:
    value = fields.text(name, "")
    if value and not pattern.fullmatch(value):
        raise fields.wrong(name, expected)
    return value


def _fraction(fields: Fields, name: str, default: float) -> float:
    value = fields.number(name, default)
    if not 0.0 <= value <= 1.0:
        raise fields.wrong(name, "a number from 0 to 1")
    return value


def _is_fraction(value: object) -> bool:
    return type(value) in (int, float) and 0.0 <= value <= 1.0  # type: ignore[operator]
