"""How the pipeline from boxes to training data scales on this machine, and the same cleaning in pandas beside it.

Each size is simulated (`handlens-convert simulate`, messy, 30 boxes a photo), then `handlens-convert boxes` runs on two
cores without opening pictures. Claims, with --sizes 100000 1000000 10000000:

* seconds grow at most 1.1 times linearly from size to size, and 10^7 takes at most 12 minutes;
* one photo with --skew boxes and one user with as many change the seconds by at most 20 % (at --skew-size events);
* what pandas leaves out, reason by reason, is what the pipeline leaves out.

Memory is told: the largest resident sizes of Spark's JVM, of the driver's Python and of a worker's Python.

    python benchmarks/boxes_scale.py --sizes 100000 1000000 --out benchmarks/results/boxes_scale.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from measure import REPOSITORY, concluded, machine, target

_PER_PHOTO = 30
_TRUE_PHOTOS = 1000
_WORDS = ("cup", "lamp", "shoe", "dog", "cat", "chair", "car", "tree", "book", "clock")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument(
        "--skew", type=int, default=0, help="boxes on one photo, and as many by one user; 0: not measured"
    )
    parser.add_argument("--skew-size", type=int, default=3_000_000)
    parser.add_argument("--peer-up-to", type=int, default=1_000_000, help="the largest size that pandas is given")
    parser.add_argument("--master", default="local[2]")
    parser.add_argument("--driver-memory", default="1g")
    parser.add_argument("--folder", type=Path, default=None, help="keep simulated data here")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure_all(arguments, arguments.folder or Path(scratch))
    figures = {"machine": machine(), "command": " ".join(["benchmarks/boxes_scale.py", *sys.argv[1:]]), **figures}
    figures["targets"] = targets(figures, arguments)
    return concluded(arguments.out, figures)


def measure_all(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    figures: dict[str, Any] = {"sizes": {}, "pandas": {}, "skew": {}}
    for size in arguments.sizes:
        data = simulated(folder, size)
        figures["sizes"][str(size)] = measured(data, arguments)
        if size <= arguments.peer_up_to:
            figures["pandas"][str(size)] = peer(data)
    if arguments.skew:
        size = arguments.skew_size
        for name, skewed in (("even", 0), ("skewed", arguments.skew)):
            figures["skew"][name] = measured(simulated(folder, size, skew=skewed), arguments)
    return figures


def targets(figures: dict[str, Any], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    claims = []
    seconds = {int(size): told["seconds"] for size, told in figures["sizes"].items()}
    ordered = sorted(seconds)
    for small, large in pairwise(ordered):
        growth = seconds[large] / seconds[small] / (large / small)
        claims.append(target(f"{large} events: seconds beside linear growth from {small}", growth, 1.1))
    if 10_000_000 in seconds:
        claims.append(target("10^7 events, minutes", seconds[10_000_000] / 60, 12))
    if figures["skew"]:
        even, skewed = figures["skew"]["even"]["seconds"], figures["skew"]["skewed"]["seconds"]
        claims.append(target(f"skew of {arguments.skew}: change of seconds", skewed / even - 1, 0.2))
    for size, told in figures["pandas"].items():
        ours = figures["sizes"][size]["left_out"]
        differing = sum(told["left_out"].get(name, 0) != ours.get(name, 0) for name in {*told["left_out"], *ours})
        claims.append(target(f"{size} events: reasons that pandas counts differently", differing, 0))
    return claims


def simulated(folder: Path, size: int, *, skew: int = 0) -> Path:
    """A folder with `events`, made once, and the list of its photos."""
    data = folder / f"events-{size}-{skew}"
    photos = max(size // _PER_PHOTO, 1)
    if not data.exists():
        truth = folder / "truth.jsonl"
        truth.parent.mkdir(parents=True, exist_ok=True)
        truth.write_text("".join(json.dumps(true_photo(at)) + "\n" for at in range(_TRUE_PHOTOS)), "utf-8")
        command = [
            "simulate",
            truth,
            "--out",
            data,
            "--events",
            size,
            "--photos",
            photos,
            "--format",
            "jsonl",
            "--quiet",
        ]
        run(["-m", "handlens_conversion", *command, "--skew-photo", skew, "--skew-user", skew])
    with (data / "photos.jsonl").open("w", encoding="utf-8") as file:
        for at in range(photos):
            copy, original = divmod(at, _TRUE_PHOTOS)
            row = true_photo(original)
            image = f"{row['image']}~{copy}" if copy else row["image"]
            file.write(json.dumps({"image": image, "width": row["width"], "height": row["height"]}) + "\n")
    return data


def true_photo(number: int) -> dict[str, Any]:
    """A photo with three objects that do not touch; which and how large follows from its number."""
    boxes = []
    for at in range(3):
        left, top = 20 + 205 * at + number % 17, 40 + (number * (at + 3)) % 120
        word = _WORDS[(number + at) % len(_WORDS)]
        boxes.append([left, top, left + 110 + number % 60, top + 130 + (number * (at + 1)) % 150, word])
    return {"image": f"photo-{number:05}.jpg", "width": 640, "height": 480, "boxes": boxes}


def measured(data: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as out:
        command = ["boxes", data / "events", "--photos", data / "photos.jsonl", "--out", out, "--no-pictures", "--json"]
        given = ["--quiet", "--sheets", 0, "--master", arguments.master, "--driver-memory", arguments.driver_memory]
        begun = time.perf_counter()
        told, memory = run(["-m", "handlens_conversion", *command, *given])
        seconds = time.perf_counter() - begun
    made = json.loads(told)
    sheet = made["datasheet"]
    print(f"{data.name}: {seconds:.1f} s, peak MB {memory}", flush=True)
    return {
        "seconds": round(seconds, 1),
        "seconds_by_step": made["seconds"],
        "peak_mb": memory,
        "rows": sheet["rows"],
        "objects": sum(sheet["objects"].values()),
        "left_out": {name: one["count"] for name, one in sheet["left_out"].items()},
    }


def peer(data: Path) -> dict[str, Any]:
    told, _ = run([REPOSITORY / "benchmarks" / "boxes_pandas.py", data / "events", data / "photos.jsonl"])
    found: dict[str, Any] = json.loads(told)
    print(f"{data.name}: pandas {found['seconds']} s, {found['peak_mb']} MB", flush=True)
    return found


def run(command: list[object]) -> tuple[str, dict[str, int]]:
    """The output of a Python program, and the peaks of resident memory in it and below it, in MB."""
    process = subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.PIPE, text=True)
    peaks: dict[str, int] = {}
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(process.pid, peaks, ended))
    watcher.start()
    told, _ = process.communicate()
    ended.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return told, peaks


def _watch(root: int, peaks: dict[str, int], ended: threading.Event) -> None:
    while not ended.wait(0.5):
        sizes = {"jvm": 0, "driver_python": 0, "worker_python": 0, "all": 0}
        for pid, name, size in _below(root):
            kind = "jvm" if name == "java" else "driver_python" if pid == root else "worker_python"
            sizes[kind] = max(sizes[kind], size)
            sizes["all"] += size
        peaks.update({kind: max(size, peaks.get(kind, 0)) for kind, size in sizes.items()})


def _below(root: int) -> list[tuple[int, str, int]]:
    """Each process from `root` down, with its name and resident MB."""
    parents, told = {}, {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        except OSError:
            continue
        pid = int(status.parent.name)
        parents[pid] = int(fields["PPid"])
        told[pid] = (fields["Name"], int(fields.get("VmRSS", "0 kB").split()[0]) // 1024)
    found = []
    for pid in parents:
        at = pid
        while at not in (root, 0, 1):
            at = parents.get(at, 0)
        if at == root:
            found.append((pid, *told[pid]))
    return found


if __name__ == "__main__":
    sys.exit(main())
