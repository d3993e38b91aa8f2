"""What the labelled photographs show, in the words and types of the taxonomy.

Rules:

* A class is called by its coarse name, lower case and with spaces; some have a name that no one else uses, and are also
  called what people call them. What is listed here are names, never near things: "jersey" is not a T-shirt.
* A word is right when it is one of these names, or a synonym by the taxonomy's table, or their plural or singular. It
  is *true* also when it is the broader word of a label that names the class: "bird" of a flamingo.

Use::

    judge = Judge(taxonomy)
    judge.is_right("binoculars", row)
"""

from __future__ import annotations

from collections.abc import Iterable

from handlens.understand.words import same_words, word_key
from handlens.wire.taxonomy import Taxonomy
from handlens_conversion.retrieval_data import Row

__all__ = ["Judge", "tag_of", "type_of"]

# The data set's names for types, and the classes that it files under another type than our taxonomy's rules do.
_TYPES = {
    "animals": "animal",
    "plants": "plant",
    "home_decor": "home",
    "vehicles": "vehicle",
    "landmark": "place",
    "music": "media",
}
_CLASSES = {
    "wrench": "tool",
    "scissors": "tool",
    "stapler": "tool",
    "binocular": "tool",
    "soccer_ball": "sport",
    "inline_skate": "sport",
    "buddha": "art",
}
# Fine names under a coarse one, and names that are the data set's own.
_ALSO = {
    "apple": ("granny smith",),  # a variety: five varieties of apple have one coarse name
    "car side": ("car",),  # cars seen from the side
    "pepper": ("bell pepper",),  # all photographs of the class show bell peppers
    "bass": ("fish",),  # its photographs show the fish
    "watch": ("digital watch", "analog watch"),
    "umbrella": ("parasol",),
    "elephant": ("african elephant", "indian elephant"),
    "crocodile": ("african crocodile",),  # the Nile crocodile by its other name
    "lobster": ("american lobster", "spiny lobster"),
    "crab": ("dungeness crab", "rock crab", "fiddler crab", "king crab"),
    "camera": ("reflex camera", "polaroid camera"),
    "hat": ("cowboy hat", "sombrero"),
    "chair": ("folding chair", "rocking chair", "barber chair"),
    "butterfly": ("monarch", "admiral", "ringlet", "cabbage butterfly", "sulphur butterfly", "lycaenid"),
    "lamp": ("table lamp",),
    "cellphone": ("phone",),
    "polo": ("polo shirt",),
    "longsleeve": ("long-sleeved shirt",),
}


def type_of(row: Row) -> str:
    """The object type of a photograph by the taxonomy's rules."""
    return _CLASSES.get(row.coarse) or _TYPES.get(row.object_type, row.object_type)


def tag_of(row: Row) -> str:
    """The word that an item of this class is tagged with."""
    return row.coarse.lower().replace("_", " ").replace("-", " ")


class Judge:
    """Says which words are right of a class."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self._taxonomy = taxonomy
        self._true: dict[tuple[str, str], tuple[bool, bool]] = {}  # (word, class) -> right, true

    def names(self, row: Row) -> tuple[str, ...]:
        """The names of the class."""
        tag = tag_of(row)
        return (tag, *_ALSO.get(tag, ()))

    def is_right(self, word: str, row: Row) -> bool:
        """Whether the word is a name of the class or a synonym of one."""
        return self._judged(word, row)[0]

    def is_true(self, word: str, row: Row) -> bool:
        """Whether the word is right, or broader than a label that names the class."""
        return self._judged(word, row)[1]

    def is_in_no_list(self, row: Row) -> bool:
        """Whether no label of detector or classifier, and no broader word of one, is a name of the class."""
        known = {*self._taxonomy.detector, *self._taxonomy.classifier, *self._taxonomy.broader.values()}
        return not any(self.is_right(word, row) for word in known)

    def _judged(self, word: str, row: Row) -> tuple[bool, bool]:
        key = (word, row.coarse)
        if key not in self._true:
            broader, names = self._taxonomy.broader, self.names(row)
            right = self._is_one_of(word, names)
            named = (broader[label] for label in broader if self._is_one_of(label, names))
            self._true[key] = right, right or self._is_one_of(word, named)
        return self._true[key]

    def _is_one_of(self, word: str, names: Iterable[str]) -> bool:
        table = self._taxonomy.synonyms
        keys = {word_key(name, table) for name in names}
        key = word_key(word, table)
        return any(len(same_words({key: 1.0, name: 1.0}, {})) == 1 for name in keys)
