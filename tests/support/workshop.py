"""The workshop's command line, run as its users run it: in a process and an environment of its own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import ROOT

__all__ = ["convert", "require_workshop"]


def require_workshop(*modules: str) -> str:
    """The Python that has torch, the quantizer and Spark: that of HANDLENS_CONVERSION_PYTHON, or this one.

    Skips the test where there is none, or no Java; with HANDLENS_REQUIRE_HEAVY it fails instead.
    """
    python = os.environ.get("HANDLENS_CONVERSION_PYTHON")
    if python is None and all(importlib.util.find_spec(module) for module in modules):
        python = sys.executable
    missing = "Java" if shutil.which("java") is None else None if python else " and ".join(modules)
    if missing and "HANDLENS_REQUIRE_HEAVY" in os.environ:
        raise RuntimeError(f"{missing} is missing, and HANDLENS_REQUIRE_HEAVY is set")
    if missing:
        pytest.skip(f"{missing} is not here: name the workshop's Python by HANDLENS_CONVERSION_PYTHON")
    assert python is not None
    return python


def convert(python: str, *arguments: str | Path, at: Path) -> str:
    """Run ``handlens-convert`` in the folder `at` and return what it printed; a failure shows all of it."""
    paths = os.pathsep.join(str(ROOT / part) for part in ("sdk", "conversion"))
    done = subprocess.run(
        [python, "-m", "handlens_conversion", *map(str, arguments)],
        cwd=at,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
    return done.stdout
