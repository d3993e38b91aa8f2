"""What stands beside a trained network: model.json, the taxonomy, the record of the training.

Rules:

* New labels stand behind the old ones, so a number of the heat map means what it meant.
* Each new label has an object type: the one that was given, else the data set's supercategory when that is one. There
  is no default: a wrong type would lead searches astray in silence.
* The taxonomy is the old one with the new labels in the detector's table, and a version of its own.
* Paths of the machine that trained are in none of these files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handlens.errors import DecodeError, ModelError, TrainingDataError
from handlens.wire.fields import load_object
from handlens.wire.item import OBJECT_TYPES
from handlens.wire.model import ModelSpec
from handlens.wire.taxonomy import Taxonomy

__all__ = ["Base", "describe", "extend_taxonomy", "open_base", "types_of"]


@dataclass(frozen=True, slots=True)
class Base:
    """The detector to start from: its file, its model.json (parsed and raw), and the taxonomy beside its folder.

    `protected` is how many labels, from the first, may not be taught again: those that no training put there.
    """

    folder: Path
    data: bytes
    spec: ModelSpec
    record: Mapping[str, Any]
    taxonomy: Taxonomy
    protected: int


def open_base(models: Path) -> Base:
    """Read detector/ and taxonomy.json of a folder of models.

    Raises:
        ModelError: one is missing, damaged, or does not fit its model.json.
    """
    folder = models / "detector"
    try:
        text = (folder / "model.json").read_bytes()
        spec = ModelSpec.from_json(text, what=str(folder / "model.json"))
        data = (folder / spec.file).read_bytes()
        taxonomy = Taxonomy.from_json((models / "taxonomy.json").read_bytes())
    except OSError as error:
        raise ModelError(
            f"{error.filename} cannot be read ({error.strerror}): "
            "name the folder of detector/ and taxonomy.json with --models"
        ) from error
    except DecodeError as error:
        raise ModelError(f"{models}: {error}") from error
    if spec.kind != "detector" or hashlib.sha256(data).hexdigest() != spec.sha256:
        raise ModelError(f"{folder} holds no detector that fits its model.json: build it again")
    record = load_object(text, what="model.json")
    return Base(folder, data, spec, record, taxonomy, len(spec.labels) - len(_taught(record)))


def types_of(
    labels: Sequence[str], *, given: Mapping[str, str], named: Mapping[str, str], base: Taxonomy
) -> dict[str, str]:
    """The object type of each label: given, named by the data set, or known from an earlier training.

    Raises:
        TrainingDataError: a label has none, or a type is unknown.
    """
    unknown = sorted(set(given.values()) - set(OBJECT_TYPES))
    if unknown:
        raise TrainingDataError(f"{', '.join(unknown)} is no object type: give one of {', '.join(OBJECT_TYPES)}")
    stray = sorted(set(given) - set(labels))
    if stray:
        raise TrainingDataError(
            f"--type names {', '.join(stray)}, which is not trained: trained are {', '.join(labels)}"
        )
    known = {**base.detector, **named, **given}
    missing = [label for label in labels if label not in known]
    if missing:
        raise TrainingDataError(
            f"{', '.join(missing)}: no object type. Give --type '{missing[0]}=TYPE' for each, "
            f"one of {', '.join(OBJECT_TYPES)}"
        )
    return {label: known[label] for label in labels}


def describe(base: Base, data: bytes, labels: Sequence[str], training: Mapping[str, Any]) -> dict[str, Any]:
    """The model.json of a network that is the base's with rows of `labels` behind its protected ones."""
    record = json.loads(json.dumps(base.record))
    record["labels"] = [*base.spec.labels[: base.protected], *labels]
    record["outputs"]["heatmap"]["shape"][3] = len(record["labels"])
    digest = hashlib.sha256(data).hexdigest()
    record.update(version=f"{_plain_version(base)}+{digest[:12]}", sha256=digest, size=len(data))
    record["provenance"] = {
        **{name: value for name, value in base.record.get("provenance", {}).items() if name != "training"},
        "training": dict(training),
        "built_with": "handlens-convert train detector",
    }
    return dict(record)


def extend_taxonomy(base: Taxonomy, types: Mapping[str, str]) -> dict[str, Any]:
    """The taxonomy with these labels in the detector's table."""
    record = base.to_dict()
    record["labels"]["detector"] = {**record["labels"]["detector"], **types}
    content = json.dumps(record["labels"]["detector"], sort_keys=True)
    record["version"] = f"{base.version.split('+')[0]}+{hashlib.sha256(content.encode()).hexdigest()[:8]}"
    return record


def _plain_version(base: Base) -> str:
    return base.spec.version.split("+")[0]


def _taught(record: Mapping[str, Any]) -> tuple[str, ...]:
    training = record.get("provenance", {}).get("training", {})
    return tuple(training.get("labels", ()))
