"""The embedder's head: a linear map from pooled features of the network to the embedding, kept in one `.npz` file.

Rules:

* A head is data. A new one drops in as a new file: `handlens-convert models build embedder --head FILE`.
* It names the embedding space that it makes. Vectors compare only within one space, so another head is another space.
* The file is read without pickle; what does not fit (format, shapes, names, numbers that are not finite) is refused.

Format 1, arrays of one NumPy `.npz`: `format` (int), `space` (text), `taps` (n texts: layer names, in the order of the
rows), `weights` (the taps' channels, dim) float32, `bias` (dim,) float32, `about` (text: JSON, how it was made).

Use::

    head = load_head(Path("models/embedder/head.npz"))
    embedding = head.apply(features)        # (n, rows) -> (n, dim), not normalised
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from handlens.errors import ModelError
from handlens_conversion.embedder_network import TAPS

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Head", "load_head", "save_head"]

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Head:
    """`weights` is (rows, dim) float32, its rows the channels of `taps` in order; `bias` is (dim,) float32."""

    space: str
    taps: tuple[str, ...]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        """Length of the embedding."""
        return int(self.weights.shape[1])

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed pooled features, (n, rows) -> (n, dim). The vectors are not of unit length."""
        return features @ self.weights + self.bias

    def parts(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Each tap with its rows of the weights."""
        start = 0
        for tap in self.taps:
            yield tap, self.weights[start : start + TAPS[tap]]
            start += TAPS[tap]


def save_head(head: Head, path: Path) -> None:
    """Write a head. The same head gives the same bytes."""
    arrays: dict[str, Any] = {
        "format": np.int64(_FORMAT),
        "space": np.str_(head.space),
        "taps": np.array(head.taps, dtype=np.str_),
        "weights": head.weights.astype(np.float32),
        "bias": head.bias.astype(np.float32),
        "about": np.str_(json.dumps(head.about, sort_keys=True)),
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    path.write_bytes(buffer.getvalue())


def load_head(path: Path) -> Head:
    """Read a head.

    Raises:
        ModelError: the file is missing, no head, of another format, or does not fit the network.
    """
    arrays = _arrays(path)
    version = arrays["format"]
    if version.shape != () or version != _FORMAT:
        raise ModelError(f"{path} is a head of format {version}, this handlens reads {_FORMAT}: upgrade handlens")
    try:
        about = json.loads(str(arrays["about"]))
    except ValueError as error:
        raise ModelError(f"{path}: 'about' is not JSON ({error}): train the head again") from error
    taps = tuple(str(tap) for tap in np.atleast_1d(arrays["taps"]))
    head = Head(str(arrays["space"]), taps, arrays["weights"], arrays["bias"], about)
    _check(head, path)
    return head


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            return {name: file[name] for name in ("format", "space", "taps", "weights", "bias", "about")}
    except FileNotFoundError as error:
        raise ModelError(f"there is no head {path}: train one with 'handlens-convert train head'") from error
    except KeyError as error:
        raise ModelError(
            f"{path} is not a head, it lacks {error}: train one with 'handlens-convert train head'"
        ) from error
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} is not a head ({error}): train one with 'handlens-convert train head'") from error


def _check(head: Head, path: Path) -> None:
    unknown = [tap for tap in head.taps if tap not in TAPS]
    if unknown or not head.taps or len(set(head.taps)) != len(head.taps):
        raise ModelError(
            f"{path} reads {', '.join(head.taps) or 'nothing'}; a head reads some of {', '.join(TAPS)}, each once"
        )
    rows = sum(TAPS[tap] for tap in head.taps)
    if head.weights.ndim != 2 or head.weights.shape[0] != rows or head.bias.shape != head.weights.shape[1:]:
        shapes = f"weights {head.weights.shape}, bias {head.bias.shape}"
        raise ModelError(f"{path} has {shapes}; its taps need weights ({rows}, dim) and bias (dim,): train it again")
    if head.weights.dtype != np.float32 or head.bias.dtype != np.float32:
        raise ModelError(f"{path} holds {head.weights.dtype} and {head.bias.dtype}, a head is float32: train it again")
    if not (np.isfinite(head.weights).all() and np.isfinite(head.bias).all()):
        raise ModelError(f"{path} holds numbers that are not finite: train it again")
    if not head.space:
        raise ModelError(f"{path} names no embedding space: train it again")
