"""Ending processes by SIGKILL where it hurts: at named fault points, at any call that changes a file, or at random.

Fault points are passed by name (`handlens.faults`). Calls are those of the whole process, libraries included, counted
by `kill_shim.c`, which is compiled where there is a compiler; half of the killed writes are cut in half.

``HANDLENS_KILLS`` is how many kills there are in all tests together; each test takes its `share`.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.paths import ROOT

__all__ = ["Kill", "calls_to_kill", "is_killed", "points_to_kill", "run", "share", "start"]

_KILLS = int(os.environ.get("HANDLENS_KILLS", "40"))
_SHIM = Path(__file__).with_name("kill_shim.c")
_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Kill:
    """A kill: what it is called in a failure, and the environment that brings it about."""

    what: str
    environment: Mapping[str, str] = field(default_factory=dict)


def share(part: float) -> int:
    """How many kills a test makes that has this part of all."""
    return max(1, round(_KILLS * part))


def start(command: Sequence[object], environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a Python program of this repository: the words after ``python``."""
    paths = os.pathsep.join(str(ROOT / name) for name in ("sdk", "server", "tests"))
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        env={**os.environ, "PYTHONPATH": paths, "PYTHONWARNINGS": "ignore", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(command: Sequence[object], environment: Mapping[str, str] | None = None) -> list[str]:
    """Run to a good end; the lines printed."""
    process = start(command, environment)
    out, errors = process.communicate(timeout=_SECONDS)
    assert process.returncode == 0, errors[-2000:]
    return out.split("\n")


def is_killed(command: Sequence[object], kill: Kill) -> list[str]:
    """Run until the kill; what was printed before it. How many calls there are varies by a few from run to run."""
    process = start(command, kill.environment)
    out, errors = process.communicate(timeout=_SECONDS)
    is_late = process.returncode == 0 and "HANDLENS_KILL_AT" in kill.environment
    assert process.returncode == -9 or is_late, f"{kill.what}: ended with {process.returncode}: {errors[-2000:]}"
    return out.split("\n")


def points_to_kill(passed: Sequence[str], count: int) -> list[Kill]:
    """Kills at `count` of the fault points in a log of an undisturbed run: every point once before any twice."""
    seen: Counter[str] = Counter()
    passes = []
    for name in passed:
        seen[name] += 1
        passes.append((seen[name], name))
    chosen = sorted(passes, key=lambda one: one[0])[:count]
    return [Kill(f"{name}:{turn}", {"HANDLENS_FAULT": f"{name}:{turn}"}) for turn, name in chosen]


def calls_to_kill(called: Sequence[str], folder: Path, count: int) -> Iterator[Kill]:
    """Kills at `count` of the calls in a log of an undisturbed run, spread evenly over it."""
    for turn in range(min(count, len(called))):
        at = (2 * turn + 1) * len(called) // (2 * min(count, len(called)))
        is_torn = turn % 2 == 1
        environment = {**watching(folder), "HANDLENS_KILL_AT": str(at + 1)}
        yield Kill(f"call {at + 1}, {called[at]}", environment | ({"HANDLENS_KILL_TORN": "1"} if is_torn else {}))


def watching(folder: Path) -> dict[str, str]:
    """The environment in which calls on files below `folder` count."""
    return {"LD_PRELOAD": str(_compiled()), "HANDLENS_KILL_UNDER": str(folder.resolve())}


@functools.cache
def _compiled() -> Path:
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if not sys.platform.startswith("linux") or compiler is None:
        if "HANDLENS_REQUIRE_HEAVY" in os.environ:
            pytest.fail("there is no C compiler here")
        pytest.skip("killing at every call needs Linux and a C compiler")
    built = Path(tempfile.mkdtemp(prefix="handlens-kill-")) / "kill_shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", str(_SHIM), "-o", str(built), "-ldl"], check=True)
    return built
