"""The parts of the sync benchmark run, at a tiny size: what they say of time is not looked at here."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.paths import CATALOG, ROOT

BENCHMARKS = ROOT / "benchmarks"
SIZE = {
    "--items": 300, "--releases": 2, "--repeats": 1, "--large": 300, "--rounds": 1, "--few": 2, "--many": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def catalogue_class() -> Any:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        from sync_catalogue import Catalogue
    finally:
        sys.path.remove(str(BENCHMARKS))
    return Catalogue


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("benchmark") / "sync.json"
    command = [sys.executable, str(BENCHMARKS / "sync.py"), "--out", str(out)]
    for name, value in SIZE.items():
        command += [name, str(value)]
    folders = ":".join(str(ROOT / name) for name in ("sdk", "server", "conversion"))
    done = subprocess.run(command, env={"PYTHONPATH": folders}, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr  # 1: a target was missed, as some are at this size
    assert "Traceback" not in done.stderr, done.stderr
    found: dict[str, Any] = json.loads(out.read_text("utf-8"))
    return found


def test_the_sync_benchmark_measures_all_its_parts(figures: dict[str, Any]) -> None:
    assert set(figures) == {"bytes", "first", "large", "releases"}
    for part in figures.values():
        assert part["targets"]
        assert {"cpu", "load_average_1_5_15_min", "load_at_end"} <= set(part["machine"])


def test_what_is_fetched_is_what_changed(figures: dict[str, Any]) -> None:
    idle = figures["bytes"]["nothing_changed"]
    assert idle["requests"] == 2
    assert idle["bytes"] < 4096
    for release in figures["bytes"]["releases"]:
        assert release["changes"] == 3
        assert release["metadata"] < 8192
        assert release["downloaded"] == release["delta_file"] + release["metadata"]


def test_more_devices_change_nothing_about_a_release(figures: dict[str, Any]) -> None:
    few, many = figures["releases"]["2"], figures["releases"]["4"]
    assert few["publish: files written"] == many["publish: files written"]
    assert few["serving: requests a device"] == many["serving: requests a device"]


def test_searches_were_noted_before_and_while_rows_were_applied(figures: dict[str, Any]) -> None:
    for mode in ("thread", "process"):
        windows = figures["large"]["changes"][mode]["latency_ms"]["photo"]
        assert windows["usual"]["searches"] > 0
        assert windows["syncing"]["searches"] > 0


def test_the_catalogue_is_the_same_for_the_same_seed_and_changes_as_much_as_asked(catalogue_class: Any) -> None:
    items = CATALOG / "items.jsonl"
    first = catalogue_class.made(items, 200, seed=1)
    lines = dict(first.lines())
    assert lines == dict(catalogue_class.made(items, 200, seed=1).lines())
    assert lines != dict(catalogue_class.made(items, 200, seed=2).lines())
    after = dict(first.changed(20, draw=0).lines())
    gone, new = lines.keys() - after.keys(), after.keys() - lines.keys()
    renewed = [item_id for item_id in lines.keys() & after.keys() if lines[item_id] != after[item_id]]
    assert (len(gone), len(new), len(renewed)) == (2, 2, 16)
    assert list(after) == sorted(after)


def test_its_texts_compress_as_prose_does(catalogue_class: Any) -> None:
    lines = [json.loads(line) for _, line in catalogue_class.made(CATALOG / "items.jsonl", 400, seed=1).lines()]
    texts = "\n".join(line["item"]["text"] for line in lines).encode()
    assert 0.3 < len(gzip.compress(texts, 9)) / len(texts) < 0.6


def test_every_benchmark_says_what_it_measures() -> None:
    listed = (BENCHMARKS / "README.md").read_text("utf-8")
    for script in ("photo_to_results", "footprint", "index_recall", "understanding", "sync"):
        assert Path(BENCHMARKS / f"{script}.py").is_file()
        assert f"benchmarks/{script}.py" in listed
