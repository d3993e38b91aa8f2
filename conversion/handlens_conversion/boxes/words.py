"""The form in which words of users, tags and labels are compared.

>>> normal_word("Wine-Glasses ")
'wine glass'

Unicode form (NFKC), case, hyphens, underscores, spaces and English plurals do not count; words that were decoded as
Windows-1252 although they were UTF-8 are read right; synonyms are the caller's, from normal form to normal form. A word
in normal form stays as it is.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import lru_cache

__all__ = ["normal_word"]

_JOINERS = "\u200c\u200d"  # parts of words in Indic scripts and Persian
_SINGULARS = {
    "children": "child",
    "feet": "foot",
    "geese": "goose",
    "men": "man",
    "mice": "mouse",
    "people": "person",
    "persons": "person",
    "teeth": "tooth",
    "women": "woman",
    "knives": "knife",
    "leaves": "leaf",
    "loaves": "loaf",
    "scarves": "scarf",
    "shelves": "shelf",
    "wives": "wife",
    "wolves": "wolf",
    "shoes": "shoe",
    "horseshoes": "horseshoe",
    "canoes": "canoe",
    "brownies": "brownie",
    "cookies": "cookie",
    "movies": "movie",
    "pies": "pie",
    "smoothies": "smoothie",
    "ties": "tie",
    "selfies": "selfie",
    "caches": "cache",
    "axes": "axe",
}
# One thing that is called by a plural, and words that only look like one.
_SAME = frozenset({"binoculars", "chess", "clothes", "glasses", "gas", "headphones", "jeans", "lens", "news"})
_SAME |= {"overalls", "pants", "pliers", "scissors", "series", "shorts", "species", "sunglasses", "tights", "tongs"}
_SAME |= {"trousers", "tweezers", "yes"}


def normal_word(words: str, synonyms: Mapping[str, str] | None = None) -> str:
    """The form in which words are compared; empty when nothing is left."""
    text = _normal(words)
    return text if synonyms is None else synonyms.get(text, text)


@lru_cache(maxsize=65_536)
def _normal(words: str) -> str:
    text = unicodedata.normalize("NFKC", _decoded(words)).casefold()
    parts = "".join(map(_letter, unicodedata.normalize("NFKC", text))).split()
    if not parts:
        return ""
    last = parts[-1]
    return " ".join([*parts[:-1], last if last in _SAME and len(parts) == 1 else _singular(last)])


def _letter(one: str) -> str:
    # Letters, the marks that belong to them, and numbers; all else parts words.
    return one if unicodedata.category(one)[0] in "LMN" or one in _JOINERS else " "


def _decoded(words: str) -> str:
    """UTF-8 that was read as Windows-1252 ("crÃ¨me"), read right; anything else as it is."""
    try:
        return words.encode("cp1252").decode() if not words.isascii() else words
    except UnicodeError:
        return words


def _singular(word: str) -> str:
    known = _SINGULARS.get(word)
    if known is not None or word in _SAME - {"glasses"} or not word.isascii():
        return known or word
    if len(word) <= 3 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("ches", "shes", "sses", "xes", "zes", "oes")) else word[:-1]
