"""Events made of what the user did with an answer. Pure: nothing is written or sent here.

>>> events = feedback_events(result, saved=match, consent="events", release="demo-1", now=now)   # doctest: +SKIP
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from handlens.errors import FeedbackError
from handlens.geometry import Box
from handlens.results import FoundObject, Match, SearchResult
from handlens.vision.image import Photo
from handlens.wire.event import MAX_CROP_BYTES, Event
from handlens.wire.exposure import MAX_OFFERS, Exposure, Offer, ShownPlace

__all__ = ["Deed", "crop_of", "exposure_of", "feedback_events", "search_event"]

_WORDS, _PLACES = 10, 200  # of an exposure
_CROP_SIDE = 320  # pixels of a crop's long side: what a detector is trained with
_QUALITIES = (85, 70, 50)  # of JPEG, until the crop is small enough


@dataclass(frozen=True, slots=True)
class Deed:
    """What the user did: each field that is set becomes one event.

    `box` is a box that the user drew, in fractions of the upright photo; `label` names what is in it or, without a
    box, corrects what `found` was called. `pictured` is the id of the item whose picture was searched, if it was one.
    """

    clicked: Match | None = None
    saved: Match | None = None
    hidden: Match | None = None
    box: Box | None = None
    label: str = ""
    found: FoundObject | None = None
    pictured: str = ""


def search_event(result: SearchResult, *, space: str, now: datetime) -> Event:
    """That a search was made: the type of the main object and the item ids that were shown, never pixels.

    What of it may be kept is `Event.within`'s to say.
    """
    main = result.objects[0] if result.objects else None
    shown = tuple(
        match.item.item_id for found in result.objects for section in found.sections for match in section.matches
    )
    return Event(
        event_id=str(uuid.uuid4()),
        kind="search",
        at=_time(now),
        request_id=result.request_id,
        release=result.release,
        object_type="" if main is None else main.type,
        box=None if main is None else main.box,
        shown=shown[:200],
        space=space,
        embedding=b"" if main is None else main.code,
        exposure=None if main is None else exposure_of(main, result.policy),
    )


def exposure_of(found: FoundObject, policy: str) -> Exposure:
    """What was shown for an object and with what chance; with all that was offered where the answer explored."""
    decision = found.decision
    places = tuple(
        ShownPlace(match.item.item_id, match.why.rule, match.why.propensity, match.why.explored)
        for section in found.sections
        for match in section.matches
    )
    explored = decision is not None and decision.explored
    verdicts = decision.verdicts if decision is not None and explored else ()
    understanding = found.understanding
    return Exposure(
        policy=policy,
        explores=explored,
        type_confidence=round(understanding.type_confidence, 6),
        words=tuple((note.tag[:200], round(note.confidence, 6)) for note in understanding.annotations[:_WORDS]),
        limit=max(len(places), 1) if decision is None else decision.limit,
        places=places[:_PLACES],
        offers=tuple(Offer(one.item_id, one.source, round(one.score, 6)) for one in verdicts[:MAX_OFFERS]),
    )


def feedback_events(
    result: SearchResult, deed: Deed, *, space: str, now: datetime, photo: Photo | None = None
) -> tuple[Event, ...]:
    """The events of one deed; `photo` is needed only where a crop may be sent.

    Raises:
        FeedbackError: the deed is empty, or a label is too long.
    """
    found = deed.found or (result.objects[0] if result.objects else None)
    if len(deed.label) > 200:
        raise FeedbackError("a label has at most 200 characters: shorten it")
    if len(deed.pictured) > 200:
        raise FeedbackError("pictured is no item's id: ids have at most 200 characters")
    events = tuple(_events(result, deed, found, space, now, photo))
    if not events:
        raise FeedbackError("there is nothing to tell: give clicked, saved, hidden, box or label")
    return events


def crop_of(photo: Photo, box: Box) -> bytes:
    """The part of a photo as JPEG, at most `MAX_CROP_BYTES`, with nothing of the photo but its pixels."""
    width, height = photo.image.size
    left, top, right, bottom = box.to_pixels((width, height))
    crop = photo.image.crop((int(left), int(top), max(int(left) + 1, round(right)), max(int(top) + 1, round(bottom))))
    crop.info = {}  # Pillow would write the photo's comment into the crop
    crop.thumbnail((_CROP_SIDE, _CROP_SIDE))
    for quality in _QUALITIES:
        file = io.BytesIO()
        crop.save(file, "JPEG", quality=quality)
        if file.tell() <= MAX_CROP_BYTES:
            return file.getvalue()
    raise FeedbackError("the crop does not become small enough: give a smaller box")


def _events(
    result: SearchResult, deed: Deed, found: FoundObject | None, space: str, now: datetime, photo: Photo | None
) -> Iterator[Event]:
    def event(kind: str, **fields: object) -> Event:
        return Event(
            event_id=str(uuid.uuid4()),
            kind=kind,
            at=_time(now),
            request_id=result.request_id,
            release=result.release,
            object_type="" if found is None else found.type,
            **fields,  # type: ignore[arg-type]
        )

    for kind, match in (("click", deed.clicked), ("save", deed.saved), ("hide", deed.hidden)):
        if match is not None:
            yield event(kind, item_id=match.item.item_id)
    box = deed.box or (found.box if found is not None else None)
    seen = {} if found is None or deed.box is not None else {"space": space, "embedding": found.code}
    crop = b"" if photo is None or box is None else crop_of(photo, box)
    if deed.box is not None:
        yield event("box", box=deed.box, label=deed.label, item_id=deed.pictured, crop=crop)
    elif deed.label:
        shown = "" if found is None or not found.annotations else found.annotations[0].tag
        named = {"label": deed.label, "shown_label": shown, "item_id": deed.pictured}
        yield event("label", box=box, crop=crop, **named, **seen)


def _time(now: datetime) -> str:
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")
