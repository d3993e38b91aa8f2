"""`model.json`: all that the SDK must know to run a model, so that device, server and training preprocess alike."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from handlens.wire.fields import Fields, load_object
from handlens.wire.fusion import FusionWeights

__all__ = ["InputSpec", "ModelSpec", "OutputSpec"]

_FORMAT = 1
_KINDS = ("detector", "embedder")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The image input, NHWC, batch 1: real value = (pixel 0..255 - mean) / std, then the tensor's own quantization."""

    width: int
    height: int
    dtype: str
    resample: str
    mean: float
    std: float


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output: its position among the interpreter's output details, and its shape."""

    position: int
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model. `space` names the embedding space: vectors compare only within one space.

    `temperature` divides the classifier's logits; `understanding` is fitted to the embeddings and the labels of this
    model, and has its defaults where the file says nothing.
    """

    kind: str
    name: str
    version: str
    file: str
    sha256: str
    size: int
    input: InputSpec
    outputs: Mapping[str, OutputSpec]
    labels: tuple[str, ...]
    decode: Mapping[str, Any]
    space: str
    dim: int
    temperature: float | None
    raw: Mapping[str, Any]
    understanding: FusionWeights = field(default_factory=FusionWeights)

    @property
    def model_id(self) -> str:
        """Name and version, for messages and for status."""
        return f"{self.name} {self.version}"

    @classmethod
    def from_json(cls, text: str | bytes, *, what: str = "model.json") -> ModelSpec:
        """Read a `model.json`.

        Raises:
            DecodeError: malformed, a newer format, or fields that contradict each other.
        """
        fields = Fields(load_object(text, what=what), what=what)
        fields.require_format(_FORMAT)
        kind = fields.text("kind")
        if kind not in _KINDS:
            raise fields.wrong("kind", f"one of {', '.join(_KINDS)}")
        embedding = fields.mapping("embedding", {})
        spec = cls(
            kind=kind,
            name=fields.text("name"),
            version=fields.text("version"),
            file=_plain_name(fields, "file"),
            sha256=_sha256(fields, "sha256"),
            size=fields.integer("size"),
            input=_input(fields.mapping("input")),
            outputs=_outputs(fields.mapping("outputs")),
            labels=_unique(fields, "labels"),
            decode=dict(fields.mapping("decode", {}).values),
            space=embedding.text("space", "") if kind == "embedder" else "",
            dim=embedding.integer("dim") if kind == "embedder" else 0,
            temperature=_temperature(fields),
            understanding=_understanding(fields),
            raw=fields.values,
        )
        _check_outputs(spec, fields)
        return spec


def _plain_name(fields: Fields, name: str) -> str:
    value = fields.text(name)
    if "/" in value or "\\" in value or value in ("", ".", ".."):
        raise fields.wrong(name, "a file name with no folder in it")
    return value


def _sha256(fields: Fields, name: str) -> str:
    value = fields.text(name)
    if not _SHA256.fullmatch(value):
        raise fields.wrong(name, "64 lower-case hexadecimal digits")
    return value


def _unique(fields: Fields, name: str) -> tuple[str, ...]:
    values = fields.strings(name)
    if len(set(values)) != len(values):
        raise fields.wrong(name, "labels that are all different")
    return values


def _temperature(fields: Fields) -> float | None:
    if fields.values.get("calibration") is None:
        return None
    calibration = fields.mapping("calibration")
    return None if calibration.values.get("temperature") is None else calibration.number("temperature")


def _understanding(fields: Fields) -> FusionWeights:
    calibration = fields.values.get("calibration")
    if not isinstance(calibration, Mapping) or calibration.get("understanding") is None:
        return FusionWeights()
    return FusionWeights.from_fields(fields.mapping("calibration").mapping("understanding"))


def _input(fields: Fields) -> InputSpec:
    if fields.text("resize", "stretch") != "stretch" or fields.text("color", "RGB") != "RGB":
        raise fields.wrong("resize", "stretch, with color RGB: this handlens knows no other preprocessing")
    return InputSpec(
        width=fields.integer("width"),
        height=fields.integer("height"),
        dtype=fields.text("dtype"),
        resample=fields.text("resample", "bilinear"),
        mean=fields.number("mean", 0.0),
        std=fields.number("std", 1.0),
    )


def _outputs(fields: Fields) -> dict[str, OutputSpec]:
    outputs = {}
    for name in fields.values:
        output = fields.mapping(name)
        shape = output.values.get("shape")
        if not isinstance(shape, list) or not all(isinstance(size, int) and size > 0 for size in shape):
            raise output.wrong("shape", "a list of whole numbers above 0")
        outputs[name] = OutputSpec(position=output.integer("position"), shape=tuple(shape))
    return outputs


def _check_outputs(spec: ModelSpec, fields: Fields) -> None:
    """The labels and the dimension must agree with the shapes of the outputs they describe."""
    needed = {"detector": ("heatmap", "distances"), "embedder": ("logits", "embedding")}[spec.kind]
    for name in needed:
        if name not in spec.outputs:
            raise fields.wrong("outputs", f"an output called {name!r}")
    labelled = spec.outputs[needed[0]].shape[-1]
    if labelled != len(spec.labels):
        raise fields.wrong("labels", f"{labelled} labels, one a channel of {needed[0]!r}, not {len(spec.labels)}")
    if spec.kind == "embedder" and spec.outputs["embedding"].shape[-1] != spec.dim:
        raise fields.wrong("embedding", f"dim {spec.outputs['embedding'].shape[-1]}, as its output has")
