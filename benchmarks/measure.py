"""What every benchmark needs: the machine's facts, percentiles, a table, a JSON file."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["REPOSITORY", "concluded", "machine", "make_device", "milliseconds", "spread", "target", "write_json"]

REPOSITORY = Path(__file__).resolve().parent.parent
_PACKAGES = ("handlens", "ai-edge-litert", "tflite-runtime", "numpy", "pillow", "hnswlib")


def machine() -> dict[str, Any]:
    """What ran, on what, and how busy it was when this was called."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load_average_1_5_15_min": [round(load, 2) for load in os.getloadavg()],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
    }


def make_device(folder: Path, *, repository: Path = REPOSITORY, threads: int = 1) -> Path:
    """A device in `folder` with the demo catalogue installed, from the models and the catalogue of the repository."""
    sys.path.append(str(repository / "tests"))
    from support.backend import make_release

    from handlens import Lens, Options

    release, device = make_release(repository / "demo" / "catalog", folder, "benchmark-1"), folder / "device"
    with Lens(Options(data_dir=device, threads=threads)) as lens:
        lens.install(release)
    return device


def milliseconds(call: Callable[[], Any]) -> float:
    """How long one call takes, by the wall clock."""
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1000


def spread(samples: Sequence[float]) -> dict[str, float]:
    """Median and 95th percentile, to a microsecond where the samples are milliseconds."""
    p50, p95 = np.percentile(samples, [50, 95])
    return {"p50": round(float(p50), 3), "p95": round(float(p95), 3)}


def target(
    name: str, value: float | None, at_most: float | None = None, *, at_least: float | None = None
) -> dict[str, Any]:
    """One claim, with one bound; a value that there is not meets none. Prints it."""
    bounds = {word: bound for word, bound in (("at_most", at_most), ("at_least", at_least)) if bound is not None}
    met = value is not None and (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
    wanted = " and ".join(f"{word.replace('_', ' ')} {bound:g}" for word, bound in bounds.items())
    shown = "none" if value is None else f"{value:.3g}"
    print(f"{'met   ' if met else 'MISSED'}  {name}: {shown} (target: {wanted})")
    return {"name": name, "value": None if value is None else round(value, 4), **bounds, "met": met}


def concluded(path: Path | None, figures: dict[str, Any]) -> int:
    """Write the figures when a path was given; the exit code: 1 when one of their `targets` is missed."""
    write_json(path, figures)
    return 0 if all(one["met"] for one in figures["targets"]) else 1


def write_json(path: Path | None, figures: dict[str, Any]) -> None:
    """Write the figures when a path was given."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _cpu() -> str:
    try:
        lines: Iterable[str] = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return named[0] if named else platform.processor()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
