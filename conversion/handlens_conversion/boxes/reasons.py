"""Why a box is not used: a closed list, so that every box that came in is counted somewhere.

Three groups, told apart by `RejectReason.group`:

* ``bad``: the row is not what the format says. A job may refuse to go on when too many are.
* ``skipped``: a good row that is no drawn box, or one that was read before.
* ``cleaned``: a good box that a rule of cleaning takes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Reject", "RejectReason"]

MAX_SAMPLE = 160  # characters of a sample


class RejectReason(Enum):
    """Why a row or a box is left out; the value is its name in reports."""

    NOT_UNICODE = "not-unicode"  # the line is not UTF-8
    NOT_JSON = "not-json"  # not a JSON object, or one cut short
    UNKNOWN_FORMAT = "unknown-format"  # of a format that this version does not read
    BAD_FIELD = "bad-field"  # a field is missing, or of another type or length
    BAD_TIME = "bad-time"  # not a time in UTC
    FUTURE_TIME = "future-time"  # drawn after it arrived, or after the end of the export
    BAD_WORDS = "bad-words"  # the words are no text: lone surrogates, control or replacement characters
    NOT_FINITE = "not-finite"  # an edge is NaN or infinite
    INVERTED = "inverted"  # left is right of right, or top below bottom
    IN_PIXELS = "in-pixels"  # edges far above 1
    NEGATIVE = "negative"  # edges further below 0 than a finger slips
    OUTSIDE = "outside"  # edges further above 1 than a finger slips
    BROKEN_FILE = "broken-file"  # the rest of a file that cannot be read
    UNKNOWN_PHOTO = "unknown-photo"  # no photo has this id
    MISSING_PHOTO = "missing-photo"  # the photo's file is not there
    CORRUPT_PHOTO = "corrupt-photo"  # the photo's file is no picture
    NO_PHOTO = "no-photo"  # the box names no picture that others could have drawn on
    OTHER_KIND = "other-kind"  # a search, a click...
    SEEN_BEFORE = "seen-before"  # the same event again
    DEGENERATE = "degenerate"  # too small or too thin to be an object
    WHOLE_PHOTO = "whole-photo"  # all of the photo: drawn by who did not look
    REPEAT = "repeat"  # the user drew this object again later
    OVER_USER_CAP = "over-user-cap"  # beyond what one user may add
    OVER_PHOTO_CAP = "over-photo-cap"  # beyond what one photo can use
    ROBOT = "robot"  # its user is a program

    @property
    def group(self) -> str:
        """``bad``, ``skipped`` or ``cleaned``."""
        if self in _SKIPPED:
            return "skipped"
        return "cleaned" if self in _CLEANED else "bad"


_SKIPPED = frozenset({RejectReason.NO_PHOTO, RejectReason.OTHER_KIND, RejectReason.SEEN_BEFORE})
_CLEANED = frozenset(
    {
        RejectReason.DEGENERATE,
        RejectReason.WHOLE_PHOTO,
        RejectReason.REPEAT,
        RejectReason.OVER_USER_CAP,
        RejectReason.OVER_PHOTO_CAP,
        RejectReason.ROBOT,
    }
)


@dataclass(frozen=True, slots=True)
class Reject:
    """One row or box that is left out, and what of it to show a person: never the user's id."""

    reason: RejectReason
    sample: str

    def __post_init__(self) -> None:
        if len(self.sample) > MAX_SAMPLE:
            object.__setattr__(self, "sample", self.sample[: MAX_SAMPLE - 3] + "...")
