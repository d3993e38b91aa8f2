"""A trained detector goes into the folder of models that the server makes releases of.

Rules:

* The workshop meets the server through files only: `handlens-server release publish --models MODELS` reads detector/,
  embedder/, taxonomy.json and policy.json of one folder. This puts detector/ and taxonomy.json there, nothing else.
* What is put there is checked first: the network is the one that model.json describes, it runs, it has all labels of
  the detector it replaces, and the taxonomy knows each label.
* The taxonomy comes first: it also fits the former detector, because it only knows more labels. A stop between the two
  renames of the detector's folder leaves none, which a release refuses; the next run puts the former one back first.
* What stood there is kept in detector.former and taxonomy.former.json, until the next time.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from handlens.errors import ModelError
from handlens.vision.detector import Detector
from handlens_conversion.files import write_whole
from handlens_conversion.training.folder import Base, open_base

__all__ = ["publish_detector"]

_FORMER = "detector.former"


def publish_detector(trained: Path, models: Path) -> tuple[str, str]:
    """Put a trained detector into `models`; returns the former and the new detector's name and version.

    Raises:
        ModelError: one of the folders is not as it must be, or `models` cannot be written.
    """
    _undo_half(models)
    new, old = open_base(trained), open_base(models)
    _check(new, old, trained)
    try:
        _place(new, trained, models)
    except OSError as error:
        raise ModelError(
            f"{models} cannot be written ({error.strerror}): free the disk, or name another --models"
        ) from error
    return old.spec.model_id, new.spec.model_id


def _check(new: Base, old: Base, trained: Path) -> None:
    Detector.open(new.folder)
    kept = old.spec.labels[: old.protected]
    if new.spec.labels[: len(kept)] != kept:
        raise ModelError(
            f"{trained} does not begin with the labels of the detector it would replace: train it from that one"
        )
    forgotten = [label for label in old.spec.labels if label not in new.spec.labels]
    if forgotten:
        raise ModelError(
            f"{trained} has forgotten {', '.join(forgotten)}: train with photos of all labels that were ever taught"
        )
    unknown = [label for label in new.spec.labels if label not in new.taxonomy.detector]
    if unknown:
        raise ModelError(f"{trained / 'taxonomy.json'} has no type for {', '.join(unknown)}: train again")


def _undo_half(models: Path) -> None:
    """Put the former detector back where a run was stopped between its two renames."""
    if not (models / "detector").exists() and (models / _FORMER).exists():
        os.replace(models / _FORMER, models / "detector")


def _place(new: Base, trained: Path, models: Path) -> None:
    shutil.copyfile(models / "taxonomy.json", models / "taxonomy.former.json")
    write_whole(models / "taxonomy.json", (trained / "taxonomy.json").read_bytes())
    folder, coming, former = (models / name for name in ("detector", ".detector.new", _FORMER))
    shutil.rmtree(coming, ignore_errors=True)
    shutil.copytree(new.folder, coming)
    shutil.rmtree(former, ignore_errors=True)
    os.replace(folder, former)
    os.replace(coming, folder)
