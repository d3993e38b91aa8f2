"""Why rows were left out: how many for each reason, and a few of them to show.

Rules:

1. Tallies add up in any order and grouping: the samples kept are the least `KEPT_SAMPLES` by their hash, not the first
   that came.
2. A tally is a value that a task returns with its rows. (Spark's accumulators count again what is run again.)

::

    tally.add(Reject(RejectReason.NOT_JSON, "{"))
    total = Tally.sum([tally, other])
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from handlens_conversion.boxes.reasons import Reject, RejectReason

__all__ = ["KEPT_SAMPLES", "Tally"]

KEPT_SAMPLES = 5  # of each reason


class Tally:
    """Counts of rows by reason, with samples; `rows` counts all that were read, used or not."""

    def __init__(self) -> None:
        self.rows = 0
        self.counts: Counter[RejectReason] = Counter()
        self._samples: dict[RejectReason, dict[str, bytes]] = defaultdict(dict)

    def add(self, reject: Reject) -> None:
        """Count one row that is left out."""
        self.count(reject.reason, 1, (reject.sample,))

    def count(self, reason: RejectReason, number: int, samples: Iterable[str] = ()) -> None:
        """Count some rows with one reason."""
        self.counts[reason] += number
        kept = self._samples[reason]
        for sample in samples:
            kept.setdefault(sample, _hash(sample))
        if len(kept) > KEPT_SAMPLES:
            self._samples[reason] = dict(sorted(kept.items(), key=lambda one: (one[1], one[0]))[:KEPT_SAMPLES])

    @property
    def bad(self) -> int:
        """How many rows are not what the format says."""
        return sum(number for reason, number in self.counts.items() if reason.group == "bad")

    @property
    def bad_share(self) -> float:
        """`bad` of all rows, 0..1."""
        return self.bad / self.rows if self.rows else 0.0

    @property
    def left_out(self) -> int:
        """How many rows are not used, for any reason."""
        return self.counts.total()

    def samples(self, reason: RejectReason) -> list[str]:
        """What to show a person of a reason, in alphabetical order."""
        return sorted(self._samples.get(reason, ()))

    def to_dict(self) -> dict[str, Any]:
        """The JSON object; reasons in the order of `RejectReason`."""
        reasons = [reason for reason in RejectReason if self.counts[reason]]
        listed = {one.value: {"count": self.counts[one], "samples": self.samples(one)} for one in reasons}
        return {"rows": self.rows, "reasons": listed}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Tally:
        """The tally that `to_dict` wrote."""
        tally = cls()
        tally.rows = values["rows"]
        for name, told in values["reasons"].items():
            tally.count(RejectReason(name), told["count"], told["samples"])
        return tally

    @classmethod
    def sum(cls, tallies: Iterable[Tally]) -> Tally:
        """All of them as one."""
        total = cls()
        for one in tallies:
            total.rows += one.rows
            for reason, number in one.counts.items():
                total.count(reason, number, one.samples(reason))
        return total


def _hash(sample: str) -> bytes:
    return hashlib.blake2b(sample.encode("utf-8", "surrogatepass"), digest_size=8).digest()
