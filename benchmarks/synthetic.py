"""A synthetic catalogue of any size, the same for the same seed: what the benchmarks of searches fill stores with.

Vectors are unit vectors around random centres, 50 items to a centre, spread as far as the centres' own length. Tags are
labels of the classifier, one centre one tag, so that likeness and words agree as they do in a real catalogue; titles
and texts draw their words by Zipf's law, where the most frequent word stands in half of all items. Every second item
has a part of its picture embedded beside the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handlens.geometry import WHOLE, Box
from handlens.wire.item import KINDS, OBJECT_TYPES, Item
from handlens.wire.pack import ItemEmbedding, PackRow, encode_codes

__all__ = ["Synthetic"]

_PER_CENTRE = 50
_PART = Box(0.1, 0.1, 0.7, 0.8)
_WORDS = 20_000
_KIND_SHARES = (0.08, 0.08, 0.05, 0.50, 0.05, 0.16, 0.08)  # in the order of KINDS: photos lead everywhere


@dataclass(frozen=True, slots=True)
class Synthetic:
    """`count` items with vectors of `dim` components; `labels` are the words that tags are drawn from."""

    count: int
    dim: int
    labels: tuple[str, ...]
    types: dict[str, str]
    seed: int = 7

    def rows(self) -> Iterator[PackRow]:
        """The items with their embeddings, by item id."""
        random = np.random.default_rng(self.seed)
        centres = self._centres()
        chances = 1.0 / np.arange(3, _WORDS + 3)
        chances /= chances.sum()
        for start in range(0, self.count, 1000):
            size = min(1000, self.count - start)
            near = random.integers(len(centres), size=size)
            words = random.choice(_WORDS, size=(size, 16), p=chances)
            kinds = random.choice(len(KINDS), size=size, p=_KIND_SHARES)
            codes = encode_codes(_around(random, np.repeat(centres[near], 2, axis=0)))
            for at in range(size):
                yield self._row(start + at, int(near[at]), words[at], KINDS[kinds[at]], codes[2 * at : 2 * at + 2])

    def queries(self, count: int) -> list[tuple[NDArray[np.float32], tuple[tuple[str, float], ...]]]:
        """Vectors from the same distribution, not in the catalogue, with what a classifier would say of them."""
        random = np.random.default_rng(self.seed + 1)
        centres = self._centres()
        near = random.integers(len(centres), size=count)
        vectors = _around(random, centres[near])
        return [(vector, ((self._label(int(centre)), 0.7),)) for vector, centre in zip(vectors, near, strict=True)]

    def _row(self, number: int, centre: int, words: NDArray[np.int64], kind: str, codes: NDArray[np.int8]) -> PackRow:
        label = self._label(centre)
        text = [f"word{word}" for word in words]
        item = Item(
            f"item-{number:07}",
            kind,
            self.types.get(label, OBJECT_TYPES[-1]),
            f"{label} {' '.join(text[:3])}",
            text=" ".join(text[3:]),
            annotations={label: 1.0, text[0]: 0.5},
            locale="en",
        )
        parts = (ItemEmbedding(WHOLE, codes[0].tobytes()), ItemEmbedding(_PART, codes[1].tobytes()))
        return PackRow(item, parts if number % 2 else parts[:1])

    def _centres(self) -> NDArray[np.float32]:
        count = max(self.count // _PER_CENTRE, 1)
        return np.random.default_rng(self.seed + 2).standard_normal((count, self.dim)).astype(np.float32)

    def _label(self, centre: int) -> str:
        return self.labels[centre % len(self.labels)]


def _around(random: np.random.Generator, centres: NDArray[np.float32]) -> NDArray[np.float32]:
    drawn = centres + random.standard_normal(centres.shape, dtype=np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float32)
