"""Tallies add up in any order, and keep the same samples."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from handlens_conversion.boxes.reasons import Reject, RejectReason
from handlens_conversion.pipeline.tally import KEPT_SAMPLES, Tally

REJECTS = st.lists(st.builds(Reject, st.sampled_from(RejectReason), st.text(max_size=3)), max_size=60)


def tally_of(rejects: list[Reject]) -> Tally:
    tally = Tally()
    tally.rows = len(rejects)
    for one in rejects:
        tally.add(one)
    return tally


@given(REJECTS, st.randoms(use_true_random=False))
def test_any_grouping_and_order_gives_the_same_tally(rejects: list[Reject], chance: random.Random) -> None:
    whole = tally_of(rejects).to_dict()
    shuffled = chance.sample(rejects, len(rejects))
    cut = chance.randint(0, len(shuffled))
    parts = [tally_of(shuffled[:cut]), tally_of(shuffled[cut:])]
    assert Tally.sum(Tally.from_dict(one.to_dict()) for one in parts).to_dict() == whole


def test_every_row_is_counted_and_few_are_shown() -> None:
    tally = tally_of([Reject(RejectReason.NOT_JSON, f"line {at}") for at in range(1000)])
    assert tally.counts[RejectReason.NOT_JSON] == 1000
    assert len(tally.samples(RejectReason.NOT_JSON)) == KEPT_SAMPLES


def test_only_what_breaks_the_format_is_bad() -> None:
    tally = tally_of([Reject(reason, "") for reason in RejectReason])
    assert tally.bad == sum(reason.group == "bad" for reason in RejectReason) > 0
    assert tally.bad_share == tally.bad / len(RejectReason)
