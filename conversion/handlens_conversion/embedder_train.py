"""Trains the embedder's head on cached features, and the PCA that it is compared with.

The head is one linear map, trained as a classifier whose class vectors and embeddings are both of unit length
("normalised softmax": Zhai and Wu, "Classification is a strong baseline for deep metric learning", 2019), started from
the PCA of the network's last features. What keeps it from forgetting what the network knows of things it is not
trained on:

- It reads the ends of earlier stages besides the last features (see `TAPS`): colour and texture are there for every
  class, and the last features of a classifier forget them.
- Half of the inputs are dropped in each step and noise is added, so no embedding leans on a few channels.
- The softmax is soft (small scale), so classes are not pulled into points.
- A part of the PCA that it started from is mixed back in (as in Wortsman et al., "Robust fine-tuning of zero-shot
  models", 2022): measured on classes never trained on, that gives back what training had cost.

The heads of several seeds start at the same map and are averaged, which is steadier than the best of them.

Use::

    head = train(features, labels, taps, options=TrainOptions(seeds=(0, 1, 2)))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from handlens.errors import ModelError
from handlens_conversion.embedder_features import extract
from handlens_conversion.embedder_head import Head, save_head
from handlens_conversion.embedder_network import TAPS
from handlens_conversion.embedder_parent import float_features, training_list
from handlens_conversion.retrieval_data import save_training_list, training_photos

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TrainOptions", "pca", "train", "train_on"]

_TINY = 1e-6


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """How a head is trained. Figures without a unit are plain factors."""

    dim: int = 128
    epochs: int = 15
    batch: int = 256
    rate: float = 2e-3  # peak learning rate of the one-cycle schedule (Smith and Topin, 2018)
    scale: float = 10.0  # of the cosines in the softmax
    dropout: float = 0.5  # part of the standardised features that is dropped in a step
    noise: float = 0.2  # standard deviations of a feature
    keep: float = 0.2  # part of the start in the final map
    seeds: tuple[int, ...] = (0, 1, 2)
    space: str = "handlens-e1"
    taps: tuple[str, ...] = ("block14", "block15", "top")

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return {**asdict(self), "seeds": list(self.seeds), "taps": list(self.taps)}

    @classmethod
    def of(cls, head: Head) -> TrainOptions:
        """The options that a head was trained with.

        Raises:
            ModelError: the head does not say.
        """
        known = {name: head.about[name] for name in cls.__slots__ if name in head.about}
        if set(known) != set(cls.__slots__):
            raise ModelError("the head does not say how it was trained: train it with 'handlens-convert train head'")
        return cls(**{**known, "seeds": tuple(known["seeds"]), "taps": tuple(known["taps"])})


def pca(features: NDArray[np.float32], taps: Sequence[str], *, dim: int = 128, space: str = "pca") -> Head:
    """The head that projects on the `dim` main axes, each over the root of its standard deviation (half whitened).

    `features` is (n, channels). Nothing is learned from labels.
    """
    mean, axes = _half_whitened(features.astype(np.float64), dim)
    return Head(space, tuple(taps), axes.astype(np.float32), (-mean @ axes).astype(np.float32), {"method": "pca"})


def train(
    features: NDArray[np.float32],
    labels: Sequence[str],
    taps: Sequence[str],
    *,
    options: TrainOptions | None = None,
    threads: int = 2,
    progress: bool = True,
) -> Head:
    """Train a head on features (n, channels) and their labels.

    Raises:
        ModelError: PyTorch is missing, or there are fewer than two classes or fewer photographs than a batch.
    """
    torch = _torch(threads)
    chosen = options or TrainOptions()
    classes = {label: number for number, label in enumerate(sorted(set(labels)))}
    if len(classes) < 2 or len(features) < chosen.batch:
        raise ModelError(
            f"{len(features)} photographs of {len(classes)} classes are too few: "
            f"a head needs two classes and {chosen.batch} photographs"
        )
    numbers = np.array([classes[label] for label in labels])
    spread = features.std(axis=0) + _TINY
    mean = features.mean(axis=0)
    standard = (features - mean) / spread
    start = _of_mean_length_one((_start(features, taps, chosen.dim) * spread[:, None]).astype(np.float32), standard)
    maps = [_train_one(torch, standard, numbers, start, chosen, seed, progress) for seed in chosen.seeds]
    trained = _of_mean_length_one(np.mean(maps, axis=0), standard)
    weights = (((1 - chosen.keep) * trained + chosen.keep * start) / spread[:, None]).astype(np.float32)
    about = {"method": "normalised softmax", "photos": len(features), "classes": len(classes), **chosen.to_dict()}
    return Head(chosen.space, tuple(taps), weights, (-mean @ weights).astype(np.float32), about)


def train_on(
    data: Path, out: Path, *, cache: Path, options: TrainOptions, threads: int = 2, progress: bool = True
) -> Path:
    """Train a head on the photographs in `data` that it may be trained on; write it to `out`, their list beside it.

    Returns:
        The list's path.

    Raises:
        ModelError: the packages, PyTorch or the data cannot be used.
        ImageError: a photograph cannot be read.
    """
    photos = training_photos(data)
    files = [data / photo.image for photo in photos]
    model = float_features(cache)
    features = extract(files, model=model, cache=cache, what="features", threads=threads, progress=progress)
    labels = [photo.label for photo in photos]
    head = train(features.of(options.taps), labels, options.taps, options=options, threads=threads, progress=progress)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_head(head, out)
    listed = training_list(out)
    save_training_list(photos, listed)
    return listed


def _torch(threads: int) -> Any:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ModelError("PyTorch is needed to train a head: pip install 'handlens[conversion]'") from error
    torch.set_num_threads(threads)
    return torch


def _start(features: NDArray[np.float32], taps: Sequence[str], dim: int) -> NDArray[np.float64]:
    """The half-whitened PCA of the last tap's features; the rows of the taps before it are zero."""
    width = TAPS[taps[-1]]
    start = np.zeros((features.shape[1], dim))
    start[-width:] = _half_whitened(features[:, -width:].astype(np.float64), dim)[1]
    return start


def _of_mean_length_one(weights: NDArray[np.float32], inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scaled so that the embeddings of the inputs have a mean length of 1."""
    return np.asarray(weights / np.linalg.norm(inputs @ weights, axis=1).mean(), dtype=np.float32)


def _half_whitened(features: NDArray[np.float64], dim: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean, and the main axes as columns, each over the root of its standard deviation."""
    mean = features.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(features - mean, rowvar=False))
    axes, deviations = vectors[:, ::-1][:, :dim], np.sqrt(np.maximum(values[::-1][:dim], _TINY**2))
    # The sign of an axis is free; fixed, so that every machine gets the same head.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(dim)])
    return mean, axes / np.sqrt(deviations)


def _train_one(
    torch: Any,
    standard: NDArray[np.float32],
    numbers: NDArray[np.intp],
    start: NDArray[np.float32],
    options: TrainOptions,
    seed: int,
    progress: bool,
) -> NDArray[np.float32]:
    """One run from `start`: the map from standardised features to the embedding."""
    from tqdm import trange

    random = torch.Generator().manual_seed(seed)
    inputs, truth = torch.from_numpy(standard), torch.from_numpy(numbers)
    weights = torch.nn.Parameter(torch.from_numpy(start.copy()))
    proxies = torch.nn.Parameter(_class_means(torch, inputs @ weights.detach(), truth))
    steps = len(standard) // options.batch
    optimizer = torch.optim.Adam([weights, proxies], lr=options.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.rate, total_steps=options.epochs * steps)
    unit, entropy = torch.nn.functional.normalize, torch.nn.functional.cross_entropy
    for _ in trange(options.epochs, desc=f"head, seed {seed}", unit="epoch", disable=not progress):
        order = torch.randperm(len(standard), generator=random)
        for step in range(steps):
            rows = order[step * options.batch : (step + 1) * options.batch]
            embedded = unit(_disturbed(torch, inputs[rows], options, random) @ weights, dim=1)
            loss = entropy(options.scale * embedded @ unit(proxies, dim=1).T, truth[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    trained: NDArray[np.float32] = weights.detach().numpy()
    return trained


def _disturbed(torch: Any, inputs: Any, options: TrainOptions, random: Any) -> Any:
    kept = torch.rand(inputs.shape, generator=random) >= options.dropout
    return inputs * kept / (1 - options.dropout) + options.noise * torch.randn(inputs.shape, generator=random)


def _class_means(torch: Any, embedded: Any, truth: Any) -> Any:
    unit = torch.nn.functional.normalize(embedded, dim=1)
    sums = torch.zeros(int(truth.max()) + 1, unit.shape[1]).index_add_(0, truth, unit)
    return torch.nn.functional.normalize(sums, dim=1)
