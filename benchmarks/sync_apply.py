"""The parts of `sync.py` about a large pack: applying a change while searches go on, and memory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from measure import target
from sync_catalogue import Catalogue
from sync_load import LEVELS, Searched, searching_process, searching_thread
from sync_site import Server, Site
from sync_transfer import DEMO_ITEMS

import handlens.client
import handlens.sync.session
from handlens import Lens, Options

__all__ = ["measure_large"]

_APPLY = 2.0  # seconds
_SLOWER = 3.0
_MEMORY = 1.5
_USUAL = 3.0  # seconds of searches before each sync
_AFTER = 1.0

Figures = dict[str, Any]
Claims = list[dict[str, Any]]
Window = tuple[float, float]


@dataclass(slots=True)
class _Steps:
    """When the steps of the syncs of a device ran (`time.monotonic`): each the begin and the end."""

    usual: list[Window] = field(default_factory=list)
    sync: list[Window] = field(default_factory=list)
    apply: list[Window] = field(default_factory=list)
    index: list[Window] = field(default_factory=list)


def measure_large(items: int, rounds: int, seed: int) -> tuple[Figures, Claims]:
    """A pack of `items`: its first sync, then `rounds` changes of 1 % on two devices that are searched meanwhile."""
    catalogue = Catalogue.made(DEMO_ITEMS, items, seed=seed)
    share = max(items // 100, 1)
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        site = Site(scratch / "site")
        with site.serve() as server:
            site.publish(catalogue)
            memory = _measure_memory(site, server, scratch / "process")
            _print_memory(memory, items)
            # Both devices begin with the same files: a second first sync would only take longer.
            shutil.copytree(scratch / "process", scratch / "thread")
            searched = _measure_changes(site, server, scratch, catalogue, share, rounds)
    claims = [
        target(
            f"peak memory of the process that syncs {items:,} items / that of one that searches them",
            memory["sync"]["memory_mb"]["peak"] / memory["search"]["memory_mb"]["now"],
            _MEMORY,
        )
    ]
    for mode, figures in searched.items():
        print(f"searches in a {mode} while {share:,} rows of {items:,} are applied, {rounds} times")
        _print_latencies(figures)
        claims += _change_claims(mode, figures)
    return {"items": items, "changed_rows": share, "rounds": rounds, "memory": memory, "changes": searched}, claims


def _measure_memory(site: Site, server: Server, device: Path) -> Figures:
    """Memory of a process that does the first sync, and of one that only searches, each alone."""
    synced = _in_process("sync", device, server.url, site.root)
    searched = _in_process("search", device)
    files = {
        name: round(sum(path.stat().st_size for path in device.glob(pattern) if path.is_file()) / 1e6, 1)
        for name, pattern in (("store.db", "store.db*"), ("index", "index/*"), ("models", "models/*/*"))
    }
    return {"sync": synced, "search": searched, "files_mb": files}


def _in_process(verb: str, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).with_name("sync_device.py")), verb, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"the process that should {verb} failed; its message is above")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _print_memory(memory: Figures, items: int) -> None:
    print(f"{items:,} items: first sync, seconds at the end of each step: {memory['sync']['steps_end_s']}")
    for name in ("sync", "search"):
        found = memory[name]["memory_mb"]
        print(f"  RSS of a process that does {name:24}{found['now']:8.0f} MB at its end{found['peak']:8.0f} MB peak")
    print(f"  files, MB: {memory['files_mb']}")


def _measure_changes(
    site: Site, server: Server, scratch: Path, catalogue: Catalogue, share: int, rounds: int
) -> dict[str, Figures]:
    steps = {mode: _Steps() for mode in ("thread", "process")}
    found: dict[str, list[Searched]] = {mode: [] for mode in steps}
    options = {mode: Options(data_dir=scratch / mode, server_url=server.url, trusted_root=site.root) for mode in steps}
    with Lens(options["thread"]) as searched, Lens(options["process"]) as alone:
        for draw in range(rounds):
            catalogue = catalogue.changed(share, draw=draw)
            site.publish(catalogue)
            with searching_thread(searched) as searches:
                _timed_sync(searched, steps["thread"])
            found["thread"] += searches
            with searching_process(scratch / "process", alone.options.threads) as searches:
                _timed_sync(alone, steps["process"])
            found["process"] += searches
    return {mode: _figures(found[mode], steps[mode]) for mode in steps}


def _timed_sync(lens: Lens, steps: _Steps) -> None:
    begun = time.monotonic()
    time.sleep(_USUAL)
    applying = _timing(handlens.sync.session, "apply_release", steps.apply)
    indexing = _timing(handlens.client, "build_index", steps.index)
    with applying, indexing:
        synced = time.monotonic()
        lens.sync()
    steps.usual.append((begun, synced))
    steps.sync.append((synced, time.monotonic()))
    time.sleep(_AFTER)


@contextmanager
def _timing(module: Any, name: str, windows: list[Window]) -> Iterator[None]:
    """Note when a function of a module runs."""
    real: Callable[..., Any] = getattr(module, name)

    def timed(*arguments: Any, **named: Any) -> Any:
        begun = time.monotonic()
        try:
            return real(*arguments, **named)
        finally:
            windows.append((begun, time.monotonic()))

    setattr(module, name, timed)
    try:
        yield
    finally:
        setattr(module, name, real)


def _figures(found: list[Searched], steps: _Steps) -> Figures:
    windows = {"usual": steps.usual, "applying": steps.apply, "syncing": steps.sync}
    return {
        "seconds": {
            "apply": [round(end - begun, 3) for begun, end in steps.apply],
            "index": [round(end - begun, 3) for begun, end in steps.index],
            "sync": [round(end - begun, 3) for begun, end in steps.sync],
        },
        "latency_ms": {
            level: {name: _spread(found, level, spans) for name, spans in windows.items()} for level in LEVELS
        },
    }


def _spread(found: list[Searched], level: str, windows: list[Window]) -> dict[str, float]:
    """Percentiles of the searches that ran, for a part of their time at least, in one of `windows`."""
    took = [
        one.took
        for one in found
        if one.level == level and any(one.begun < end and one.begun + one.took / 1000 > begun for begun, end in windows)
    ]
    if not took:
        return {"searches": 0}
    p50, p95, p99, most = np.percentile(took, [50, 95, 99, 100])
    values = {"p50": p50, "p95": p95, "p99": p99, "max": most}
    return {"searches": len(took), **{name: round(float(value), 3) for name, value in values.items()}}


def _print_latencies(figures: Figures) -> None:
    seconds = figures["seconds"]
    print(f"  seconds: apply {seconds['apply']}, index {seconds['index']}, whole sync {seconds['sync']}")
    print(f"  {'ms':12}{'':12}{'searches':>10}{'p50':>9}{'p95':>9}{'p99':>9}{'max':>9}")
    for level, windows in figures["latency_ms"].items():
        for name, row in windows.items():
            cells = "".join(f"{row.get(key, float('nan')):9.2f}" for key in ("p50", "p95", "p99", "max"))
            print(f"  {level:12}{name:12}{row['searches']:10}{cells}")


def _change_claims(mode: str, figures: Figures) -> Claims:
    claims = [target(f"{mode}: applying the rows, s (worst round)", max(figures["seconds"]["apply"]), _APPLY)]
    for level, windows in figures["latency_ms"].items():
        for name in ("applying", "syncing"):
            if windows[name]["searches"]:
                ratio = windows[name]["p99"] / windows["usual"]["p99"]
                claims.append(target(f"{mode}, {level}: p99 while {name} / usual", ratio, _SLOWER))
    return claims
