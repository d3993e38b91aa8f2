"""The visual source: items whose pictures, or whose parts of pictures, look like the object."""

from __future__ import annotations

from handlens.results import Candidate, Neighbour, Query
from handlens.sources.base import best_first, suits_locale

__all__ = ["VisualSource"]


class VisualSource:
    """Offers the query's neighbours, each item by its most similar part. The score is the cosine, at least 0."""

    name = "visual"

    def candidates(self, query: Query) -> list[Candidate]:
        """The neighbours as candidates, most similar first, at most ``query.limit``."""
        suited = (one for one in query.neighbours if suits_locale(one.item, query.locale))
        return best_first(_candidate(one) for one in suited)[: query.limit]


def _candidate(neighbour: Neighbour) -> Candidate:
    score = min(max(neighbour.similarity, 0.0), 1.0)  # rounding brings cosines just above 1
    return Candidate(neighbour.item_key, neighbour.item, VisualSource.name, score, f"{score:.2f} similar")
