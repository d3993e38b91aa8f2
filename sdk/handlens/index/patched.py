"""A large index of an older state beside a small exact one of what came since: together the state as it is now.

A release that changes one row in a hundred would otherwise cost a new graph file, and exact search until it is there.

>>> index = PatchedIndex(HnswIndex.open(path, space="handlens-e1", dim=128), ids, codes)   # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from handlens.index.base import Neighbours, SearchIndex, add_codes, nearest
from handlens.index.exact import ExactIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PatchedIndex"]


class PatchedIndex:
    """`base`, from which what is gone was deleted, and int8 `codes` (n, dim) under `ids` (n,) that `base` has not."""

    def __init__(self, base: SearchIndex, ids: NDArray[np.int64], codes: NDArray[np.int8]) -> None:
        self.space = base.space
        self.dim = base.dim
        self.base = base
        self._patch = ExactIndex(space=base.space, dim=base.dim, dtype="int8")
        add_codes(self._patch, ids, codes)

    def __len__(self) -> int:
        return len(self.base) + len(self._patch)

    def __contains__(self, id: int) -> bool:
        return id in self.base or id in self._patch

    @property
    def patched(self) -> int:
        """How many vectors lie beside the base."""
        return len(self._patch)

    def search(self, vector: NDArray[np.float32], k: int, *, allowed: NDArray[np.int64] | None = None) -> Neighbours:
        """See `SearchIndex.search`."""
        old = self.base.search(vector, k, allowed=allowed)
        new = self._patch.search(vector, k, allowed=allowed)
        if not len(new):
            return old
        return nearest(np.concatenate([old.ids, new.ids]), np.concatenate([old.distances, new.distances]), k)
