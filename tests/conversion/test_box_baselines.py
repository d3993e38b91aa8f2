"""The baselines that the consensus is measured beside are what they are named after."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from support.paths import ROOT

from handlens_conversion.boxes.drawn import DrawnBox

sys.path.append(str(ROOT / "benchmarks"))
from box_baselines import BASELINES, fused


def drawn(user: int, left: float) -> DrawnBox:
    return DrawnBox(f"e{user}", f"u{user}", "p", (left, 0.2, left + 0.4, 0.6), "cup", 0.0)


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_a_baseline_finds_what_enough_users_drew_and_nothing_else(name: str) -> None:
    boxes = [drawn(user, 0.2 + 0.01 * user) for user in range(3)] + [drawn(9, 0.59)]
    (found,) = BASELINES[name](boxes, 3)
    assert (found.users, found.word) == (3, "cup")
    assert found.box == pytest.approx([0.21, 0.2, 0.61, 0.6])
    assert BASELINES[name](boxes[:2], 3) == BASELINES[name]([], 3) == []


def test_weighted_boxes_fusion_is_that_of_its_authors() -> None:
    library = pytest.importorskip(
        "ensemble_boxes", reason="needs ensemble-boxes (which brings numba); scripts/test all installs it"
    )
    random = np.random.default_rng(3)
    scores = [[1 - 1e-6 * row] for row in range(20)]  # in the order of rows, as ours takes them
    for _ in range(20):
        corner = np.repeat(random.uniform(0, 0.6, (4, 2)), 5, axis=0) + random.normal(0, 0.02, (20, 2))
        edges = np.clip(np.concatenate([corner, corner + random.normal(0.3, 0.02, (20, 2))], axis=1), 0, 1)
        theirs, _, _ = library.weighted_boxes_fusion(
            [edges[row : row + 1].tolist() for row in range(20)], scores, [[0]] * 20, iou_thr=0.55
        )
        ours, _ = fused(edges, 0.55)
        order = [np.lexsort(boxes.T) for boxes in (ours, theirs)]
        assert ours[order[0]] == pytest.approx(theirs[order[1]], abs=1e-4)
