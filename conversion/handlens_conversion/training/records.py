"""What the rooms of training hand to each other. Boxes are left, top, right, bottom, fractions of the upright photo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["BoxedPhoto", "Dataset", "Rows", "TrainingOptions"]


@dataclass(frozen=True, slots=True)
class BoxedPhoto:
    """A photo and what is in it. `ignored` are places where something is of which the label is not known."""

    path: Path
    size: tuple[int, int]  # (width, height) in pixels, upright
    boxes: NDArray[np.float64]  # (n, 4)
    labels: tuple[str, ...]
    ignored: NDArray[np.float64] = field(compare=False)  # (m, 4)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Photos to train with and photos to measure with; `types` are the object types that the data names for labels."""

    train: tuple[BoxedPhoto, ...]
    held_out: tuple[BoxedPhoto, ...]
    labels: tuple[str, ...]
    types: Mapping[str, str]
    licences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """The last layer's rows of new labels, for real (dequantized) features: logit = weights @ features + bias."""

    labels: tuple[str, ...]
    weights: NDArray[np.float32]  # (labels, features)
    bias: NDArray[np.float32]  # (labels,)


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """How a detector is trained and when it is refused."""

    seed: int = 0
    views: int = 8  # of each photo with boxes: the whole, and cuts of it
    background_views: int = 3  # of each photo without
    mirror: bool = True  # half of the cuts are mirrored
    directed: tuple[str, ...] = ()  # labels that a mirror would make wrong, such as "turn left"
    epochs: int = 10
    batch: int = 8192  # cells
    prior: float = 10.0  # objects beside which weights of size 1 cost as much as a loss of 1/2 each
    rate: float = 0.01  # Adam's, falling to zero along half a cosine
    least_photos: int = 5  # of a label to train it
    least_ap50: float = 0.1  # of the new labels on the photos held out
    most_map_lost: float = 0.01  # of the old labels on the guard photos
    most_shown_lost: float = 0.02  # recall and precision of the boxes that a user is shown on the guard photos
