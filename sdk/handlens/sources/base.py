"""What a source is, and what the sources ask of a catalogue.

Rules of every source (one suite in ``tests/sdk/test_sources.py`` holds them all to it):

* The candidates carry the source's `name`, each item once, best score first, at most ``query.limit``.
* Scores are 0..1 and compare within the source only; the reason is for people.
* Items of another language than ``query.locale`` are left out; items of no language suit everybody.
* The same query and catalogue give the same candidates. A source that has nothing to go by offers nothing.
* Nothing is decided by an item's key: keys differ between a device and the server, item ids do not.

Sources know protocols, not the device's store: the server brings its own catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from handlens.results import Candidate, Query
from handlens.wire.item import Item

__all__ = ["ItemLookup", "Source", "TextHit", "TextSearch", "best_first", "suits_locale"]


class Source(Protocol):
    """Offers candidates for an understood query."""

    @property
    def name(self) -> str:
        """The name that policies and `Why` use."""
        ...

    def candidates(self, query: Query) -> list[Candidate]:
        """What this source offers, best first."""
        ...


class TextHit(Protocol):
    """An item found by a word; `score` is above 0, large is good, and the same in whatever catalogue the item is."""

    @property
    def item_key(self) -> int: ...
    @property
    def item(self) -> Item: ...
    @property
    def score(self) -> float: ...


class TextSearch(Protocol):
    """A catalogue that finds items by words in their tags, titles and texts."""

    def search_text(self, term: str, *, limit: int, locale: str = "") -> Sequence[TextHit]:
        """The best `limit` items for a word or phrase, of all kinds in turn, each item once; best first.

        In turn: the best of each kind, then the second best of each... An empty `locale` does not narrow.
        """
        ...


class ItemLookup(Protocol):
    """A catalogue that knows its items by their ids."""

    def items_by_id(self, item_ids: Sequence[str]) -> Mapping[str, tuple[int, Item]]:
        """Key and item of each of `item_ids`; those that the catalogue has not are left out."""
        ...


def suits_locale(item: Item, locale: str) -> bool:
    """Whether the item is in the language asked for, or in none. An item in "en" suits a query for "en-GB"."""
    return not locale or not item.locale or locale == item.locale or locale.startswith(f"{item.locale}-")


def best_first(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Candidates by score, ties by item id, each item once by its best score."""
    best: dict[str, Candidate] = {}
    for one in sorted(candidates, key=lambda one: (-one.score, one.item.item_id, one.item_key, one.reason)):
        best.setdefault(one.item.item_id, one)
    return list(best.values())
