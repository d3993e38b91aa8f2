"""What a user adds to a photo in words: "recipe", "how to", "red", "places with gardens".

Rules:

* A word for a kind of item ("recipe", "how to", "buy") asks for that kind: such items take the first places of the
  answer and their sections lead. The rest of the answer follows; nothing is hidden.
* A colour ("red", "navy") is a condition on what can be seen: items whose colours are known and are others are left out
  as long as anything of the colour was found, and what has the colour stands before what has none (a recipe). An item's
  colours are its attribute `colour`, the colours in its tags and title, or where these say nothing the attribute
  `colours`, which the server computes from the picture. Since few of the nearest things may have the colour, `breadth`
  says how many times as many are to be looked at, and a section takes things of the object's type that have the colour
  however little they are like it: the colour is what was asked for.
* Every other word is a wish: within a section, an item ranks twice as high for each wished word that it carries. It
  carries a word when a word of its tags, title or attributes is that word, or its plain plural or singular.
* Small words ("with", "the", "for") are passed over. Text is cut at `MOST_CHARACTERS`.

>>> Refinement.parse("How to with red tomatoes")
Refinement(kinds=('how_to',), words=('tomatoes',), colours=('red',))
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from handlens.results import Candidate
from handlens.wire.item import Item
from handlens.wire.palette import colour_word

__all__ = ["MOST_CHARACTERS", "Refinement", "refined"]

MOST_CHARACTERS = 200  # longer text is a paste, not a wish, and each word costs a search term
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_HOW_TO = re.compile(r"\bhow[\s_-]*tos?\b")
_KIND_WORDS = {
    "article": "article", "articles": "article", "story": "article", "stories": "article", "history": "article",
    "howto": "how_to", "tutorial": "how_to", "tutorials": "how_to", "guide": "how_to", "guides": "how_to",
    "idea": "idea", "ideas": "idea", "inspiration": "idea",
    "photo": "photo", "photos": "photo", "picture": "photo", "pictures": "photo", "similar": "photo",
    "place": "place", "places": "place", "visit": "place", "where": "place",
    "product": "product", "products": "product", "buy": "product", "shop": "product", "shops": "product",
    "recipe": "recipe", "recipes": "recipe", "cook": "recipe", "cooking": "recipe",
}  # fmt: skip
_SMALL_WORDS = frozenset(
    (
        *("a", "about", "an", "and", "any", "are", "as", "at", "be", "by", "can", "do", "find", "for", "from", "give"),
        *("i", "in", "is", "it", "like", "me", "more", "my", "of", "on", "or", "other", "please", "show", "some"),
        *("that", "the", "them", "these", "this", "to", "want", "what", "which", "with", "without", "you"),
    )
)


_BREADTH = 10  # times as many neighbours are looked at when a colour is asked for: one thing in ten is red
_COLOUR_HITS = 4  # words that a colour outweighs: whatever is all of it stands before what is sixteen times as near
_LEAST_SHARE = 0.3  # of a picture's object that a colour has at least to be a colour of the item


@dataclass(frozen=True, slots=True)
class Refinement:
    """The kinds, words and basic colours asked for, each once, in the order of the text."""

    kinds: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str | None) -> Refinement:
        """Read free text; None and text without words ask for nothing."""
        return _parsed((text or "")[:MOST_CHARACTERS])

    @property
    def terms(self) -> tuple[str, ...]:
        """What to look for in texts: colours too, for "orange" is also a fruit."""
        return (*self.words, *self.colours)

    @property
    def breadth(self) -> int:
        """How many times as many neighbours as usual are to be looked at."""
        return _BREADTH if self.colours else 1

    def hits(self, item: Item) -> float:
        """How many of the words the item carries; a colour counts as several, the more of the item has it the more."""
        if not self.colours:
            return self._words_of(item)
        known = item_colours(item)
        return self._words_of(item) + sum(_COLOUR_HITS * (1 + known[one]) / 2 for one in self.colours if one in known)

    def suits(self, item: Item) -> bool:
        """Whether a colour was asked for that the item has."""
        return bool(self.colours) and not item_colours(item).keys().isdisjoint(self.colours)

    def forbids(self, item: Item) -> bool:
        """Whether the item is known to have none of the colours asked for."""
        known = item_colours(item) if self.colours else {}
        return bool(known) and known.keys().isdisjoint(self.colours)

    def _words_of(self, item: Item) -> int:
        if not self.words:
            return 0
        text = _text_of(item)
        wished = [_forms(word) for word in self.words]
        # Most items carry none of the words, and looking for letters is far cheaper than cutting text into words.
        if not any(form in text for forms in wished for form in forms):
            return 0
        carried = {form for word in _WORD.findall(text) for form in _forms(word)}
        return sum(not carried.isdisjoint(forms) for forms in wished)


@functools.lru_cache(maxsize=16)  # every step of an answer asks
def _parsed(text: str) -> Refinement:
    plain = _HOW_TO.sub(" howto ", text.casefold())
    words = [word for word in _WORD.findall(plain) if word not in _SMALL_WORDS]
    colours = [colour_word(word) for word in words]
    others = [word for word in words if word not in _KIND_WORDS and colour_word(word) is None]
    kinds = dict.fromkeys(_KIND_WORDS[word] for word in words if word in _KIND_WORDS)
    asked = dict.fromkeys(colour for colour in colours if colour is not None)
    return Refinement(tuple(kinds), tuple(dict.fromkeys(others)), tuple(asked))


def refined(candidates: Sequence[Candidate], text: str | None) -> list[Candidate]:
    """The candidates without those of other colours, where a colour was asked for and any of them has it."""
    wish = Refinement.parse(text)
    if not wish.colours or not any(wish.suits(one.item) for one in candidates):
        return list(candidates)
    return [one for one in candidates if not wish.forbids(one.item)]


def item_colours(item: Item) -> dict[str, float]:
    """The basic colours of an item with their shares 0..1: what is said of it, or else what its picture shows.

    What is said counts whole. Empty when neither is known.
    """
    said = _said(item.attributes.get("colour")) or _said(" ".join((item.title, *item.annotations)))
    return said or _shown(item.attributes.get("colours"))


def _said(text: object) -> dict[str, float]:
    words = _WORD.findall(text.casefold()) if isinstance(text, str) else []
    return {colour: 1.0 for colour in map(colour_word, words) if colour is not None}


def _shown(shares: object) -> dict[str, float]:
    """The colours of a picture's object that are large enough."""
    if not isinstance(shares, Mapping):
        return {}
    return {
        name: float(share)
        for name, share in shares.items()
        if type(share) in (int, float) and _LEAST_SHARE <= share <= 1 and colour_word(str(name)) == name
    }


def _text_of(item: Item) -> str:
    attributes = (value for value in item.attributes.values() if isinstance(value, str))
    return " ".join((item.title, *item.annotations, *attributes)).casefold()


def _forms(word: str) -> set[str]:
    """The word and what it may be the plain English plural of: tomatoes, tomatoe, tomato."""
    return {word, *(word.removesuffix(ending) for ending in ("s", "es") if word.endswith(ending) and len(word) > 4)}
