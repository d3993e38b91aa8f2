"""One device of `sync.py` in a process of its own, which says what it needed.

python benchmarks/sync_device.py sync DEVICE URL ROOT     install what the server has
python benchmarks/sync_device.py search DEVICE            open the store and search a photo 30 times
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from sync_load import PHOTO

from handlens import Lens, Options

_SEARCHES = 30


def memory_mb() -> dict[str, float]:
    """Resident memory of this process now and at its peak (``/proc/self/status``), MB, shared libraries in full."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    fields = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith(("VmHWM", "VmRSS"))}
    return {"now": round(int(fields["VmRSS"]) / 1024, 1), "peak": round(int(fields["VmHWM"]) / 1024, 1)}


def _sync(device: Path, url: str, root: str) -> dict[str, Any]:
    begun, steps = time.perf_counter(), dict[str, float]()

    def progress(step: str, done: int, total: int) -> None:
        steps[step] = round(time.perf_counter() - begun, 2)

    with Lens(Options(data_dir=device, server_url=url, trusted_root=root)) as lens:
        report = lens.sync(progress=progress)
        return {"memory_mb": memory_mb(), "steps_end_s": steps, "bytes": report.bytes_received}


def _search(device: Path) -> dict[str, Any]:
    with Lens(Options(data_dir=device)) as lens:
        for _ in range(_SEARCHES):
            result = lens.search(PHOTO)
        return {"memory_mb": memory_mb(), "index": result.index}


def main() -> None:
    verb, device, *rest = sys.argv[1:]
    print(json.dumps(_sync(Path(device), *rest) if verb == "sync" else _search(Path(device))))


if __name__ == "__main__":
    main()
