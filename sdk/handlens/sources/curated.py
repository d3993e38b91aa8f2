"""The curated source: items that editors chose for what the object was understood to be."""

from __future__ import annotations

from collections.abc import Sequence

from handlens.blend.policy import Gates, Pick
from handlens.results import Candidate, Query
from handlens.sources.base import ItemLookup, best_first, suits_locale

__all__ = ["CuratedSource"]


class CuratedSource:
    """Offers the policy's picks of the day, in a catalogue that may lack some of them: those are passed over.

    A pick counts as far as its type or its tag is believed, whichever is more; below the policy's gates it does not
    count. A pick for everything counts in full. ``query.day`` decides which picks are of the day; without it none is.
    """

    name = "curated"

    def __init__(self, catalogue: ItemLookup, picks: Sequence[Pick], gates: Gates) -> None:
        self._catalogue = catalogue
        self._picks = tuple(picks)
        self._gates = gates

    def candidates(self, query: Query) -> list[Candidate]:
        """The picks as candidates, the surest first, at most ``query.limit``."""
        beliefs = [(pick, *self._belief(pick, query)) for pick in self._picks if _is_of_day(pick, query.day)]
        wanted = [(pick, score, thing) for pick, score, thing in beliefs if score > 0]
        if not wanted:
            return []
        items = self._catalogue.items_by_id([pick.item_id for pick, _, _ in wanted])
        found = (
            Candidate(*items[pick.item_id], self.name, min(score, 1.0), f"picked by the editors{thing}")
            for pick, score, thing in wanted
            if pick.item_id in items and suits_locale(items[pick.item_id][1], query.locale)
        )
        return best_first(found)[: query.limit]

    def _belief(self, pick: Pick, query: Query) -> tuple[float, str]:
        if not pick.types and not pick.tags:
            return 1.0, ""
        known = query.understanding
        beliefs = [
            (note.confidence, f" for {note.tag}")
            for note in known.annotations
            if note.tag in pick.tags and note.confidence >= self._gates.annotation
        ]
        if known.object_type in pick.types and known.type_confidence >= self._gates.type:
            beliefs.append((known.type_confidence, f" for {known.object_type}"))
        return max(beliefs, default=(0.0, ""))


def _is_of_day(pick: Pick, day: str) -> bool:
    return bool(day) and pick.starts[:10] <= day and (not pick.ends or day <= pick.ends[:10])
