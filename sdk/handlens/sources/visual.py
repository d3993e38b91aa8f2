"""The visual source: items whose pictures look like the object."""

from __future__ import annotations

from handlens.results import Candidate, Neighbour, Query
from handlens.sources.base import best_first, suits_locale

__all__ = ["VisualSource", "offer"]


class VisualSource:
    """Offers the neighbours that are near as whole pictures. The score is the cosine, at least 0."""

    name = "visual"

    def candidates(self, query: Query) -> list[Candidate]:
        """The neighbours as candidates, most similar first, at most ``query.limit``."""
        suited = (one for one in query.neighbours if one.box.is_whole and suits_locale(one.item, query.locale))
        return best_first(offer(one, self.name, f"{one.similarity:.2f} similar") for one in suited)[: query.limit]


def offer(neighbour: Neighbour, source: str, reason: str) -> Candidate:
    """A neighbour as a candidate of `source`."""
    score = min(max(neighbour.similarity, 0.0), 1.0)  # rounding brings cosines just above 1
    return Candidate(neighbour.item_key, neighbour.item, source, score, reason)
