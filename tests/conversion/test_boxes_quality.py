"""What the consensus is for: nearer to the truth than what is simpler, on the same boxes."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from support.paths import EVALUATION, ROOT

from handlens_conversion.boxes.noise import NOISES
from handlens_conversion.boxes.simulate import SimulationOptions
from handlens_conversion.boxes.truth import TrueObject, TruePhoto

sys.path.append(str(ROOT / "benchmarks"))
from box_measure import load_file, methods, rate, simulated, ways_of


def scenes(count: int) -> list[TruePhoto]:
    """Photos with three objects in different places, some of them near each other."""
    random = np.random.default_rng(11)
    photos = []
    for at in range(count):
        corners = random.uniform(0.02, 0.5, (3, 2))
        objects = [
            TrueObject((x, y, x + width, y + height), word)
            for (x, y), (width, height), word in zip(
                corners.tolist(), random.uniform(0.15, 0.45, (3, 2)).tolist(), ("cup", "pear", "lamp"), strict=True
            )
        ]
        photos.append(TruePhoto(f"p{at}", (640, 480), "train", tuple(objects)))
    return photos


def test_with_half_of_the_boxes_junk_it_is_better_than_every_baseline() -> None:
    crowds = simulated(scenes(60), SimulationOptions(events=1500, seed=12, users=400, noise=NOISES["half-junk"]))
    figures = {name: rate(crowds, method) for name, method in methods(ways_of(crowds)).items()}
    ours = figures.pop("handlens")
    for figure in ("recall", "precision", "iou"):
        assert ours[figure] >= max(row[figure] for row in figures.values())
    assert ours["label"] > 0.98


@pytest.mark.skipif(not (EVALUATION / "raw_boxes").is_dir(), reason=f"no evaluation data at {EVALUATION}")
def test_objects_that_three_users_drew_well_are_found_in_the_evaluation_file() -> None:
    crowds = load_file(EVALUATION)
    found = rate(crowds, methods(ways_of(crowds))["handlens"])
    assert found["recall"] >= 0.99
    assert found["precision"] >= 0.985
    assert found["iou"] >= 0.925
    assert found["label"] >= 0.99
