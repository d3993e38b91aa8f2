"""A data set in a folder, as photos come: COCO JSON for each side of the split, two Parquet tables, and its figures.

::

    figures = write_dataset(folder, records, sides, labels=["cup"], info={...})
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handlens_conversion.pipeline.coco_json import CocoFile
from handlens_conversion.pipeline.groups import SIDES
from handlens_conversion.pipeline.photo_work import PhotoRecord
from handlens_conversion.pipeline.tables import Tables

__all__ = ["Figures", "Sides", "write_dataset"]

Sides = Mapping[str, tuple[str, str]]  # photo -> side of the split, name of its group


@dataclass
class Figures:
    """Counts of a data set; histograms have one count a step of `STEP` from 0 to 1."""

    photos: Counter[str] = field(default_factory=Counter)  # by side
    objects: Counter[str] = field(default_factory=Counter)  # by side
    labels: Counter[str] = field(default_factory=Counter)  # objects by label; "" has none
    sources: Counter[str] = field(default_factory=Counter)  # objects by what their label rests on, joined by +
    licences: Counter[str] = field(default_factory=Counter)  # photos
    users: Counter[int] = field(default_factory=Counter)  # objects by number of users
    agreement: Counter[int] = field(default_factory=Counter)  # objects by step of agreement
    error: Counter[int] = field(default_factory=Counter)  # objects by 1/1,000 of the photo, largest of four edges
    near_duplicates: int = 0  # photos in the group of another
    places: int = 0  # where users drew and nobody agreed

    def add(self, record: PhotoRecord, side: str, group: str) -> None:
        """Count one photo."""
        self.photos[side] += 1
        self.objects[side] += len(record.objects)
        self.licences[record.listed.licence or "not stated"] += 1
        self.near_duplicates += group != record.listed.photo
        self.places += len(record.places)
        for one in record.objects:
            self.labels[one.label or ""] += 1
            self.sources["+".join(one.label_sources) or "none"] += 1
            self.users[one.users] += 1
            self.agreement[min(int(one.agreement / STEP), round(1 / STEP) - 1)] += 1
            self.error[min(int(max(one.uncertainty) * 1000), MOST_ERROR)] += 1


STEP = 0.05
MOST_ERROR = 60  # thousandths; what is above counts here


def write_dataset(
    folder: Path, records: Iterable[PhotoRecord], sides: Sides, *, labels: Sequence[str], info: Mapping[str, Any]
) -> Figures:
    """Write the files; `labels` are the categories in order."""
    figures = Figures()
    with ExitStack() as stack:
        files = {
            side: stack.enter_context(CocoFile(folder / f"{side}.json", labels, info={**info, "split": side}))
            for side in SIDES
        }
        tables = stack.enter_context(Tables(folder))
        for record in records:
            side, group = sides[record.listed.photo]
            files[side].add(record)
            tables.add(record, side=side, group=group)
            figures.add(record, side, group)
    return figures
