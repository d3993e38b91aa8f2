"""What a user adds to a photo in words: "recipe", "how to", "red", "places with gardens".

Rules:

* A word for a kind of item ("recipe", "how to", "buy") asks for that kind: such items take the first places of the
  answer and their sections lead. The rest of the answer follows; nothing is hidden.
* Every other word is a wish: within a section, an item ranks twice as high for each wished word that it carries. It
  carries a word when a word of its tags, title or attributes is that word, or its plain plural or singular.
* Small words ("with", "the", "for") are passed over. Text is cut at `MOST_CHARACTERS`.

>>> Refinement.parse("How to with tomatoes")
Refinement(kinds=('how_to',), words=('tomatoes',))
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from handlens.wire.item import Item

__all__ = ["MOST_CHARACTERS", "Refinement"]

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


@dataclass(frozen=True, slots=True)
class Refinement:
    """The kinds asked for and the words wished for, each once, in the order of the text."""

    kinds: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str | None) -> Refinement:
        """Read free text; None and text without words ask for nothing."""
        plain = _HOW_TO.sub(" howto ", (text or "")[:MOST_CHARACTERS].casefold())
        words = [word for word in _WORD.findall(plain) if word not in _SMALL_WORDS]
        kinds = dict.fromkeys(_KIND_WORDS[word] for word in words if word in _KIND_WORDS)
        return cls(tuple(kinds), tuple(dict.fromkeys(word for word in words if word not in _KIND_WORDS)))

    def hits(self, item: Item) -> int:
        """How many of the words the item carries."""
        if not self.words:
            return 0
        text = _text_of(item)
        wished = [_forms(word) for word in self.words]
        # Most items carry none of the words, and looking for letters is far cheaper than cutting text into words.
        if not any(form in text for forms in wished for form in forms):
            return 0
        carried = {form for word in _WORD.findall(text) for form in _forms(word)}
        return sum(not carried.isdisjoint(forms) for forms in wished)


def _text_of(item: Item) -> str:
    attributes = (value for value in item.attributes.values() if isinstance(value, str))
    return " ".join((item.title, *item.annotations, *attributes)).casefold()


def _forms(word: str) -> set[str]:
    """The word and what it may be the plain English plural of: tomatoes, tomatoe, tomato."""
    return {word, *(word.removesuffix(ending) for ending in ("s", "es") if word.endswith(ending) and len(word) > 4)}
