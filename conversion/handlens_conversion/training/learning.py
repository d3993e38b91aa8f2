"""Features and targets -> rows of new labels: the only place that uses torch.

The loss is CenterNet's focal loss (Zhou, Wang and Krähenbühl, "Objects as Points", 2019, after Lin et al., "Focal Loss
for Dense Object Detection", 2017), with a normal prior for the weights of centred and scaled features: what a few
objects happen to share is not learned, and many objects outweigh it. The labels' rows do not depend on each other, so
how often a label occurs weighs on no other label.

Rules:

* Same cells, options, torch and thread count: same rows, bit for bit. Order is drawn from seed and epoch alone.
* After each epoch the state is written, whole. A run that finds a state of the same cells and options goes on from it
  and ends with the rows it would have had; any other state is ignored.

Use::

    rows = learn(cells, labels, scale=head.scale, options=TrainingOptions(), state=folder / "state.pt", key="...")
"""

from __future__ import annotations

import io
import math
import pickle  # nosec B403  # for its error; nothing is unpickled
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from handlens.errors import TrainingDataError
from handlens_conversion.files import write_whole
from handlens_conversion.training.records import Rows, TrainingOptions
from handlens_conversion.training.targets import CERTAIN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from handlens_conversion.training.cells import Cells

__all__ = ["focal_loss", "learn"]

_PRIOR = 0.01  # score of every cell before training, as the focal loss's authors set it
_SURE = 1e-4  # scores are kept so far from 0 and 1, where the loss has no end

Report = Callable[[int, float], None]


def learn(
    cells: Cells,
    labels: tuple[str, ...],
    *,
    scale: tuple[float, int],
    options: TrainingOptions,
    state: Path,
    key: str,
    threads: int = 2,
    report: Report = lambda epoch, loss: None,
) -> Rows:
    """Train one row for each label.

    Args:
        cells: What to learn from; column n of the targets is for label n.
        labels: Names of the labels.
        scale: Scale and zero point of the features.
        options: Seed, epochs, batch and rate.
        state: File of the state; removed by nobody, so that a finished run is not trained again.
        key: Names the cells; a state of other cells or options is ignored.
        threads: torch's threads.
        report: Called after each epoch with its number and its mean loss.

    Raises:
        TrainingDataError: a label has no cell of its own.
    """
    import torch

    objects = np.where(cells.targets == CERTAIN, cells.weights, np.float32(0)).sum(axis=0, dtype=np.float64)
    if not objects.all():
        missing = ", ".join(label for label, count in zip(labels, objects, strict=True) if not count)
        raise TrainingDataError(f"no object of {missing} is seen in any view: give larger boxes or more photos of it")
    torch.set_num_threads(threads)
    mean, spread = _statistics(cells.features, scale)
    model = _Model(len(labels), len(mean), options)
    done = model.restore(state, key)
    for epoch in range(done, options.epochs):
        loss = _epoch(model, cells, mean, spread, scale, objects, options, epoch)
        model.keep(state, key, epoch + 1)
        report(epoch, loss)
    return _rows(model, labels, mean, spread)


def focal_loss(logits: Any, targets: Any) -> Any:
    """Return the loss of each value: `logits` and `targets` (0..1, 1 at a box's centre) have one shape."""
    import torch

    scores = torch.sigmoid(logits).clamp(_SURE, 1 - _SURE)
    hit = -torch.log(scores) * (1 - scores) ** 2
    miss = -torch.log(1 - scores) * scores**2 * (1 - targets) ** 4
    return torch.where(targets >= 1, hit, miss)


class _Model:
    """Rows in training, and their optimizer."""

    def __init__(self, labels: int, features: int, options: TrainingOptions) -> None:
        import torch

        self.weights = torch.zeros(labels, features, requires_grad=True)
        self.bias = torch.full((labels,), float(np.log(_PRIOR / (1 - _PRIOR))), requires_grad=True)
        self.optimizer: Any = torch.optim.Adam([self.weights, self.bias], lr=options.rate)

    def keep(self, path: Path, key: str, epochs: int) -> None:
        import torch

        content = {
            "key": key,
            "epochs": epochs,
            "weights": self.weights.detach(),
            "bias": self.bias.detach(),
            "optimizer": self.optimizer.state_dict(),
        }
        file = io.BytesIO()
        torch.save(content, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, file.getvalue())

    def restore(self, path: Path, key: str) -> int:
        """Take over the state in `path` if it is of these cells; returns how many epochs it has."""
        import torch

        try:
            content = torch.load(path, weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError):
            # Missing or damaged: training starts at the beginning.
            return 0
        if not isinstance(content, dict) or content.get("key") != key:
            return 0
        with torch.no_grad():
            self.weights.copy_(content["weights"])
            self.bias.copy_(content["bias"])
        self.optimizer.load_state_dict(content["optimizer"])
        return int(content["epochs"])


def _epoch(
    model: _Model,
    cells: Cells,
    mean: NDArray[np.float32],
    spread: NDArray[np.float32],
    scale: tuple[float, int],
    objects: NDArray[np.float64],
    options: TrainingOptions,
    epoch: int,
) -> float:
    """One pass over all cells; returns the mean loss of an object."""
    import torch

    order = np.random.default_rng([options.seed, epoch]).permutation(len(cells.features))
    starts = range(0, len(order), options.batch)
    # Losses are means of an object, so the prior of all objects is shared among them.
    prior = torch.from_numpy((0.5 * options.prior / objects).astype(np.float32))
    # One object weighs the same in whichever batch it falls.
    shares = torch.from_numpy(len(starts) / objects.astype(np.float32))
    total = 0.0
    for step, start in enumerate(starts, start=epoch * len(starts)):
        rows = np.sort(order[start : start + options.batch])
        real = (scale[0] * (cells.features[rows].astype(np.float32) - scale[1]) - mean) / spread
        targets = torch.from_numpy(cells.targets[rows].astype(np.float32) / CERTAIN)
        logits = torch.from_numpy(real) @ model.weights.T + model.bias
        losses = (focal_loss(logits, targets) * torch.from_numpy(cells.weights[rows])).sum(dim=0) * shares
        loss = (losses + prior * model.weights.square().sum(dim=1)).mean()
        for group in model.optimizer.param_groups:
            group["lr"] = options.rate * 0.5 * (1 + math.cos(math.pi * step / (options.epochs * len(starts))))
        model.optimizer.zero_grad()
        loss.backward()
        model.optimizer.step()
        total += float(loss.detach())
    return total / len(starts)


def _statistics(
    features: NDArray[np.int8], scale: tuple[float, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and spread of each real feature, float32."""
    sums = np.zeros(features.shape[1])
    squares = np.zeros(features.shape[1])
    # In parts: as float64 all cells would take eight times their room.
    for part in np.array_split(features, max(1, len(features) // 100_000)):
        real = scale[0] * (part.astype(np.float64) - scale[1])
        sums += real.sum(axis=0)
        squares += (real**2).sum(axis=0)
    mean = sums / len(features)
    spread = np.sqrt(np.maximum(squares / len(features) - mean**2, 0.0))
    return mean.astype(np.float32), np.where(spread > 0, spread, 1.0).astype(np.float32)


def _rows(model: _Model, labels: tuple[str, ...], mean: NDArray[np.float32], spread: NDArray[np.float32]) -> Rows:
    """Rows for features as they are, where training saw them centred and scaled."""
    weights = model.weights.detach().numpy() / spread
    bias = model.bias.detach().numpy() - weights @ mean
    return Rows(labels, weights.astype(np.float32), bias.astype(np.float32))
