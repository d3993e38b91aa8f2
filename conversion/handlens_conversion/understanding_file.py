"""`understanding.json` beside the embedder: the fitted parameters, what they were fitted on and what they give.

Rules:

* The file names the embedding space that it was fitted in. `models build embedder` carries it into `model.json` as
  `calibration.understanding`, and leaves it out when the head makes another space: parameters of one space are wrong in
  another.
* A device reads `model.json` alone.

Use::

    record = fit_record(data, models=Path("models"), cache=default_cache())
    write(Path("models/embedder"), record)
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from handlens.errors import DecodeError, ModelError
from handlens.wire.fields import Fields, load_object
from handlens.wire.fusion import FusionWeights
from handlens.wire.taxonomy import Taxonomy
from handlens_conversion.files import write_json

__all__ = ["UNDERSTANDING_FILE", "calibration_of", "fit_record", "write"]

UNDERSTANDING_FILE = "understanding.json"
_FORMAT = 1


def fit_record(data: Path, *, models: Path, cache: Path, threads: int = 2, progress: bool = True) -> dict[str, Any]:
    """Fit, and describe the fit as `understanding.json` does.

    Raises:
        ModelError: a model, the taxonomy, the packages, PyTorch or the data cannot be used.
        ImageError: a photograph cannot be read.
    """
    import click

    from handlens.vision.runtime import read_spec
    from handlens_conversion.understanding_examples import ExampleOptions, make_examples
    from handlens_conversion.understanding_fit import FitOptions, fit_understanding

    spec = read_spec(models / "embedder", "embedder")
    options, fitting = ExampleOptions(), FitOptions()
    taxonomy = _taxonomy(models / "taxonomy.json")
    examples, logits, rows = make_examples(
        data, models=models, cache=cache, options=options, threads=threads, progress=progress
    )
    fit = fit_understanding(
        examples,
        taxonomy,
        logits=logits,
        rows=rows,
        labels=spec.labels,
        options=fitting,
        tell=lambda line: click.echo(line, err=True) if progress else None,
    )
    return {
        "format": _FORMAT,
        "space": spec.space,
        "taxonomy": taxonomy.version,
        "temperature": fit.temperature,
        "parameters": fit.weights.to_dict(),
        "fitted_on": {"data": "gallery of multi_domain", "method": "cross-fitted heads", **asdict(options)},
        "fitted_by": asdict(fitting),
        "report": dict(fit.report),
        "command": "handlens-convert fit understanding --data DATA --write",
    }


def write(folder: Path, record: dict[str, Any]) -> None:
    """Write `understanding.json` into an embedder's folder, and its parameters into the `model.json` there."""
    write_json(folder / UNDERSTANDING_FILE, record)
    model = json.loads((folder / "model.json").read_bytes())
    model["calibration"] = calibration_of(folder, space=model["embedding"]["space"], temperature=1.0)
    write_json(folder / "model.json", model)


def calibration_of(folder: Path, *, space: str, temperature: float) -> dict[str, Any]:
    """The `calibration` of a `model.json`: what `understanding.json` in `folder` says, else `temperature` alone.

    Raises:
        ModelError: the file is malformed.
    """
    path = folder / UNDERSTANDING_FILE
    try:
        fields = Fields(load_object(path.read_bytes(), what=str(path)), what=str(path))
        fields.require_format(_FORMAT)
        if fields.text("space") != space:
            return {"temperature": temperature}
        parameters = FusionWeights.from_fields(fields.mapping("parameters"))
        return {"temperature": fields.number("temperature"), "understanding": parameters.to_dict()}
    except FileNotFoundError:
        return {"temperature": temperature}
    except DecodeError as error:
        raise ModelError(f"{error}: fit it again with 'handlens-convert fit understanding --write'") from error


def _taxonomy(path: Path) -> Taxonomy:
    try:
        return Taxonomy.from_json(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}): name its folder with --models") from error
    except DecodeError as error:
        raise ModelError(f"{path}: {error}") from error
