"""ImageNet's labels, read from the form in which the package lists them."""

from __future__ import annotations

from pathlib import Path

import pytest

from handlens.errors import ModelError
from handlens_conversion.embedder_labels import read_synonyms, to_labels


def package(folder: Path, entries: dict[int, str]) -> Path:
    path = folder / "package" / "dist" / "imagenet_classes.js"
    path.parent.mkdir(parents=True)
    body = "\n".join(f"    {number}: {literals}," for number, literals in entries.items())
    path.write_text('"use strict";\nexports.IMAGENET_CLASSES = {\n' + body + "\n};\n", "utf-8")
    return folder


def classes(**special: str) -> dict[int, str]:
    return {number: special.get(f"n{number}", f"'Thing {number}'") for number in range(1000)}


def test_synonyms_are_lower_case_and_joined_over_lines(tmp_path: Path) -> None:
    folder = package(tmp_path, classes(n2="'Great White Shark, man-eater, ' +\n        'Carcharodon carcharias'"))
    assert read_synonyms(folder)[2] == ("great white shark", "man-eater", "carcharodon carcharias")


def test_both_quotes_and_an_escaped_apostrophe_are_read(tmp_path: Path) -> None:
    folder = package(tmp_path, classes(n1='"potter\'s wheel"', n2=r"'jack-o\'-lantern'"))
    assert read_synonyms(folder)[1:3] == (("potter's wheel",), ("jack-o'-lantern",))


def test_a_list_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    short = dict.fromkeys(range(999), "'thing'")
    with pytest.raises(ModelError, match="999 classes"):
        read_synonyms(package(tmp_path, short))


def test_a_missing_list_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        read_synonyms(tmp_path)


def test_classes_that_begin_alike_get_labels_of_their_own() -> None:
    synonyms = [(f"thing {number}",) for number in range(1000)]
    synonyms[134] = synonyms[517] = ("crane",)
    labels = to_labels(tuple(synonyms))
    assert (labels[134], labels[517]) == ("crane", "crane machine")
    assert len(set(labels)) == 1000


def test_other_classes_that_begin_alike_are_an_error() -> None:
    with pytest.raises(ModelError, match="two classes have the label 'thing'"):
        to_labels((("thing",), ("thing", "other")))
