"""One photo -> the features of the cells to learn from, computed by the quantized network that devices run.

Rules:

* A cell is kept when a target is above zero there, when the network sees something of its own labels there (what a new
  label is most easily mistaken for), or by chance: one in `_ONE_IN` of the others, which then counts for all of them.
* For a label that it is certain of, a cell counts what its target says.
* Cells in places to ignore are left out, unless they are part of an object.
* Features stay int8, as the network has them: an eighth of what float would take on disk, and nothing is lost.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from handlens.vision.image import load_photo
from handlens_conversion.training.records import BoxedPhoto, TrainingOptions
from handlens_conversion.training.targets import CERTAIN, Targets, heat_targets, inside
from handlens_conversion.training.views import View, make_views

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from handlens.wire.model import ModelSpec
    from handlens_conversion.training.head import Head

__all__ = ["Cells", "FeatureReader", "choose", "join"]

_ONE_IN = 8  # cells of the background
_SEEN = -107  # int8 of a heat map: a score of 0.08, from where an old label's object is likely


@dataclass(frozen=True, slots=True)
class Cells:
    """Cells to learn from: features (n, features) int8, targets (n, labels) uint8 of 255, and how much each counts for
    each label, weights (n, labels) float32."""

    features: NDArray[np.int8]
    targets: NDArray[np.uint8]
    weights: NDArray[np.float32]


def join(parts: list[Cells]) -> Cells:
    """All cells in one record."""
    return Cells(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.targets for part in parts]),
        np.concatenate([part.weights for part in parts]),
    )


class FeatureReader:
    """The network of a head, opened to read features. Not thread-safe."""

    def __init__(self, head: Head, spec: ModelSpec, *, threads: int = 2) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter: Any = Interpreter(model_content=head.features_model(), num_threads=threads)
        self._interpreter.allocate_tensors()
        self._input: Any = self._interpreter.get_input_details()[0]
        self._outputs: Any = self._interpreter.get_output_details()
        self._spec = spec

    def cells(self, boxed: BoxedPhoto, labels: tuple[str, ...], options: TrainingOptions, *, key: str) -> Cells:
        """The cells of all views of a photo, whose content is named by `key`, for these labels.

        Raises:
            ImageError: it cannot be read.
        """
        image = self._spec.input
        numbers = [labels.index(label) for label in boxed.labels]
        # As it is decoded by default, the smallest cut still has more pixels than the network's input.
        photo = load_photo(boxed.path)
        views = make_views(photo, boxed, options, key=key, side=image.width, resample=image.resample)
        random = np.random.default_rng(list(hashlib.sha256(f"cells/{options.seed}/{key}".encode()).digest()))
        return join([self._of_view(view, boxed, numbers, len(labels), random) for view in views])

    def features(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
        """Features (h, w, features) and heat map (h, w, labels), int8, of (side, side, 3) uint8 RGB."""
        scale_zero = int(self._input["quantization"][1])
        self._interpreter.set_tensor(self._input["index"], (pixels.astype(np.int16) + scale_zero).astype(np.int8)[None])
        self._interpreter.invoke()
        features, heat = (self._interpreter.get_tensor(output["index"])[0] for output in self._outputs)
        return features, heat

    def _of_view(
        self, view: View, boxed: BoxedPhoto, numbers: list[int], labels: int, random: np.random.Generator
    ) -> Cells:
        features, heat = self.features(view.pixels)
        seen = view.cut.of(boxed)
        kept = [numbers[at] for at in seen.kept]
        targets = heat_targets(seen.boxes, kept, labels=labels, side=features.shape[0])
        return choose(features, heat, targets, seen.ignored, random=random)


def choose(
    features: NDArray[np.int8],
    heat: NDArray[np.int8],
    targets: Targets,
    ignored: NDArray[np.float64],
    *,
    random: np.random.Generator,
) -> Cells:
    """The cells to learn from of a view, where `FeatureReader.features` read `features` and `heat`."""
    wanted = targets.heat.any(axis=2)
    clear = wanted | ~inside(ignored, side=features.shape[0])
    sure = clear & (wanted | (heat.max(axis=2) >= _SEEN))
    drawn = clear & ~sure & (random.random(wanted.shape) < 1 / _ONE_IN)
    chosen = sure | drawn
    counted = np.where(drawn, np.float32(_ONE_IN), np.float32(1))[:, :, None]
    weights = np.where(targets.heat == CERTAIN, targets.shares, counted)
    return Cells(features[chosen], targets.heat[chosen], weights[chosen])
