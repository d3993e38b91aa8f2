"""Pooled features of photographs, computed once by the float network and kept in a cache folder.

The cache key covers the network's bytes, the preprocessing and the SHA-256 of every photograph, so a stale entry cannot
be taken for a fresh one.

Use::

    features = extract(files, model=float_features(cache), cache=cache, what="gallery")
    features.logits.shape, features.of(("top",)).shape        # (n, 1000), (n, 1280)
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from handlens.geometry import WHOLE, Box
from handlens_conversion.embedder_network import MEAN, STD, TAPS
from handlens_conversion.embedder_parent import RESAMPLE, load_pixels
from handlens_conversion.packages import file_sha256

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Features", "extract"]


@dataclass(frozen=True, slots=True)
class Features:
    """`logits` is (n, 1000), `pooled` (n, channels of all of `TAPS` in order), both float32, a row a photograph."""

    logits: NDArray[np.float32]
    pooled: NDArray[np.float32]

    def of(self, taps: Sequence[str]) -> NDArray[np.float32]:
        """The pooled features of some taps, side by side in the order given: (n, channels)."""
        ends = dict(zip(TAPS, np.cumsum(list(TAPS.values())), strict=True))
        return np.concatenate([self.pooled[:, ends[tap] - TAPS[tap] : ends[tap]] for tap in taps], axis=1)


def extract(
    files: Sequence[Path],
    *,
    model: bytes,
    cache: Path,
    what: str,
    parts: Sequence[Box] | None = None,
    threads: int = 2,
    progress: bool = True,
) -> Features:
    """Features of photographs (upright, stretched), from the cache where it holds them.

    Args:
        files: The photographs.
        parts: The part of each photograph that is read; None reads them whole.
        model: What `float_features` gives.
        cache: Folder of the cache.
        what: Name on the progress bar.
        threads: Threads of the runtime.
        progress: Show a progress bar on standard error.

    Raises:
        ImageError: a photograph cannot be read.
    """
    boxes = [WHOLE] * len(files) if parts is None else list(parts)
    entry = cache / "features" / f"{_key(files, model, boxes)}.npz"
    known = _load(entry)
    if known is not None:
        return known
    features = _run(files, boxes, model, what=what, threads=threads, progress=progress)
    _save(features, entry)
    return features


def _key(files: Sequence[Path], model: bytes, boxes: Sequence[Box]) -> str:
    digest = hashlib.sha256(model)
    digest.update(RESAMPLE.encode())
    for file in files:
        digest.update(bytes.fromhex(file_sha256(file)))
    if any(box != WHOLE for box in boxes):
        digest.update(json.dumps([box.to_list() for box in boxes]).encode())
    return digest.hexdigest()[:32]


def _load(entry: Path) -> Features | None:
    try:
        with np.load(entry, allow_pickle=False) as file:
            return Features(file["logits"], file["pooled"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # cut short by an interrupted run: it is computed again and replaced


def _save(features: Features, entry: Path) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    temporary = entry.with_name(entry.name + ".part")
    with temporary.open("wb") as file:
        np.savez(file, logits=features.logits, pooled=features.pooled)
    os.replace(temporary, entry)


def _run(
    files: Sequence[Path], boxes: Sequence[Box], model: bytes, *, what: str, threads: int, progress: bool
) -> Features:
    from ai_edge_litert.interpreter import Interpreter
    from tqdm import tqdm

    interpreter = Interpreter(model_content=model, num_threads=threads)
    interpreter.allocate_tensors()
    waiting = tqdm(zip(files, boxes, strict=True), total=len(files), desc=what, unit="photo", disable=not progress)
    rows = [_row(interpreter, file, box) for file, box in waiting]
    return Features(np.stack([row[0] for row in rows]), np.stack([np.concatenate(row[1:]) for row in rows]))


def _row(interpreter: Any, file: Path, box: Box) -> list[NDArray[np.float32]]:
    image = (load_pixels(file, box)[None].astype(np.float32) - MEAN) / STD
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return [interpreter.get_tensor(output["index"])[0] for output in interpreter.get_output_details()]
