"""What an object is called: words of users, tags of the item, annotations of alike items -> a label, or none.

Rules (the gate of Jing et al., "Visual Discovery at Pinterest", KDD 2015, section 4: text and image must agree):

1. Words are compared after `normal_word`: case, Unicode form, spaces, plural and synonyms do not count.
2. Each user has one vote. Text votes are the users' words and, as one vote together, the item's tags.
3. Where image votes (the detector's classes, annotations of visually similar items) are given, a label is kept only
   when they name it too; where none are given, when enough users say it. `Label.sources` says what spoke for it.

::

    label = vote(words, item_tags=("avocado",), image={"avocado": 0.7}, settings=LabelSettings())
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["Label", "LabelSettings", "normal_word", "vote"]


@dataclass(frozen=True, slots=True)
class LabelSettings:
    """When a label is sure enough."""

    min_share: float = 0.5  # of the votes of users who said something
    min_votes: int = 2  # users who said it
    min_image: float = 0.1  # what the image's side must give to the word
    tag_votes: float = 0.5  # what all tags of the item together count
    synonyms: Mapping[str, str] | None = None  # normal word -> the word to use


@dataclass(frozen=True, slots=True)
class Label:
    """A label with the share of the votes it had, 0..1, and what spoke for it: ``users``, ``tags``, ``image``."""

    word: str
    share: float
    votes: int
    sources: tuple[str, ...]


_SETTINGS = LabelSettings()


@lru_cache(maxsize=65_536)
def _folded(words: str) -> str:
    text = unicodedata.normalize("NFKC", words).casefold()
    return re.sub(r"[\W_]+", " ", text).strip()


def normal_word(words: str, synonyms: Mapping[str, str] | None = None) -> str:
    """The form in which words are compared; empty when nothing is left."""
    text = _folded(words)
    return text if synonyms is None else synonyms.get(text, text)


def vote(
    words: Iterable[str | None],
    *,
    item_tags: Iterable[str] = (),
    image: Mapping[str, float] | None = None,
    settings: LabelSettings = _SETTINGS,
) -> Label | None:
    """The label of one object; `words` has one entry a user (None: the user said nothing)."""
    said = Counter(normal_word(one, settings.synonyms) for one in words if one)
    said.pop("", None)
    tags = {normal_word(tag, settings.synonyms) for tag in item_tags} - {""}
    total = said.total()
    seen = {normal_word(word, settings.synonyms): weight for word, weight in (image or {}).items()}
    ranked = sorted(
        said, key=lambda word: (-said[word] - settings.tag_votes * (word in tags), -seen.get(word, 0), word)
    )
    if not ranked:
        return None
    word = ranked[0]
    if said[word] < settings.min_votes or said[word] < settings.min_share * total:
        return None
    if image is not None and seen.get(word, 0.0) < settings.min_image:
        return None
    sources = ["users"] + ["tags"] * (word in tags) + ["image"] * (word in seen)
    return Label(word, round(said[word] / total, 4), said[word], tuple(sources))
