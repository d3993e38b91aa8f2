"""The full catalogue as answering asks for it: the full index finds, the search store says what was found.

Index and store follow the catalogue one after the other. For a moment the index may find what the store does not hold
yet, or holds no more: such a part is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from handlens.answering import Near, Nearby
from handlens.sources import TextHit, suits_locale
from handlens.wire.item import Item, in_turn
from handlens_server.full_index import FullIndex
from handlens_server.packs import Rule, is_private
from handlens_server.search_store import SearchStore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SearchCatalogue"]

_MOST_HITS = 1024  # hits of one word that are looked through for those of a pack


class SearchCatalogue:
    """The catalogue narrowed to one language, to the packs of `rules`, and to audiences; no rule means all of it.

    Without `audiences` every item is shown that is no partner's own.
    """

    def __init__(
        self,
        store: SearchStore,
        index: FullIndex,
        *,
        locale: str,
        rules: Sequence[Rule] = (),
        audiences: frozenset[str] | None = None,
    ) -> None:
        self._store = store
        self._index = index
        self._locale = locale
        self._rules = tuple(rules)
        self._audiences = audiences

    def nearest(self, vector: NDArray[np.float32], k: int) -> Nearby:
        """See `Catalogue.nearest`."""
        found = self._index.search(vector, k)
        items = self._store.items_by_id(list(dict.fromkeys(item_id for item_id, _, _ in found)))
        shown = {item_id: (key, item) for item_id, (key, item) in items.items() if self._shows(item)}
        codes = self._store.codes_of([key for key, _ in shown.values()])
        parts = []
        for item_id, box, _ in found:
            key, item = shown.get(item_id, (0, None))
            code = next((code for known, code in codes.get(key, ()) if known == box), None)
            if item is not None and code is not None:
                parts.append(Near(key, item, box, code))
        return Nearby(parts, is_all=len(found) < k)

    def search_text(self, term: str, *, limit: int, locale: str = "") -> Sequence[TextHit]:
        """See `TextSearch.search_text`."""
        hits = self._store.search_text(term, limit=_MOST_HITS if self._rules else limit, locale=locale)
        return in_turn((hit for hit in hits if self._shows(hit.item)), lambda hit: hit.item.kind, limit)

    def items_by_id(self, item_ids: Sequence[str]) -> Mapping[str, tuple[int, Item]]:
        """See `ItemLookup.items_by_id`."""
        items = self._store.items_by_id(item_ids)
        return {item_id: (key, item) for item_id, (key, item) in items.items() if self._is_open(item)}

    def _shows(self, item: Item) -> bool:
        return suits_locale(item, self._locale) and self._is_open(item)

    def _is_open(self, item: Item) -> bool:
        if self._audiences is not None and (item.audience or "all") not in self._audiences:
            return False
        if self._rules:
            return any(rule.matches(item) for rule in self._rules)
        return self._audiences is not None or not is_private(item.audience)
