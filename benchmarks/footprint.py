"""What handlens costs in memory and at start.

    python benchmarks/footprint.py [--device DIR] [--searches 1000] [--starts 15] [--out FILE.json]

The claims:

1. ``import handlens`` takes at most 1.3 times as long as ``import numpy, PIL.Image``. Fresh processes, in turns,
   medians. Beside it, with no target: touching ``handlens.Lens``, which imports all a search needs but the runtime.
2. The process of a demo search (``handlens search PHOTO``) has at most 180 MB of memory at its peak: `VmHWM`, the
   resident set with shared libraries counted in full. Shown by what costs it, each line a process of its own.
3. A search leaves nothing behind: over 1,000 searches of the demo's query photos in one process the resident set
   (``/proc/self/statm``) grows by less than 1 kB a search once the first 200 have warmed caches and allocators, and so
   do Python's own allocations (`tracemalloc`, in a second process because tracing itself takes memory).

Linux only. Exit code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from measure import REPOSITORY, machine, make_device, spread, target, write_json

_IMPORT_RATIO = 1.3
_PEAK_MB = 180.0
_GROWTH_KB = 1.0  # a search
_WARM = 200  # searches before growth is counted
_MARKS = (50, 200, 400, 500, 600, 800, 1000)

_IMPORTS = {
    "python alone": "pass",
    "numpy, PIL.Image": "import numpy, PIL.Image",
    "handlens": "import handlens",
    "handlens.Lens": "import handlens; handlens.Lens",
}
# Imports and the time that they took, with the interpreter's own start left out.
_TIMED = "import time; begun = time.perf_counter(); {}; print((time.perf_counter() - begun) * 1000)"

# What a search adds to a process, one thing after the other. {device} and {photo} are filled in.
_LAYERS = {
    "python alone": "pass",
    "+ numpy, PIL.Image": "import numpy, PIL.Image",
    "+ handlens.Lens": "import handlens; handlens.Lens",
    "+ TFLite runtime": (
        "import handlens; handlens.Lens\nfrom handlens.vision.runtime import find_runtime; find_runtime()"
    ),
    "+ detector": "import handlens; handlens.Lens\nfirst = handlens.Detector.open({detector!r})",
    "+ embedder": (
        "import handlens; handlens.Lens\n"
        "first = handlens.Detector.open({detector!r}); second = handlens.Embedder.open({embedder!r})"
    ),
    "+ store, index, one search (Lens)": (
        "import handlens\nwith handlens.Lens(handlens.Options(data_dir={device!r})) as lens: lens.search({photo!r})"
    ),
    "handlens search PHOTO": (
        "from handlens.cli import main\nmain(['search', {photo!r}, '--data-dir', {device!r}], standalone_mode=False)"
    ),
    "handlens search PHOTO --out": (
        "from handlens.cli import main\n"
        "main(['search', {photo!r}, '--data-dir', {device!r}, '--out', {out!r}], standalone_mode=False)"
    ),
}
# Not `ru_maxrss`, which a child inherits from the process that starts it.
_PEAK = (
    "\nimport sys\n"
    "lines = open('/proc/self/status').read().splitlines()\n"
    "print(next(line.split()[1] for line in lines if line.startswith('VmHWM')), file=sys.stderr)"
)


def main() -> None:
    arguments = _arguments()
    if arguments.child is not None:
        print(json.dumps(_CHILDREN[arguments.child](arguments)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        arguments.device = arguments.device or make_device(Path(scratch))
        figures = {"machine": machine(), "runs": {"starts": arguments.starts, "searches": arguments.searches}}
        figures |= {
            "import_ms": _measure_imports(arguments.starts),
            "peak_rss_mb": _measure_peaks(arguments.device, Path(scratch), arguments.repeats),
            "rss": _in_child("rss", arguments),
            "tracemalloc": _in_child("tracemalloc", arguments),
        }
    _print_growth(figures)
    figures["targets"] = claims = _claims(figures)
    write_json(arguments.out, figures)
    if not all(claim["met"] for claim in claims):
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=Path, help="a store with a release installed; made from demo/ when not given")
    parser.add_argument("--searches", type=int, default=1000)
    parser.add_argument("--starts", type=int, default=15, help="fresh processes for each import")
    parser.add_argument("--repeats", type=int, default=3, help="fresh processes for each peak; the median counts")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--child", choices=sorted(_CHILDREN), help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure_imports(starts: int) -> dict[str, Any]:
    samples: dict[str, list[float]] = {name: [] for name in _IMPORTS}
    for run in range(starts + 1):
        for name, code in _IMPORTS.items():
            took = float(_run(_TIMED.format(code)).stdout)
            if run > 0:  # the first round fills the page cache
                samples[name].append(took)
    figures = {name: spread(values) for name, values in samples.items()}
    print("import, ms: p50 (p95)")
    for name, row in figures.items():
        print(f"  {name:36}{row['p50']:8.1f} ({row['p95']:.1f})")
    return figures


def _measure_peaks(device: Path, scratch: Path, repeats: int) -> dict[str, float]:
    names = {
        "device": str(device),
        "photo": str(REPOSITORY / "demo" / "queries" / "images" / "horses.jpg"),
        "out": str(scratch / "result.jpg"),
        **_model_folders(device),
    }
    print("peak RSS of a process, MB")
    figures = {}
    for layer, code in _LAYERS.items():
        peaks = [int(_run(code.format(**names) + _PEAK).stderr.split()[-1]) for _ in range(repeats)]
        figures[layer] = round(float(np.median(peaks)) / 1024, 1)
        print(f"  {layer:36}{figures[layer]:8.1f}")
    return figures


def _model_folders(device: Path) -> dict[str, str]:
    from handlens.store import Store

    with Store.open(device) as store:
        slots = {kind: store.slot(kind) for kind in ("detector", "embedder")}
    return {kind: str(device / slot.file) for kind, slot in slots.items() if slot is not None}


def _run(code: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{code}\nfailed:\n{done.stderr}")
    return done


def _in_child(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One of `_CHILDREN` in a process of its own."""
    command = [sys.executable, __file__, "--child", name, "--device", str(arguments.device)]
    done = subprocess.run([*command, "--searches", str(arguments.searches)], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"the process that measures {name} failed; its message is above")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def _search_and_measure(arguments: argparse.Namespace, kilobytes: Callable[[], float]) -> dict[str, Any]:
    from handlens import Lens, Options

    photos = sorted((REPOSITORY / "demo" / "queries" / "images").iterdir())
    sizes = np.empty(arguments.searches)
    with Lens(Options(data_dir=arguments.device)) as lens:
        for at, photo in enumerate(islice(cycle(photos), arguments.searches)):
            lens.search(photo)
            sizes[at] = kilobytes()
    after = np.arange(_WARM, arguments.searches)
    slope = float(np.polyfit(after, sizes[_WARM:], 1)[0]) if len(after) > 1 else float("nan")
    return {
        "after_searches_mb": {str(mark): round(sizes[mark - 1] / 1024, 2) for mark in _MARKS if mark <= len(sizes)},
        "kb_a_search": round(slope, 3),
        "counted_from_search": _WARM,
    }


def _rss_child(arguments: argparse.Namespace) -> dict[str, Any]:
    page = os.sysconf("SC_PAGE_SIZE") / 1024
    statm = Path("/proc/self/statm")
    return _search_and_measure(arguments, lambda: int(statm.read_text("ascii").split()[1]) * page)


def _tracemalloc_child(arguments: argparse.Namespace) -> dict[str, Any]:
    import gc
    import tracemalloc

    def traced() -> float:
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / 1024

    tracemalloc.start()
    return _search_and_measure(arguments, traced)


_CHILDREN = {"rss": _rss_child, "tracemalloc": _tracemalloc_child}


def _print_growth(figures: dict[str, Any]) -> None:
    for name in _CHILDREN:
        marks = figures[name]["after_searches_mb"]
        told = ", ".join(f"{searches}: {size:.1f}" for searches, size in marks.items())
        print(f"{name} after so many searches, MB: {told}; {figures[name]['kb_a_search']:.3f} kB a search")


def _claims(figures: dict[str, Any]) -> list[dict[str, Any]]:
    base = figures["import_ms"]["numpy, PIL.Image"]["p50"]
    ratio = figures["import_ms"]["handlens"]["p50"] / base
    claims = [target("import handlens / import numpy, PIL.Image", ratio, _IMPORT_RATIO)]
    for name in ("handlens search PHOTO", "handlens search PHOTO --out"):
        claims.append(target(f"peak RSS of {name}, MB", figures["peak_rss_mb"][name], _PEAK_MB))
    for name in ("rss", "tracemalloc"):
        claims.append(target(f"growth of {name}, kB a search", figures[name]["kb_a_search"], _GROWTH_KB))
    return claims


if __name__ == "__main__":
    main()
