"""The object source: items in whose pictures an object like this one was found, among other things perhaps."""

from __future__ import annotations

from handlens.results import Candidate, Query
from handlens.sources.base import best_first, suits_locale
from handlens.sources.visual import offer

__all__ = ["ObjectSource"]


class ObjectSource:
    """Offers the neighbours that are near by a part of their picture: scenes that contain the object.

    Only where an object was found, or shown by the user's box: a whole photo is no object, and a part of another photo
    that looks like all of it is a coincidence. `gate` is the confidence from which a word names the object in the
    reason. The score is the cosine, at least 0.
    """

    name = "object"

    def __init__(self, *, gate: float = 0.25) -> None:
        self._gate = gate

    def candidates(self, query: Query) -> list[Candidate]:
        """The neighbours as candidates, most similar part first, at most ``query.limit``."""
        if not query.has_object:
            return []
        notes = query.understanding.annotations
        thing = notes[0].tag if notes and notes[0].confidence >= self._gate else "object"
        suited = (one for one in query.neighbours if not one.box.is_whole and suits_locale(one.item, query.locale))
        return best_first(offer(one, self.name, f"contains a similar {thing}") for one in suited)[: query.limit]
