"""How well vectors find photographs of the same label: recall@k, precision@k and the type of the first match.

All vectors are compared by cosine; ties go to the earlier gallery row. Functions are pure.

Use::

    ranks = rank(queries, gallery)                       # (n, 10) gallery rows, best first
    figures = measure(ranks, queries=labels, gallery=gallery_labels)
    figures.recall_at_1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Figures", "cosines", "measure", "rank", "unit"]

DEPTH = 10


@dataclass(frozen=True, slots=True)
class Figures:
    """Means over `queries` queries, each 0..1.

    `recall_at_k`: a hit is among the first k. `precision_at_10`: the part of the first ten that are hits.
    `type_at_1`: the first match is of the query's object type.
    """

    queries: int
    recall_at_1: float
    recall_at_5: float
    precision_at_10: float
    type_at_1: float

    def to_dict(self) -> dict[str, float]:
        """As a JSON object, rounded to four digits."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows at unit length; a row of zeros stays zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, np.finfo(np.float32).tiny), dtype=np.float32)


def cosines(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """The cosine of each row of `first` with the same row of `second`."""
    return np.asarray(np.sum(unit(first) * unit(second), axis=1), dtype=np.float32)


def rank(queries: NDArray[np.float32], gallery: NDArray[np.float32], *, depth: int = DEPTH) -> NDArray[np.intp]:
    """Indices of the `depth` nearest gallery rows of each query, best first: (n, min(depth, gallery rows))."""
    similarity = unit(queries) @ unit(gallery).T
    return np.argsort(-similarity, axis=1, kind="stable")[:, :depth]


def measure(
    ranks: NDArray[np.intp],
    *,
    queries: Sequence[str],
    gallery: Sequence[str],
    query_types: Sequence[str],
    gallery_types: Sequence[str],
) -> Figures:
    """Figures of a ranking, from the label and object type of each query and each gallery row.

    Raises:
        ValueError: there is no query, or the lengths differ.
    """
    if not len(queries) or len(ranks) != len(queries) or len(query_types) != len(queries):
        raise ValueError(
            f"{len(ranks)} rankings of {len(queries)} queries with {len(query_types)} types cannot be measured"
        )
    hits = np.asarray(gallery)[ranks] == np.asarray(queries)[:, None]
    first = np.asarray(gallery_types)[ranks[:, 0]] == np.asarray(query_types)
    return Figures(
        queries=len(queries),
        recall_at_1=float(hits[:, 0].mean()),
        recall_at_5=float(hits[:, :5].any(axis=1).mean()),
        precision_at_10=float(hits[:, :DEPTH].mean()),
        type_at_1=float(first.mean()),
    )
