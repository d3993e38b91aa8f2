"""Finding items by a word or phrase: FTS5 finds, and BM25 scores in a way that does not depend on what else is held.

Rules:

1. A score is the term-frequency part of BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009):
   ``f (k1 + 1) / (f + k1 (1 - b + b d / a))`` with k1 = 1.2 and b = 0.75, where f counts the word (a tag six times, the
   title four times, the text once), d is the item's length in words, and a is the constant `_AVERAGE`. FTS5 takes for a
   the average of the table and multiplies by the word's rarity in it. Then one item would score differently on a device
   that holds two packs, on one that holds three and on the server; so f is read back from FTS5's figure, in which all
   else is known. It is a whole number, so the scores are the same to the last bit.
2. The best of each kind, the second best of each kind... are answered, up to the limit: photos outnumber recipes
   everywhere and would leave none in a common list. An item that stands in two packs counts once.
3. To find a match costs 25 nanoseconds, to score it and to read what it needs some microseconds. Of a word that more
   than `_RANKED` items hold, only a sample of each kind is scored: the newest `_SAMPLE` that carry it in a tag and the
   title, then in a tag, then anywhere, as far as there are any. What that may lose is bounded: of a word in a tag f is
   6 at least, with the title 10, and no score reaches k1 + 1. So a tagged item of d words that is answered has at least
   6 / (6 + k1 (1 - b + b d / a)) of the score of any that was passed over: 0.83 at 24 words, 0.77 at 40.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from handlens.store.filters import ItemFilter
from handlens.store.schema import kind_word
from handlens.wire.item import KINDS, in_turn

__all__ = ["Scored", "find_text"]

_WEIGHTS = "4.0, 1.0, 6.0, 0.0"  # of title, text, tags; whole numbers, so that rule 1 holds
_K1, _B = 1.2, 0.75  # as FTS5 has them (sqlite.org/fts5.html, "The bm25() function")
_LEAST_RARITY = 1e-6  # what FTS5 takes where a word is in more than half of the rows
_AVERAGE = 24  # words of an item, by the demo catalogue
_RANKED = 600  # matches that are all scored
_SAMPLE = 40  # matches scored of each kind where there are more, and no fewer than are asked for

Fetch = Callable[[str, Sequence[object]], list[Any]]


class Scored(NamedTuple):
    """A match: the kind, id and key of the item, and its score."""

    kind: str
    item_id: str
    key: int
    score: float


def find_text(fetch: Fetch, term: str, wanted: ItemFilter, limit: int) -> list[Scored]:
    """The best `limit` items that hold `term`, of all kinds in turn, best first; `fetch` runs a query."""
    phrase = _phrase(term)
    matching = int(fetch("SELECT count(*) FROM texts WHERE texts MATCH ?", [phrase])[0][0])
    if not matching:
        return []
    search = _Search(fetch, wanted)
    sample = None if matching <= _RANKED else search.sample(phrase, max(_SAMPLE, limit))
    return in_turn(_each_once(search.scored(phrase, matching, sample)), lambda hit: hit.kind, limit)


class _Search:
    def __init__(self, fetch: Fetch, wanted: ItemFilter) -> None:
        self._fetch = fetch
        self._where, self._values = wanted.where()

    def sample(self, phrase: str, most: int) -> list[int]:
        """The keys of matches of every kind that are worth scoring."""
        keys: list[int] = []
        for kind in KINDS:
            found: dict[int, None] = {}
            for held in (f"tags : {phrase} AND title : {phrase}", f"tags : {phrase}", phrase):
                found |= dict.fromkeys(self._newest(f"({held}) AND kind : {kind_word(kind)}", most))
                if len(found) >= most:
                    break
            keys += found
        return keys

    def scored(self, phrase: str, matching: int, sample: list[int] | None) -> Iterator[Scored]:
        """The matches, or those in the sample; `matching` rows hold the phrase.

        The plus sign keeps SQLite from asking FTS5 once for each key of the sample, which takes 100 times as long.
        """
        among, keys = ("", []) if sample is None else ("AND +texts.rowid IN (SELECT value FROM json_each(?))", [sample])
        rows, average = self._table()
        rarity = math.log((rows - matching + 0.5) / (matching + 0.5))
        rarity = rarity if rarity > 0 else _LEAST_RARITY
        for key, kind, item_id, sizes, rank in self._fetch(
            f"SELECT texts.rowid, items.kind, items.item_id, texts_docsize.sz, bm25(texts, {_WEIGHTS}) FROM texts "  # nosec B608  # names of our own
            "JOIN items ON items.item_key = texts.rowid JOIN texts_docsize ON texts_docsize.id = texts.rowid "
            f"WHERE texts MATCH ? AND {self._where} {among}",
            [phrase, *self._values, *map(json.dumps, keys)],
        ):
            length = sum(sizes) if max(sizes) < 0x80 else sum(_whole_numbers(sizes))
            frequency = _frequency(-rank / rarity, length / average)
            if frequency:
                yield Scored(kind, item_id, key, _saturated(frequency, length / _AVERAGE))

    def _newest(self, match: str, most: int) -> list[int]:
        rows = self._fetch(
            "SELECT texts.rowid FROM texts JOIN items ON items.item_key = texts.rowid "  # nosec B608  # names of our own
            f"WHERE texts MATCH ? AND {self._where} ORDER BY texts.rowid DESC LIMIT ?",
            [match, *self._values, most],
        )
        return [key for (key,) in rows]

    def _table(self) -> tuple[int, float]:
        """Rows of the full-text table, and their average length in words, as FTS5 keeps them."""
        rows, *words = _whole_numbers(self._fetch("SELECT block FROM texts_data WHERE id = 1", [])[0][0])
        return rows, sum(words) / rows


def _each_once(hits: Iterable[Scored]) -> list[Scored]:
    """The hits best first, each item by the smallest of its keys."""
    once: dict[str, Scored] = {}
    for hit in sorted(hits, key=lambda hit: (-hit.score, hit.item_id, hit.key)):
        once.setdefault(hit.item_id, hit)
    return list(once.values())


def _saturated(frequency: float, length: float) -> float:
    return frequency * (_K1 + 1) / (frequency + _damping(length))


def _frequency(saturated: float, length: float) -> int:
    """What `_saturated` was made of."""
    return round(saturated * _damping(length) / (_K1 + 1 - saturated))


def _damping(length: float) -> float:
    return _K1 * (1 - _B + _B * length)


def _phrase(term: str) -> str:
    # A quoted string is one phrase to FTS5, whatever it holds; a quote is doubled, and NUL would end the text.
    plain = term.encode("utf-8", "replace").decode().replace("\0", " ")
    return '"' + plain.replace('"', '""') + '"'


def _whole_numbers(data: bytes) -> list[int]:
    """SQLite's variable-length integers: seven bits a byte, the highest first; all but the last have the top bit."""
    numbers, value = [], 0
    for byte in data:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            numbers.append(value)
            value = 0
    return numbers
