"""The benchmarks of searches run and write their figures; whether a target is met is for a quiet machine to say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.paths import ROOT


def run(tmp_path: Path, script: str, *arguments: object) -> Any:
    """The figures of one benchmark."""
    out = tmp_path / "figures.json"
    paths = os.pathsep.join(str(ROOT / part) for part in ("sdk", "server", "conversion"))
    command = [sys.executable, str(ROOT / "benchmarks" / script), "--out", str(out), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}, timeout=300, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    assert out.exists(), done.stderr
    return json.loads(out.read_text("utf-8"))


def test_the_sources_are_measured(tmp_path: Path, device: Path) -> None:
    figures = run(tmp_path, "sources.py", "--device", device, "--items", 300, "--photos", 2, "--rounds", 1)
    assert {"in turn", "by threads"} == set(figures["demo"]["sources"])
    assert len(figures["targets"]) == 2
    assert figures["words"]


def test_the_servers_searches_are_measured(tmp_path: Path) -> None:
    figures = run(
        tmp_path, "server_search.py", "--data-dir", tmp_path / "data", "--items", 300, "--workers", 1,
        "--clients", 2, "--seconds", 0.3, "--changes", 1,
    )  # fmt: skip
    measured = figures["indexes"]["local"]["1 workers"]
    assert [row["query"] for row in measured["runs"]] == ["embedding", "photo"]
    met = {one["name"]: one["met"] for one in measured["targets"]}
    assert met["searches that failed"]
    assert met["answers of 50 that a restart changed"]
    assert met["answers of 50 that a kill changed"]
    assert met["items shown that were withdrawn while the server was down"]


def test_the_blend_is_measured(tmp_path: Path, demo_device: Path) -> None:
    figures = run(tmp_path, "blending.py", "--device", demo_device, "--photos", 60, "--fit")
    assert set(figures["curves"]) == {"visual", "object", "annotation"}
    assert figures["photos"]["query photographs"] == 38
    assert figures["methods"]["query photographs"]["blended"]["ndcg"] > 0.5


def test_the_partner_endpoint_is_measured_under_load(tmp_path: Path) -> None:
    seconds = [f"--{name}-seconds=1" for name in ("warm", "capacity", "steady", "overload", "deadline")]
    figures = run(tmp_path, "partner_load.py", "--data-dir", tmp_path / "data", "--items", 300, "--photos", 2, *seconds)
    assert figures["capacity"]["answered_a_second"] > 0
    assert figures["overload"]["refused_without_retry_after"] == 0
    assert set(figures["overload"]["by_status"]) <= {"200", "422", "429", "503"}
    assert figures["deadline"]["degraded_that_do_not_say_what_is_missing"] == 0
    assert len(figures["targets"]) == 10
