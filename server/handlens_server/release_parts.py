"""The parts of a release besides its packs: models, taxonomy and policy, checked and put among the repository files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from handlens.blend import Policy
from handlens.durable import write_durably
from handlens.errors import DecodeError, HandlensError
from handlens.wire.model import ModelSpec
from handlens.wire.release import ModelFiles, ReleaseFile
from handlens.wire.taxonomy import Taxonomy
from handlens_server.pack_states import stored_name

__all__ = ["PartsError", "ReleaseParts", "place_file", "place_parts"]

_MODEL_FILES = ("model.json", "model.tflite")


class PartsError(HandlensError):
    """A model, the taxonomy or the policy is missing, or does not fit."""


@dataclass(frozen=True, slots=True)
class ReleaseParts:
    """Models and documents, their files in place, and the embedding space of the embedder."""

    detector: ModelFiles
    embedder: ModelFiles
    taxonomy: ReleaseFile
    policy: ReleaseFile
    space: str
    dim: int


def place_parts(models: Path, targets: Path) -> ReleaseParts:
    """Check the folder `models` (detector/, embedder/, taxonomy.json, policy.json) and put its files into `targets`.

    Raises:
        PartsError: a file is missing, malformed, or not what its model.json says.
    """
    specs = {kind: _spec(models / kind, kind) for kind in ("detector", "embedder")}
    taxonomy, policy = _read(models / "taxonomy.json"), _read(models / "policy.json")
    try:
        Taxonomy.from_json(taxonomy)
        Policy.from_json(policy.decode())
    except (DecodeError, UnicodeDecodeError) as error:
        raise PartsError(f"{models}: {error}") from error
    return ReleaseParts(
        detector=_model(models / "detector", specs["detector"], targets),
        embedder=_model(models / "embedder", specs["embedder"], targets),
        taxonomy=place_file(targets, f"taxonomies/{_short(taxonomy)}.json", taxonomy),
        policy=place_file(targets, f"policies/{_short(policy)}.json", policy),
        space=specs["embedder"].space,
        dim=specs["embedder"].dim,
    )


def place_file(targets: Path, path: str, data: bytes) -> ReleaseFile:
    """Put a file into the repository's folder of files, under its hash.

    Raises:
        PartsError: the folder cannot be written.
    """
    file = ReleaseFile(path, hashlib.sha256(data).hexdigest(), len(data))
    target = targets / stored_name(file)
    try:
        if not target.is_file() or target.stat().st_size != file.size:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_durably(target, data)
    except OSError as error:
        raise PartsError(f"{target} cannot be written ({error.strerror}): make room on the disk") from error
    return file


def _model(folder: Path, spec: ModelSpec, targets: Path) -> ModelFiles:
    contents = {name: _read(folder / name) for name in _MODEL_FILES}
    named = hashlib.sha256(b"".join(hashlib.sha256(data).digest() for data in contents.values())).hexdigest()[:16]
    files: Mapping[str, ReleaseFile] = {
        name: place_file(targets, f"models/{spec.kind}-{named}/{name}", data) for name, data in contents.items()
    }
    return ModelFiles(spec.model_id, files)


def _spec(folder: Path, kind: str) -> ModelSpec:
    try:
        spec = ModelSpec.from_json(_read(folder / "model.json"), what=str(folder / "model.json"))
    except DecodeError as error:
        raise PartsError(str(error)) from error
    if spec.kind != kind:
        raise PartsError(f"{folder} holds a {spec.kind}: it must hold the {kind}")
    if hashlib.sha256(_read(folder / "model.tflite")).hexdigest() != spec.sha256:
        raise PartsError(f"{folder / 'model.tflite'} is not the file that its model.json describes: build it again")
    return spec


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PartsError(
            f"{path} cannot be read ({error.strerror}): build it with handlens-convert, or give the right --models"
        ) from error


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
