"""The catalogue of a device: its store and its index, as answering asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from handlens.answering import Nearby
from handlens.index import SearchIndex
from handlens.store import Store, TextHit
from handlens.wire.item import Item

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LocalCatalogue"]


class LocalCatalogue:
    """One state of the store, narrowed to `packs` (empty: all) and to one language. Thread-safe.

    Raises:
        UnknownPackError: one of `packs` is not installed.
    """

    def __init__(self, store: Store, index: SearchIndex, *, packs: Sequence[str] = (), locale: str = "") -> None:
        self._store = store
        self._index = index
        self._packs = tuple(packs)
        allowed = store.vector_ids(packs=packs, locale=locale)
        self._allowed = None if len(allowed) == len(index) else allowed

    def nearest(self, vector: NDArray[np.float32], k: int) -> Nearby:
        """See `Catalogue.nearest`. What another process dropped since the index was opened is left out."""
        ids = self._index.search(vector, k, allowed=self._allowed).ids.tolist()
        parts = self._store.items_of(ids)
        return Nearby([parts[one] for one in ids if one in parts], is_all=len(ids) < k)

    def search_text(self, term: str, *, limit: int, locale: str = "") -> Sequence[TextHit]:
        """See `TextSearch.search_text`."""
        return self._store.search_text(term, limit=limit, packs=self._packs, locale=locale)

    def items_by_id(self, item_ids: Sequence[str]) -> Mapping[str, tuple[int, Item]]:
        """See `ItemLookup.items_by_id`."""
        return self._store.items_by_id(item_ids, packs=self._packs)
