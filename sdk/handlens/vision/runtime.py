"""The only module that imports a TFLite runtime.

LiteRT (``ai-edge-litert``) where it is installed, else its predecessor ``tflite-runtime``; `Options.runtime` forces
one. A `Session` is one opened model. Input and outputs are read and written in the interpreter's own memory, so that a
2 MB heat map is never copied; a lock makes a session safe to share between threads.
"""

from __future__ import annotations

import hashlib
import importlib
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from handlens.errors import DecodeError, ModelError
from handlens.wire.model import ModelSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Output", "Runtime", "Session", "find_runtime", "read_spec"]

T = TypeVar("T")

_PACKAGES = {
    "litert": ("ai_edge_litert.interpreter", "ai-edge-litert"),
    "tflite": ("tflite_runtime.interpreter", "tflite-runtime"),
}


@dataclass(frozen=True, slots=True)
class Runtime:
    """A runtime that can be imported here."""

    name: str
    distribution: str
    version: str
    interpreter: Any

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


@dataclass(frozen=True, slots=True)
class Output:
    """One output tensor as the interpreter holds it. Valid only inside the reader that `Session.run` calls.

    `values` may be quantized: real = (value - zero_point) * scale; for float tensors scale is 1 and zero_point 0.
    """

    values: NDArray[Any]
    scale: float
    zero_point: int

    def real(self, values: NDArray[Any] | None = None) -> NDArray[np.float32]:
        """Real values, as a copy: of the whole tensor, or of `values` taken from it."""
        taken = (self.values if values is None else values).astype(np.float32)
        if self.zero_point:
            taken -= self.zero_point
        if self.scale != 1.0:
            taken *= self.scale
        return taken

    def least(self, real: float) -> float | int:
        """The least stored value that stands for `real` or more, for comparing without converting the tensor.

        A whole number for a tensor of whole numbers: NumPy would turn all of it into floats to compare with one.
        """
        stored = real / self.scale + self.zero_point
        return stored if self.values.dtype.kind == "f" else math.ceil(stored)


def find_runtime(wanted: str = "auto") -> Runtime:
    """The runtime to use: `wanted` is litert, tflite, or auto (LiteRT first).

    Raises:
        ModelError: it is not installed, or does not import; the message says what to install.
    """
    from importlib.metadata import version  # 10 ms, which `import handlens.Lens` need not pay

    for name in ("litert", "tflite") if wanted == "auto" else (wanted,):
        module, distribution = _PACKAGES[name]
        try:
            interpreter = importlib.import_module(module).Interpreter
        except ModuleNotFoundError as error:
            if error.name is not None and error.name.split(".")[0] != module.split(".")[0]:
                raise ModelError(f"{distribution} is installed but lacks {error.name}: reinstall it") from error
            continue
        except (ImportError, AttributeError, OSError) as error:
            raise ModelError(f"{distribution} is installed but does not load ({error}): reinstall it") from error
        return Runtime(name, distribution, version(distribution), interpreter)
    if wanted == "auto":
        raise ModelError("no TFLite runtime is installed: pip install ai-edge-litert (or 'tflite-runtime' 'numpy<2')")
    raise ModelError(
        f"the runtime {wanted} is not installed: pip install {_PACKAGES[wanted][1]}, or use runtime='auto'"
    )


def read_spec(folder: Path, kind: str) -> ModelSpec:
    """The `model.json` of a model folder.

    Raises:
        ModelError: missing, malformed, or of another kind.
    """
    path = folder / "model.json"
    try:
        spec = ModelSpec.from_json(path.read_bytes(), what=str(path))
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error.strerror}): sync again, or install the release again"
        ) from error
    except DecodeError as error:
        raise ModelError(f"{error}: install a model that fits this handlens") from error
    if spec.kind != kind:
        raise ModelError(f"{path} describes a model of kind {spec.kind!r}, a {kind} is needed: install the right model")
    return spec


class Session:
    """One opened model: checked against its `model.json`, then run any number of times, by any thread."""

    def __init__(self, interpreter: Any, spec: ModelSpec, runtime: Runtime) -> None:
        self.spec = spec
        self.runtime = runtime
        self._interpreter = interpreter
        self._lock = threading.Lock()
        self._input = interpreter.get_input_details()[0]
        self._dtype = np.dtype(self._input["dtype"])
        self._outputs = {
            name: interpreter.get_output_details()[output.position] for name, output in spec.outputs.items()
        }
        self._lookup = _lookup_table(spec, self._input)
        self._shift = None if self._lookup is None else _shift(self._lookup)

    @classmethod
    def open(cls, folder: Path, kind: str, *, threads: int = 2, runtime: str = "auto") -> Session:
        """Open the model in `folder` (model.json and its .tflite file).

        Raises:
            ModelError: no runtime, or the file is missing, damaged, or not as its model.json says.
        """
        spec = read_spec(folder, kind)
        path = folder / spec.file
        _check_file(path, spec)
        found = find_runtime(runtime)
        try:
            interpreter = found.interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError, ImportError, AttributeError) as error:
            raise ModelError(f"{found} cannot open {path}: {error}{_remedy(found)}") from error
        _check_tensors(interpreter, spec, path)
        return cls(interpreter, spec, found)

    def run(self, pixels: NDArray[np.uint8], read: Callable[[dict[str, Output]], T]) -> T:
        """Run on (height, width, 3) uint8 RGB and return what `read` makes of the outputs.

        `read` gets views into the interpreter's memory: what it returns must not hold them.
        """
        return self.run_prepared(self.prepared(pixels), read)

    def run_prepared(self, values: NDArray[Any], read: Callable[[dict[str, Output]], T]) -> T:
        """As `run`, on what `prepared` made. Python's lock is kept until the network runs.

        NumPy would give it back while it copies, and a thread beside that took it could keep it for milliseconds.
        """
        with self._lock:
            self._interpreter.tensor(self._input["index"])()[0].data.cast("B")[:] = values.data.cast("B")
            self._interpreter.invoke()
            return read({name: self._view(details) for name, details in self._outputs.items()})

    def prepared(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """(height, width, 3) uint8 RGB as the network's input takes them: quantized, or (pixel - mean) / std."""
        if self._shift is not None:
            return np.add(pixels, self._shift, order="C").view(self._dtype)
        if self._lookup is not None:
            return np.take(self._lookup, pixels)
        image, values = self.spec.input, pixels.astype(self._dtype, order="C")
        if image.mean:
            values -= image.mean
        if image.std != 1.0:
            values *= 1.0 / image.std
        return values

    def _view(self, details: dict[str, Any]) -> Output:
        scale, zero_point = details["quantization"]
        return Output(self._interpreter.tensor(details["index"])()[0], scale or 1.0, zero_point)


def _lookup_table(spec: ModelSpec, details: dict[str, Any]) -> NDArray[Any] | None:
    """For an integer input: pixel 0..255 -> quantized value. None for a float input."""
    dtype = np.dtype(details["dtype"])
    if dtype.kind == "f":
        return None
    scale, zero_point = details["quantization"]
    real = (np.arange(256) - spec.input.mean) / spec.input.std
    limits = np.iinfo(dtype)
    table: NDArray[Any] = np.clip(np.rint(real / scale) + zero_point, limits.min, limits.max).astype(dtype)
    return table


def _shift(table: NDArray[Any]) -> np.uint8 | None:
    """What a table of one-byte values adds to every pixel, modulo 256; None when it is no such table.

    Adding takes a twentieth of the time of looking up: a model whose input has a scale of 1 is filled so.
    """
    if table.dtype.itemsize != 1:
        return None
    steps = table.view(np.uint8) - np.arange(256, dtype=np.uint8)
    return np.uint8(steps[0]) if np.all(steps == steps[0]) else None


def _check_file(path: Path, spec: ModelSpec) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.sha256(file.read(spec.size + 1)).hexdigest()
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error.strerror}): sync again, or install the release again"
        ) from error
    if found != spec.sha256:
        raise ModelError(
            f"{path} is not the file that its model.json names (sha256 differs): sync again, or install the "
            "release again"
        )


def _check_tensors(interpreter: Any, spec: ModelSpec, path: Path) -> None:
    image = interpreter.get_input_details()[0]
    expected = (1, spec.input.height, spec.input.width, 3)
    if tuple(image["shape"]) != expected or np.dtype(image["dtype"]) != np.dtype(spec.input.dtype):
        found = f"{tuple(image['shape'])} {np.dtype(image['dtype'])}"
        raise ModelError(f"{path} takes {found}, its model.json says {expected} {spec.input.dtype}: install it again")
    outputs = interpreter.get_output_details()
    for name, output in spec.outputs.items():
        shape = tuple(outputs[output.position]["shape"]) if output.position < len(outputs) else None
        if shape != output.shape:
            raise ModelError(f"{path} gives {shape} as {name!r}, its model.json says {output.shape}: install it again")


def _remedy(runtime: Runtime) -> str:
    if runtime.name == "tflite" and int(np.__version__.split(".")[0]) >= 2:
        return " (tflite-runtime needs NumPy 1: pip install 'numpy<2', or use ai-edge-litert)"
    return ""
