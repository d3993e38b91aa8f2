"""The 1000 ImageNet labels: unique, lower case, in the order of the classifier's outputs, with all their synonyms.

The names come from the npm package `@tensorflow-models/mobilenet`, which lists each class as the comma-separated
synonyms of its WordNet synset. A label is the first synonym in lower case. Three pairs of classes begin alike
(crane: the bird and the machine); one of each pair gets a label of its own below.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from handlens.errors import ModelError

__all__ = ["PACKAGE", "read_synonyms", "to_labels"]

PACKAGE = (
    "@tensorflow-models/mobilenet",
    "2.1.1",
    "29b97f8db758d1d699c5654100fd363beaaeda1874e1488b5bceb267d13f90ff",
)
_FILE = "package/dist/imagenet_classes.js"
_CLASSES = 1000
# Of two classes that begin alike one keeps the name, the other gets one that tells it apart.
_TWINS = {264: "cardigan welsh corgi", 517: "crane machine", 639: "tank suit"}
# One entry: the number, then string literals joined by + that may run over several lines.
_ENTRY = re.compile(r"""(\d+):\s*((?:(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")[\s+]*)+)""")
_LITERAL = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""")


def read_synonyms(folder: Path) -> tuple[tuple[str, ...], ...]:
    """Return each class's synonyms in lower case, by class number, from the unpacked package.

    Raises:
        ModelError: the file is missing or does not list 1000 classes.
    """
    path = folder / _FILE
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}): empty the cache folder and try again") from error
    classes = {int(number): _synonyms(literals) for number, literals in _ENTRY.findall(text)}
    if sorted(classes) != list(range(_CLASSES)) or not all(classes.values()):
        raise ModelError(f"{path} lists {len(classes)} classes where {_CLASSES} were expected: use the pinned package")
    return tuple(classes[number] for number in range(_CLASSES))


def to_labels(synonyms: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """One label a class: its first synonym, or its own name where two classes begin alike.

    Raises:
        ModelError: two labels are equal.
    """
    labels = tuple(_TWINS.get(number, names[0]) for number, names in enumerate(synonyms))
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        raise ModelError(f"two classes have the label {twice[0]!r}: name them apart in embedder_labels")
    return labels


def _synonyms(literals: str) -> tuple[str, ...]:
    text = "".join(re.sub(r"\\(.)", r"\1", single or double) for single, double in _LITERAL.findall(literals))
    names = (name.strip().lower() for name in text.split(","))
    return tuple(dict.fromkeys(name for name in names if name))
