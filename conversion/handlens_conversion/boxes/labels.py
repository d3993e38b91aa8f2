"""What an object is called: words of users, tags of the item, annotations of alike items -> a label, or none.

Rules (the gate of Jing et al., "Visual Discovery at Pinterest", KDD 2015: text and image must agree):

1. Words are compared in normal form (`words.normal_word`), which is also the form of the label.
2. Each user who said something has one vote. A label needs `min_votes` of them and `min_share` of all; the item's tags
   decide between equals, then the image.
3. Where an image side is given (the detector's classes, annotations of visually similar items, each with a weight
   0..1), a label is kept only when it names the word by at least `min_image`. Where no user said anything, a tag that
   the image side names is the label: text and image agree then, too.
4. Without an image side the users alone decide. `Label.sources` says who spoke for the label.

::

    label = vote(words, item_tags=("avocado",), image={"avocado": 0.7})
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from handlens_conversion.boxes.words import normal_word

__all__ = ["Label", "LabelSettings", "normal_word", "vote"]


@dataclass(frozen=True, slots=True)
class LabelSettings:
    """When a label is sure enough."""

    min_share: float = 0.5  # of the votes of users who said something
    min_votes: int = 2  # users who said it
    min_image: float = 0.1  # the weight that the image side must give to it
    synonyms: Mapping[str, str] | None = None  # normal word -> the word to use


@dataclass(frozen=True, slots=True)
class Label:
    """A label with its share of the users' votes, 0..1, their number, and what spoke for it: users, tags, image."""

    word: str
    share: float
    votes: int
    sources: tuple[str, ...]


_SETTINGS = LabelSettings()


def vote(
    words: Iterable[str | None],
    *,
    item_tags: Iterable[str] = (),
    image: Mapping[str, float] | None = None,
    settings: LabelSettings = _SETTINGS,
) -> Label | None:
    """The label of one object; `words` has one entry a user (None: the user said nothing)."""
    said = Counter(normal_word(one, settings.synonyms) for one in words if one)
    del said[""]
    tags = {normal_word(tag, settings.synonyms) for tag in item_tags} - {""}
    seen = None if image is None else _strongest(image, settings.synonyms)
    if not said:
        return _named_by_tags(tags, seen, settings)
    word = min(said, key=lambda one: (-said[one], one not in tags, -(seen or {}).get(one, 0.0), one))
    total = sum(said.values())
    if said[word] < settings.min_votes or said[word] < settings.min_share * total:
        return None
    if seen is not None and seen.get(word, 0.0) < settings.min_image:
        return None
    sources = ("users", *(("tags",) if word in tags else ()), *(("image",) if seen is not None else ()))
    return Label(word, round(said[word] / total, 4), said[word], sources)


def _strongest(image: Mapping[str, float], synonyms: Mapping[str, str] | None) -> dict[str, float]:
    """The image side in normal form; of two words that are one the larger weight counts."""
    seen: dict[str, float] = {}
    for word, weight in image.items():
        normal = normal_word(word, synonyms)
        seen[normal] = max(weight, seen.get(normal, 0.0))
    return seen


def _named_by_tags(tags: Iterable[str], seen: Mapping[str, float] | None, settings: LabelSettings) -> Label | None:
    agreed = {tag: seen[tag] for tag in tags if tag in seen and seen[tag] >= settings.min_image} if seen else {}
    if not agreed:
        return None
    return Label(min(agreed, key=lambda tag: (-agreed[tag], tag)), 0.0, 0, ("tags", "image"))
