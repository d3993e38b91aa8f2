"""What all partitions of photos found, added up: one line from each, in any order.

::

    total = Summary.sum(row.told for row in rows)
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from handlens_conversion.pipeline.tally import Tally

__all__ = ["Summary"]


@dataclass
class Summary:
    """What a partition of photos adds to the totals."""

    tally: Tally = field(default_factory=Tally)
    used: int = 0  # boxes that no rule left out
    photos: int = 0  # listed, with at least one box
    labels: Counter[str] = field(default_factory=Counter)  # objects by label
    licences: Counter[str] = field(default_factory=Counter)  # photos with objects by licence

    def to_json(self) -> str:
        """The summary as one line."""
        return json.dumps(
            {
                "tally": self.tally.to_dict(),
                "used": self.used,
                "photos": self.photos,
                "labels": self.labels,
                "licences": self.licences,
            },
            ensure_ascii=False,
        )

    @classmethod
    def sum(cls, lines: Iterable[str]) -> Summary:
        """All summaries that `to_json` wrote, as one."""
        total, tallies = cls(), []
        for values in map(json.loads, lines):
            tallies.append(Tally.from_dict(values["tally"]))
            total.used += values["used"]
            total.photos += values["photos"]
            total.labels.update(values["labels"])
            total.licences.update(values["licences"])
        total.tally = Tally.sum(tallies)
        return total
