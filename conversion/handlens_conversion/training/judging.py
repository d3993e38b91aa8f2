"""The new detector beside the old one, through the SDK's own `Detector`: figures, and whether it may be used.

Rules: a new detector is refused when

* the old labels' mAP on the guard photos falls by more than `most_map_lost`;
* of the boxes that a user is shown on the guard photos, whatever their label, so many fewer are right, or so many fewer
  objects are found, as `most_shown_lost` says (a new label that fires everywhere drowns the others); without guard
  photos only the second is asked, because there the new label's objects are no truth;
* the new labels' AP50 on the photos held out is below `least_ap50`: it has learned nothing worth a release.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tqdm import tqdm

from handlens.errors import TrainingDataError
from handlens.geometry import Box
from handlens.vision.detector import Detection, Detector
from handlens.vision.image import load_photo
from handlens_conversion.detector_metrics import (
    OperatingPoint,
    Precision,
    ScoredPhoto,
    Truth,
    average_precision,
    operating_point,
)
from handlens_conversion.training.records import BoxedPhoto, TrainingOptions

__all__ = ["Judgement", "RefusedError", "Shown", "guard_of", "judge", "measure", "shown"]

MIN_SCORE = 0.01  # average precision looks far below what a user is shown
LIMIT = 100  # detections a photo, as COCO's rules say
SHOWN = 10  # detections a photo that a user may see


class RefusedError(TrainingDataError):
    """The trained detector is worse than the one it came from."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a user sees on photos: precision and recall of boxes whatever their label, and boxes a photo."""

    precision: float
    recall: float
    per_photo: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """All figures. `own_guard`: there were no guard photos, so what the old detector finds stands for the truth."""

    new: Precision
    new_shown: OperatingPoint
    held_out: int
    guard_photos: int
    own_guard: bool
    old_map: tuple[float, float]  # of the old labels on the guard photos: before, after
    old_ap50: tuple[float, float]
    shown: tuple[Shown, Shown]  # before, after

    def reasons(self, options: TrainingOptions) -> tuple[str, ...]:
        """Why the new detector must be refused; nothing when it may be used."""
        found = []
        if self.old_map[0] - self.old_map[1] > options.most_map_lost:
            found.append(f"mAP of the old labels on the guard photos {self.old_map[0]:.3f} -> {self.old_map[1]:.3f}")
        for name in ("recall",) if self.own_guard else ("precision", "recall"):
            before, after = (float(getattr(side, name)) for side in self.shown)
            if before - after > options.most_shown_lost:
                found.append(f"{name} of the boxes shown on the guard photos {before:.3f} -> {after:.3f}")
        if self.new.ap50 < options.least_ap50:
            found.append(
                f"AP50 of the new labels on photos held out {self.new.ap50:.3f}, wanted {options.least_ap50:g}"
            )
        return tuple(found)


def judge(
    old: Detector,
    new: Detector,
    *,
    labels: Sequence[str],
    held_out: Sequence[BoxedPhoto],
    guard: Sequence[BoxedPhoto],
    own_guard: bool = False,
    progress: bool = True,
) -> Judgement:
    """Measure both detectors. `labels` are the new ones; `own_guard` says that the guard photos come from `guard_of`.

    Raises:
        ImageError: a photo cannot be read.
    """
    watched = tuple(guard)
    kept = [label for label in old.spec.labels if label not in labels]
    found = measure(new, held_out, labels, progress=progress, title="new labels")
    before, after = (
        measure(one, watched, kept, progress=progress, title=title)
        for one, title in ((old, "guard, before"), (new, "guard, after"))
    )
    sides = tuple(shown(one, watched) for one in (old, new))
    quality = [average_precision(side, labels=kept) for side in (before, after)]
    return Judgement(
        new=average_precision(found, labels=labels),
        new_shown=operating_point(found, min_score=new.min_score),
        held_out=len(held_out),
        guard_photos=len(watched),
        own_guard=own_guard,
        old_map=(quality[0].map, quality[1].map),
        old_ap50=(quality[0].ap50, quality[1].ap50),
        shown=(sides[0], sides[1]),
    )


def measure(
    detector: Detector, photos: Iterable[BoxedPhoto], labels: Sequence[str], *, progress: bool = False, title: str = ""
) -> list[ScoredPhoto]:
    """What a detector finds of some labels, for average precision; other labels, found or drawn, are left out."""
    return [
        ScoredPhoto(photo.size, _truths(photo, labels), _detections(detector, photo, labels))
        for photo in tqdm(photos, desc=title, unit="photo", disable=not progress)
    ]


def shown(detector: Detector, photos: Sequence[BoxedPhoto]) -> Shown:
    """What a user sees on photos."""
    scored = [
        ScoredPhoto(photo.size, _truths(photo, None), detector.detect(load_photo(photo.path), limit=SHOWN))
        for photo in photos
    ]
    point = operating_point(scored, min_score=detector.min_score, same_label=False)
    return Shown(point.precision, point.recall, point.per_photo)


def guard_of(old: Detector, photos: Sequence[BoxedPhoto]) -> tuple[BoxedPhoto, ...]:
    """The photos with what the old detector shows on them as truth: the new one has to find that again.

    Raises:
        TrainingDataError: it finds nothing at all.
    """
    found = [(photo, old.detect(load_photo(photo.path), limit=SHOWN)) for photo in photos]
    guarded = tuple(_with(photo, seen) for photo, seen in found)
    if not any(photo.labels for photo in guarded):
        raise TrainingDataError(
            "the old detector finds nothing on the photos of the data set, so there is nothing to guard it with: "
            "give photos of its labels with --guard"
        )
    return guarded


def _with(photo: BoxedPhoto, seen: Sequence[Detection]) -> BoxedPhoto:
    import numpy as np

    boxes = np.array([one.box.edges for one in seen], np.float64).reshape(-1, 4)
    return replace(photo, boxes=boxes, labels=tuple(one.label for one in seen))


def _detections(detector: Detector, photo: BoxedPhoto, labels: Sequence[str]) -> tuple[Detection, ...]:
    found = detector.detect(load_photo(photo.path), limit=10 * LIMIT, min_score=MIN_SCORE, per_label=True)
    return tuple(one for one in found if one.label in labels)[:LIMIT]


def _truths(photo: BoxedPhoto, labels: Sequence[str] | None) -> tuple[Truth, ...]:
    pairs: Iterable[tuple[Any, str]] = zip(photo.boxes, photo.labels, strict=True)
    return tuple(
        Truth(Box(*(float(edge) for edge in box)), label) for box, label in pairs if labels is None or label in labels
    )
