"""Rows are learned from cells: right, the same each time, and from where a killed run stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install '.[conversion]'")

from handlens.errors import TrainingDataError  # noqa: E402
from handlens_conversion.training.cells import Cells  # noqa: E402
from handlens_conversion.training.learning import focal_loss, learn  # noqa: E402
from handlens_conversion.training.records import Rows, TrainingOptions  # noqa: E402

pytestmark = pytest.mark.heavy

SCALE = (0.05, -10)
OPTIONS = TrainingOptions(epochs=6, batch=500, rate=0.05)


def cells() -> Cells:
    """Two labels, each told by one feature of eight."""
    random = np.random.default_rng(5)
    features = random.integers(-128, 127, (4000, 8)).astype(np.int8)
    targets = np.where(features[:, :2] > 90, 255, 0).astype(np.uint8)
    return Cells(features, targets, np.ones((4000, 2), np.float32))


def taught(folder: Path, options: TrainingOptions = OPTIONS, **given: object) -> Rows:
    return learn(
        cells(), ("a", "b"), scale=SCALE, options=options, state=folder / "state.pt", key="k", threads=1, **given
    )  # type: ignore[arg-type]


class KilledError(Exception):
    """Stands for a power cut."""


def killing(after: int) -> object:
    def report(epoch: int, loss: float) -> None:
        if epoch + 1 == after:
            raise KilledError

    return report


def test_each_label_is_told_by_its_feature(tmp_path: Path) -> None:
    rows = taught(tmp_path)
    assert rows.labels == ("a", "b")
    assert np.abs(rows.weights).argmax(axis=1).tolist() == [0, 1]
    examples = cells()
    real = SCALE[0] * (examples.features.astype(np.float32) - SCALE[1])
    logits = real @ rows.weights.T + rows.bias
    for label in range(2):
        hit = examples.targets[:, label] == 255
        assert logits[hit, label].mean() > logits[~hit, label].mean() + 2


def test_the_same_seed_gives_the_same_bits(tmp_path: Path) -> None:
    first, again = taught(tmp_path / "first"), taught(tmp_path / "again")
    assert np.array_equal(first.weights, again.weights)
    assert np.array_equal(first.bias, again.bias)


@pytest.mark.parametrize("after", [1, 3, 6])
def test_a_killed_training_ends_with_the_rows_it_would_have_had(tmp_path: Path, after: int) -> None:
    whole = taught(tmp_path / "whole")
    with pytest.raises(KilledError):
        taught(tmp_path / "killed", report=killing(after))
    epochs: list[int] = []
    again = taught(tmp_path / "killed", report=lambda epoch, loss: epochs.append(epoch))
    assert epochs == list(range(after, OPTIONS.epochs))
    assert np.array_equal(whole.weights, again.weights)
    assert np.array_equal(whole.bias, again.bias)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a state"])
def test_a_damaged_state_is_no_state(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.pt").write_bytes(content)
    epochs: list[int] = []
    taught(tmp_path, report=lambda epoch, loss: epochs.append(epoch))
    assert epochs == list(range(OPTIONS.epochs))


def test_a_state_of_other_cells_is_not_gone_on_from(tmp_path: Path) -> None:
    taught(tmp_path)
    epochs: list[int] = []
    learn(
        cells(),
        ("a", "b"),
        scale=SCALE,
        options=OPTIONS,
        state=tmp_path / "state.pt",
        key="other",
        report=lambda epoch, loss: epochs.append(epoch),
    )
    assert len(epochs) == OPTIONS.epochs


def test_a_label_that_is_in_no_view_is_named(tmp_path: Path) -> None:
    seen = cells()
    seen.targets[:, 1] = 0
    with pytest.raises(TrainingDataError, match="no object of b is seen"):
        learn(seen, ("a", "b"), scale=SCALE, options=OPTIONS, state=tmp_path / "state.pt", key="k")


def test_an_object_of_many_cells_weighs_as_much_as_one_of_a_single_cell(tmp_path: Path) -> None:
    one = cells()
    # Four copies of each certain cell, each a quarter of an object.
    certain = (one.targets == 255).any(axis=1)
    spread = Cells(
        np.concatenate([one.features, *[one.features[certain]] * 3]),
        np.concatenate([one.targets, *[one.targets[certain]] * 3]),
        np.concatenate([np.where(certain[:, None], one.weights / 4, one.weights), *[one.weights[certain] / 4] * 3]),
    )
    options = TrainingOptions(epochs=200, batch=100_000, rate=0.05)
    rows = [
        learn(of, ("a", "b"), scale=SCALE, options=options, state=tmp_path / name, key="k", threads=1)
        for name, of in (("one", one), ("spread", spread))
    ]
    real = SCALE[0] * (one.features.astype(np.float32) - SCALE[1])
    logits = [real @ row.weights.T + row.bias for row in rows]
    assert np.corrcoef(logits[0].ravel(), logits[1].ravel())[0, 1] > 0.999


def test_few_objects_move_the_weights_less_than_many(tmp_path: Path) -> None:
    def size(prior: float) -> float:
        options = TrainingOptions(epochs=30, batch=100_000, rate=0.05, prior=prior)
        rows = learn(cells(), ("a", "b"), scale=SCALE, options=options, state=tmp_path / f"{prior}", key="k", threads=1)
        return float(np.square(rows.weights).sum())

    # To an object, a prior ten times as strong is one beside a tenth of the objects.
    assert size(0) > size(100) > size(1000)


def test_the_loss_is_small_where_the_score_is_right_and_forgiving_near_a_middle() -> None:
    logits, targets = torch.tensor([4.0, -4.0, 4.0, -4.0]), torch.tensor([1.0, 0.0, 0.0, 1.0])
    right, also_right, false_alarm, missed = focal_loss(logits, targets).tolist()
    assert max(right, also_right) < 0.001 < 1 < min(false_alarm, missed)
    near = focal_loss(torch.tensor([4.0]), torch.tensor([0.9])).item()
    assert near < false_alarm / 1000
