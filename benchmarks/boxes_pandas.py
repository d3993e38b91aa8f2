"""The same cleaning in pandas, in one process with all rows in memory: the peer of `boxes_scale.py`.

It reads with the pipeline's own reader, so both agree on what a row is; the rules of cleaning are written in pandas.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from handlens_conversion.boxes.cleaning import CleaningSettings, overlap, rank_of
from handlens_conversion.boxes.drawn import read_line
from handlens_conversion.boxes.reasons import Reject
from handlens_conversion.boxes.robots import RobotSettings

_EDGES = ["x_min", "y_min", "x_max", "y_max"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", type=Path, help="folder of .jsonl or .jsonl.gz")
    parser.add_argument("photos", type=Path, help="list of photos")
    arguments = parser.parse_args()
    begun = time.perf_counter()
    left: Counter[str] = Counter()
    frame = read(arguments.events, left)
    listed = {json.loads(line)["image"] for line in arguments.photos.read_text("utf-8").splitlines()}
    kept = clean(frame, listed, left)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    told = {"seconds": round(time.perf_counter() - begun, 2), "peak_mb": round(peak), "used": len(kept)}
    print(json.dumps({**told, "left_out": dict(sorted(left.items()))}))


def lines_of(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.iterdir()):
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield from (line for line in file if line.strip())


def read(folder: Path, left: Counter[str]) -> pd.DataFrame:
    rows = []
    for line in lines_of(folder):
        found = read_line(line)
        if isinstance(found, Reject):
            left[found.reason.value] += 1
        else:
            rank = rank_of(found.event_id)
            rows.append((found.event_id, found.user, found.photo, found.at, rank, *found.box))
    return pd.DataFrame(rows, columns=["event_id", "user", "photo", "at", "rank", *_EDGES])


def clean(frame: pd.DataFrame, listed: set[str], left: Counter[str]) -> pd.DataFrame:
    settings = CleaningSettings()
    frame = frame.sort_values(["photo", "rank", "event_id", "at"], kind="stable")
    frame = keep(frame, ~frame.duplicated(["photo", "event_id"]), "seen-before", left)
    frame = keep(frame, ~frame["user"].isin(robots(frame)), "robot", left)
    place = frame.sort_values(["rank", "event_id"]).groupby("user").cumcount()
    frame = keep(frame, place.reindex(frame.index) < settings.per_user, "over-user-cap", left)
    frame = keep(frame, frame["photo"].isin(listed), "unknown-photo", left)
    frame = keep(frame, frame.groupby("photo").cumcount() < 20_000, "over-photo-cap", left)
    width, height = frame["x_max"] - frame["x_min"], frame["y_max"] - frame["y_min"]
    big = (np.minimum(width, height) >= settings.min_side) & (width * height >= settings.min_area)
    frame = keep(frame, big, "degenerate", left)
    edges = np.maximum.reduce([frame["x_min"], frame["y_min"], 1 - frame["x_max"], 1 - frame["y_max"]])
    frame = keep(frame, pd.Series(edges > settings.whole_margin, frame.index), "whole-photo", left)
    mine = frame.groupby(["photo", "user"])
    frame = keep(frame, mine.cumcount() < settings.per_user_photo, "over-user-cap", left)
    frame = keep(frame, ~frame.index.isin(repeats(frame, settings.repeat_iou)), "repeat", left)
    return keep(frame, frame.groupby("photo").cumcount() < settings.per_photo, "over-photo-cap", left)


def keep(frame: pd.DataFrame, good: pd.Series, reason: str, left: Counter[str]) -> pd.DataFrame:
    kept = frame[np.asarray(good)]
    if len(kept) < len(frame):
        left[reason] += len(frame) - len(kept)
    return kept


def robots(frame: pd.DataFrame) -> set[str]:
    rules = RobotSettings()
    counts = frame["user"].value_counts()
    much = frame[frame["user"].isin(counts.index[counts >= rules.min_boxes])]
    hourly = much.groupby(["user", np.floor(much["at"] / 3600)]).size().groupby("user").max()
    steps = np.floor(much[_EDGES] * 8 + 0.5)
    shape = ((steps["x_min"] * 9 + steps["y_min"]) * 9 + steps["x_max"]) * 9 + steps["y_max"]
    share = much.groupby(["user", shape]).size() / counts.reindex(much["user"].unique()).rename_axis("user")
    entropy = (-share * np.log2(share)).groupby("user").sum()
    return set(hourly.index[hourly > rules.max_hourly]) | set(entropy.index[entropy < rules.min_entropy])


def repeats(frame: pd.DataFrame, most: float) -> list[int]:
    again = frame[frame.duplicated(["photo", "user"], keep=False)]
    ordered = again.assign(late=-again["at"]).sort_values(["photo", "user", "late", "event_id"])
    lost, owner, kept = [], None, []
    for at, photo, user, *box in ordered[["photo", "user", *_EDGES]].itertuples(name=None):
        if (photo, user) != owner:
            owner, kept = (photo, user), []
        if any(overlap(tuple(box), other) > most for other in kept):
            lost.append(at)
        else:
            kept.append(tuple(box))
    return lost


if __name__ == "__main__":
    main()
