"""`parity.json`: the measured figures of a model, kept beside it and bound to it by hash.

Rules:

* A report names the SHA-256 of the model it was measured on; a report of another model is not read as this one's.
* Figures are kept as they were measured; the card is written from them and from nothing else.

Use::

    save_report(folder, report)
    load_report(folder)        # None where there is none, or where it is another model's
"""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

from handlens.errors import DecodeError, ModelError
from handlens.wire.fields import load_object
from handlens_conversion.files import write_json
from handlens_conversion.packages import file_sha256

__all__ = ["load_report", "machine", "save_report"]

FILE = "parity.json"


def save_report(folder: Path, report: dict[str, Any]) -> None:
    """Write a report into a model folder, stamped with the model's hash."""
    write_json(folder / FILE, {"format": 1, "model_sha256": _model_sha256(folder), **report})


def load_report(folder: Path) -> dict[str, Any] | None:
    """Read the report of a model folder.

    Raises:
        ModelError: it is there but cannot be read, or the model is missing.
    """
    path = folder / FILE
    try:
        report = load_object(path.read_bytes(), what=str(path))
    except FileNotFoundError:
        return None
    except (OSError, DecodeError) as error:
        raise ModelError(
            f"{path} cannot be read ({error}): measure again with 'handlens-convert evaluate --write'"
        ) from error
    return report if report.get("model_sha256") == _model_sha256(folder) else None


def machine() -> dict[str, Any]:
    """What a latency was measured on; a load above 0.5 a core says that the machine was busy."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _model_sha256(folder: Path) -> str:
    path = folder / "model.json"
    try:
        return file_sha256(folder / json.loads(path.read_bytes())["file"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path} or the model that it names cannot be read ({error}): build the model first"
        ) from error
