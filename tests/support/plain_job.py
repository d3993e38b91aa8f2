"""The pipeline on lists: what Spark must carry to the same end. One function a rule, all data in memory."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from handlens_conversion.boxes.cleaning import clean_photo, keep_fewest, rank_of
from handlens_conversion.boxes.drawn import DrawnBox, read_line
from handlens_conversion.boxes.mode_fit import fit_modes
from handlens_conversion.boxes.reasons import Reject, RejectReason
from handlens_conversion.boxes.robots import robot_verdict, statistics_of
from handlens_conversion.pipeline.job import JobRules
from handlens_conversion.pipeline.photo_rows import ListedPhoto
from handlens_conversion.pipeline.photo_work import LookAt, PhotoRecord, work_on

__all__ = ["plain_job"]


def plain_job(
    lines: Iterable[bytes], listed: Mapping[str, ListedPhoto], rules: JobRules, look_at: LookAt
) -> tuple[list[PhotoRecord], Counter[RejectReason], int]:
    """The records in the order of photo ids, why rows were left out, and how many boxes were used."""
    left: Counter[RejectReason] = Counter()
    read: list[DrawnBox] = []
    for line in lines:
        found = read_line(line, rules.events)
        if isinstance(found, Reject):
            left[found.reason] += 1
        else:
            read.append(found)
    drawn = _under_caps(_by_people(_once(read, left), rules, left), rules, left)
    known = [one for one in drawn if one.photo in listed]
    left[RejectReason.UNKNOWN_PHOTO] += len(drawn) - len(known)
    photos: dict[str, list[DrawnBox]] = defaultdict(list)
    for one in known:
        photos[one.photo].append(one)
    modes = fit_modes([clean_photo(boxes, rules.photo.cleaning).kept for boxes in photos.values()], rules.modes)
    records, used = [], 0
    for photo, boxes in sorted(photos.items()):
        record, kept, rejects = work_on(listed[photo], boxes, rules.photo, look_at=look_at, modes=modes)
        used += kept
        left.update(one.reason for one in rejects)
        if record is not None:
            records.append(record)
    return records, +left, used


def _once(drawn: Sequence[DrawnBox], left: Counter[RejectReason]) -> list[DrawnBox]:
    once = {(one.photo, one.event_id): one for one in drawn}
    left[RejectReason.SEEN_BEFORE] += len(drawn) - len(once)
    return list(once.values())


def _by_user(drawn: Sequence[DrawnBox]) -> dict[str, list[DrawnBox]]:
    users: dict[str, list[DrawnBox]] = defaultdict(list)
    for one in drawn:
        users[one.user].append(one)
    return users


def _by_people(drawn: Sequence[DrawnBox], rules: JobRules, left: Counter[RejectReason]) -> list[DrawnBox]:
    people = [
        mine for mine in _by_user(drawn).values() if not robot_verdict(statistics_of(mine), rules.robots).is_robot
    ]
    kept = [one for mine in people for one in mine]
    left[RejectReason.ROBOT] += len(drawn) - len(kept)
    return kept


def _under_caps(drawn: Sequence[DrawnBox], rules: JobRules, left: Counter[RejectReason]) -> list[DrawnBox]:
    kept: list[DrawnBox] = []
    for mine in _by_user(drawn).values():
        capped = keep_fewest(mine, rules.photo.cleaning.per_user, RejectReason.OVER_USER_CAP)
        left.update(one.reason for one in capped.rejects)
        kept += capped.kept
    return sorted(kept, key=lambda one: (rank_of(one.event_id), one.event_id))
