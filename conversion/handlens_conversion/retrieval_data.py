"""Labelled photographs for training and measuring retrieval: the gallery that is searched, and the queries.

A data folder holds `retrieval/multi_domain.jsonl` and `retrieval/grocery_sku.jsonl`, a JSON object a line with `image`
(a path relative to the folder), `label`, `object_type`, `split`, and where it applies `level` and `license`.

Rules:

* A photograph is what its bytes are: rows are told apart by SHA-256, never by name.
* A head is trained on what may be shipped and is not measured with: the gallery of `multi_domain`, and those `train`
  rows of `grocery_sku` that show packaged goods. Queries, the studio pictures of `grocery_sku`, its loose fruit and
  vegetables that the gallery does not hold, and any photograph with the bytes of a query or a studio picture are left
  out. Rows under a licence not listed here stop the reading.

Use::

    sets = [load_set(Path("data"), name) for name in SETS]
    photos = training_photos(Path("data"))
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from handlens.errors import DecodeError, ModelError
from handlens.wire.fields import Fields, load_object
from handlens_conversion.packages import file_sha256

__all__ = ["SETS", "RetrievalSet", "Row", "TrainingPhoto", "load_set", "training_photos"]

SETS = ("multi_domain", "grocery_sku")
# Licences of rows, word for word, and what the card calls them. Weights trained under these may be shipped.
LICENCES = {
    "MIT (repo LICENSE)": "MIT",
    "CC0-1.0 (repo LICENSE)": "CC0-1.0",
    "Caltech-101 (no licence file in repo; CaltechDATA lists CC BY 4.0, unverified here; web images)": "CC BY 4.0",
}
# grocery_sku names the varieties and goods of multi_domain without this prefix.
_GROCERY = "grocery:"


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled photograph; `image` is a path relative to the data folder, `coarse` names a group of labels."""

    image: str
    label: str
    object_type: str
    split: str
    level: str
    licence: str
    source: str
    coarse: str = ""


@dataclass(frozen=True, slots=True)
class RetrievalSet:
    """What is searched and what is searched for. A hit is a gallery photograph with the query's label."""

    name: str
    gallery: tuple[Row, ...]
    queries: tuple[Row, ...]

    def restricted(self, labels: Iterable[str]) -> RetrievalSet:
        """The same gallery with only the queries that have one of `labels`."""
        wanted = set(labels)
        return RetrievalSet(self.name, self.gallery, tuple(row for row in self.queries if row.label in wanted))


@dataclass(frozen=True, slots=True)
class TrainingPhoto:
    """A photograph that a head may be trained on; `label` is the same in both sets."""

    image: str
    sha256: str
    label: str
    source: str
    licence: str


def load_set(data: Path, name: str, *, split: str = "val") -> RetrievalSet:
    """Read a retrieval set: its gallery, and the queries of `split`.

    Raises:
        ModelError: the file is missing or malformed, or has no such rows.
    """
    rows = _read(data, name)
    gallery = tuple(row for row in rows if row.split == "gallery")
    queries = tuple(row for row in rows if row.split == split)
    if not gallery or not queries:
        raise ModelError(
            f"{name} has {len(gallery)} gallery rows and {len(queries)} rows of split {split!r}: both are needed"
        )
    return RetrievalSet(name, gallery, queries)


def common_label(set_name: str, label: str) -> str:
    """The label under which a class is known in both sets."""
    return _GROCERY + label if set_name == "grocery_sku" else label


def training_photos(data: Path) -> tuple[TrainingPhoto, ...]:
    """The photographs that a head may be trained on, in a fixed order, each once.

    Raises:
        ModelError: a file is missing or malformed, or a row's licence is not known to let weights be shipped.
    """
    multi, grocery = _read(data, "multi_domain"), _read(data, "grocery_sku")
    gallery = [row for row in multi if row.split == "gallery"]
    known = {row.image for row in gallery}
    goods = [row for row in grocery if row.split == "train" and row.level == "instance" and row.image not in known]
    measured = [row for row in multi if row.split not in ("gallery", "train")]
    measured += [row for row in grocery if row.split != "train"]
    kept_apart = {file_sha256(data / row.image) for row in measured}
    photos: dict[str, TrainingPhoto] = {}
    for set_name, rows in (("multi_domain", gallery), ("grocery_sku", goods)):
        for row in rows:
            photo = _training_photo(data, row, common_label(set_name, row.label))
            if photo.sha256 not in kept_apart:
                photos.setdefault(photo.sha256, photo)
    return tuple(photos[digest] for digest in sorted(photos))


def _training_photo(data: Path, row: Row, label: str) -> TrainingPhoto:
    licence = LICENCES.get(row.licence)
    if licence is None:
        raise ModelError(
            f"{row.image} is under {row.licence!r}, which is not known to let weights be shipped: leave it out"
        )
    return TrainingPhoto(row.image, file_sha256(data / row.image), label, row.source, licence)


def _read(data: Path, name: str) -> tuple[Row, ...]:
    path = data / "retrieval" / f"{name}.jsonl"
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error.strerror}): name the folder of the photographs with --data"
        ) from error
    try:
        return tuple(_row(line, what=f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip())
    except DecodeError as error:
        raise ModelError(f"{error}: repair the list") from error


def _row(line: bytes, *, what: str) -> Row:
    fields = Fields(load_object(line, what=what), what=what)
    return Row(
        image=fields.text("image"),
        label=fields.text("label"),
        object_type=fields.text("object_type"),
        split=fields.text("split"),
        level=fields.text("level", ""),
        licence=fields.text("license", ""),
        source=fields.text("source", ""),
        coarse=fields.text("coarse", ""),
    )


def save_training_list(photos: Sequence[TrainingPhoto], path: Path) -> None:
    """Write the list of photographs that a head was trained on, a JSON object a line."""
    path.write_text("".join(_lines(photos)), encoding="utf-8")


def _lines(photos: Sequence[TrainingPhoto]) -> Iterator[str]:
    for photo in photos:
        record = {"sha256": photo.sha256, "label": photo.label, "source": photo.source, "licence": photo.licence}
        yield json.dumps(record, ensure_ascii=False) + "\n"
