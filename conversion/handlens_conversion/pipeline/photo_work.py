"""What becomes of one photo: its boxes are cleaned, its picture is looked at, its objects are found and named.

Rules:

1. Pure but for opening the picture, which is passed in: the same boxes in any order give the same record.
2. A picture is opened only for a photo on which enough different users drew. When it cannot be used, all its boxes are
   left out for that reason.
3. Of a photo with very many boxes `PhotoRules.read` are looked at, those of least `rank_of`, so that the memory of a
   worker does not grow with the busiest photo.

::

    record, rejects = work_on(listed, boxes, rules, look_at=look_at_file)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from handlens_conversion.boxes.cleaning import CleaningSettings, clean_photo
from handlens_conversion.boxes.consensus import ConsensusObject, ConsensusSettings, find_objects
from handlens_conversion.boxes.drawn import DrawnBox, Edges
from handlens_conversion.boxes.labels import LabelSettings, vote
from handlens_conversion.boxes.modes import CAREFUL, DrawingMode
from handlens_conversion.boxes.places import unsettled_places
from handlens_conversion.boxes.reasons import Reject, RejectReason
from handlens_conversion.pipeline.look import Look
from handlens_conversion.pipeline.photo_rows import ListedPhoto

__all__ = ["FoundObject", "ImageVotes", "LookAt", "PhotoRecord", "PhotoRules", "work_on"]

LookAt = Callable[[ListedPhoto], "Look | RejectReason"]
ImageVotes = Callable[[ListedPhoto, Sequence[Edges]], Sequence[Mapping[str, float]]]


@dataclass(frozen=True, slots=True)
class PhotoRules:
    """The settings of all steps of one photo.

    `read` is the most boxes of a photo that are looked at; `places` says if places where nobody agreed are told.
    """

    cleaning: CleaningSettings = field(default_factory=CleaningSettings)
    consensus: ConsensusSettings = field(default_factory=ConsensusSettings)
    labels: LabelSettings = field(default_factory=LabelSettings)
    read: int = 20_000
    places: bool = True


@dataclass(frozen=True, slots=True)
class FoundObject:
    """One object of a photo, as the data set holds it; without a label where its users or the picture disagree."""

    box: Edges
    uncertainty: Edges
    agreement: float
    users: int
    label: str | None
    label_share: float
    label_votes: int
    label_sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PhotoRecord:
    """A photo with at least one object; `boxes` were used, of `drawn` that were not left out before cleaning.

    `places` are where users drew and nobody agreed (`boxes.places`).
    """

    listed: ListedPhoto
    look: Look
    boxes: int
    drawn: int
    objects: tuple[FoundObject, ...]
    places: tuple[Edges, ...] = ()

    def to_json(self) -> str:
        """The record as one line. (Spelled out: `dataclasses.asdict` copies deeply, five times as slow.)"""
        listed, seen = self.listed, self.look
        told = {
            "listed": [listed.photo, listed.image, listed.size, listed.licence, listed.credit, listed.tags],
            "look": [seen.size, seen.sha256, seen.phash],
            "boxes": self.boxes,
            "drawn": self.drawn,
            "objects": [[getattr(one, name) for name in _OBJECT_FIELDS] for one in self.objects],
            "places": self.places,
        }
        return json.dumps(told, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> PhotoRecord:
        """The record that `to_json` wrote."""
        told = json.loads(text)
        photo, image, size, licence, credit, tags = told["listed"]
        listed = ListedPhoto(photo, image, None if size is None else (size[0], size[1]), licence, credit, tuple(tags))
        (width, height), sha256, phash = told["look"]
        objects = tuple(
            FoundObject(tuple(box), tuple(error), agreement, users, label, share, votes, tuple(sources))
            for box, error, agreement, users, label, share, votes, sources in told["objects"]
        )
        places = tuple((left, top, right, bottom) for left, top, right, bottom in told["places"])
        return cls(listed, Look((width, height), sha256, phash), told["boxes"], told["drawn"], objects, places)


_OBJECT_FIELDS = tuple(FoundObject.__dataclass_fields__)


def work_on(
    listed: ListedPhoto,
    boxes: Sequence[DrawnBox],
    rules: PhotoRules,
    *,
    look_at: LookAt,
    modes: Sequence[DrawingMode] = (CAREFUL,),
    image_votes: ImageVotes | None = None,
) -> tuple[PhotoRecord | None, int, tuple[Reject, ...]]:
    """The record of one photo (None without objects), how many boxes were used, and a reject for each other one.

    `modes` are the ways of drawing that are known. `image_votes` tells what the picture shows in each of some boxes, as
    words with weights 0..1.
    """
    cleaned = clean_photo(boxes, rules.cleaning)
    rejects = cleaned.rejects
    if len({drawn.user for drawn in cleaned.kept}) < rules.consensus.min_users:
        return None, len(cleaned.kept), rejects
    seen = look_at(listed)
    if isinstance(seen, RejectReason):
        lost = tuple(Reject(seen, f"photo {listed.photo}: {listed.image}") for _ in cleaned.kept)
        return None, 0, rejects + lost
    found = find_objects(cleaned.kept, rules.consensus, modes=modes)
    if not found:
        return None, len(cleaned.kept), rejects
    seen_in = None if image_votes is None else image_votes(listed, [one.box for one in found])
    objects = tuple(
        _named(one, listed, rules.labels, None if seen_in is None else seen_in[at]) for at, one in enumerate(found)
    )
    places = unsettled_places(cleaned.kept, found, rules.consensus) if rules.places else ()
    record = PhotoRecord(listed, seen, sum(one.users for one in objects), len(boxes), objects, places)
    return record, len(cleaned.kept), rejects


def _named(
    one: ConsensusObject, listed: ListedPhoto, settings: LabelSettings, image: Mapping[str, float] | None
) -> FoundObject:
    label = vote((member.words for member in one.members), item_tags=listed.tags, image=image, settings=settings)
    told = (None, 0.0, 0, ()) if label is None else (label.word, label.share, label.votes, label.sources)
    return FoundObject(one.box, one.uncertainty, one.agreement, one.users, *told)
