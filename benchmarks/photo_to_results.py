"""From a 12-megapixel JPEG to blended results: how long, where the time goes, and against what.

    python benchmarks/photo_to_results.py [--runs 60] [--threads 1 2] [--device DIR] [--mediapipe-python PATH] [--out F]

The claims, for a photo with three objects:

1. From decoded pixels to blended results costs at most 1.15 times (one thread) or 1.25 times (two) the sum of the bare
   model invocations. *Decoded pixels* is the `Photo` that handlens itself decodes to (1000 x 750), given to
   `Lens.search`: the resizes, the decoding of boxes, index, store, understanding and blending all count. *Bare* is one
   `invoke()` of the detector and one of the embedder for each object, of the same files in the same runtime with as
   many threads, in interpreters that do nothing else and whose inputs are in place. handlens works beside a running
   model (see `handlens.answering`), with two threads also by embedding two objects at once on a thread each: the steps
   then add up to more than the total.
2. Scaled decoding costs at most 0.4 times a full decode of the same file by Pillow.
3. With `--mediapipe-python`: faster than MediaPipe Tasks with hnswlib, from the file and from the same decoded pixels
   (see `mediapipe_peer.py` for what is alike and what is not).

All sides take turns run by run, so that a busy machine slows them alike; figures are medians, and ratios are ratios of
medians. Exit code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measure import REPOSITORY, machine, make_device, milliseconds, spread, target, write_json
from PIL import Image, features
from scene import SIZE, make_scene

from handlens import Lens, Options, SearchResult
from handlens.store import Store
from handlens.vision.image import Photo, load_photo
from handlens.vision.runtime import find_runtime, read_spec
from handlens.wire.pack import decode_codes

_WARM_UP = 5
_OBJECTS = 3
_SIDES = ("file", "pixels", "bare", "mediapipe file", "mediapipe pixels")
_OVERHEAD = {1: 1.15, 2: 1.25}  # threads: from pixels to results, as a multiple of the bare invocations
_SCALED_DECODE = 0.4
_SHARED_STEPS = ("decode", "detect", "embed", "index")  # what MediaPipe and hnswlib do as well

Samples = defaultdict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured: the device, the JPEG, and the same photo decoded."""

    device: Path
    photo: Path
    pixels: Photo
    runs: int
    seed: int


class Peer:
    """The MediaPipe process: one job a line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.versions = self._answer()

    def run(self, source: str) -> dict[str, Any]:
        """One job from "file" or "pixels"."""
        assert self._process.stdin is not None
        print(source, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the MediaPipe process ended; its message is above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as scratch:
        bench = _prepare(arguments, Path(scratch))
        before = machine()
        with _peer(arguments.mediapipe_python, bench, Path(scratch)) as peer:
            by_threads = {str(threads): _measure(bench, threads, peer) for threads in arguments.threads}
            versions = None if peer is None else peer.versions
        decode = _measure_decode(bench)
    claims = _claims(by_threads, decode)
    figures = {
        "photo": {"pixels": list(SIZE), "bytes": arguments.photo_bytes, "shows": arguments.shows, "objects": _OBJECTS},
        "decoded_to": list(bench.pixels.image.size),
        "runs": bench.runs,
        "seed": bench.seed,
        "machine": {**before, "libjpeg_turbo": features.version("libjpeg_turbo"), "load_at_end": machine()[_LOAD]},
        "mediapipe": versions,
        "threads": by_threads,
        "decode": decode,
        "targets": claims,
    }
    write_json(arguments.out, figures)
    if not all(claim["met"] for claim in claims):
        sys.exit(1)


_LOAD = "load_average_1_5_15_min"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=Path, help="a store with a release installed; made from demo/ when not given")
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], choices=(1, 2))
    parser.add_argument("--mediapipe-python", type=Path, help="Python of an environment with mediapipe and hnswlib")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    return parser.parse_args()


def _prepare(arguments: argparse.Namespace, scratch: Path) -> Bench:
    device = arguments.device or make_device(scratch)
    photo = scratch / "scene.jpg"
    with Lens(Options(data_dir=device, threads=1)) as lens:
        arguments.shows = make_scene(
            REPOSITORY / "demo" / "catalog", photo, lambda path: _found_by(lens.search(path)), seed=arguments.seed
        )
    arguments.photo_bytes = photo.stat().st_size
    return Bench(device, photo, load_photo(photo), arguments.runs, arguments.seed)


def _found_by(result: SearchResult) -> list[str]:
    return [found.region.found_by for found in result.objects]


def _measure(bench: Bench, threads: int, peer: Peer | None) -> dict[str, Any]:
    """All sides with so many threads, taking turns."""
    samples: Samples = defaultdict(list)
    with Lens(Options(data_dir=bench.device, threads=threads)) as lens:
        _check_pixels(lens.search(bench.pixels))
        turns = [
            lambda: _record_search(samples, "file", lens, bench.photo),
            lambda: _record_search(samples, "pixels", lens, bench.pixels),
            _bare_turn(samples, lens, threads, bench),
        ]
        if peer is not None:
            turns += [lambda: _record_peer(samples, peer, "file"), lambda: _record_peer(samples, peer, "pixels")]
        _take_turns(turns, samples, bench)
    figures = _figures(samples)
    _print_table(threads, figures)
    return figures


def _check_pixels(result: SearchResult) -> None:
    found = _found_by(result)
    if found != ["detector"] * _OBJECTS:
        raise SystemExit(f"from decoded pixels the search found {found}, not {_OBJECTS} objects: nothing to compare")


def _take_turns(turns: list[Callable[[], None]], samples: Samples, bench: Bench) -> None:
    """Each turn once a run, in an order drawn for each run: nobody always follows the same neighbour."""
    order = random.Random(bench.seed)
    for run in range(_WARM_UP + bench.runs):
        if run == _WARM_UP:
            samples.clear()
        for turn in order.sample(turns, len(turns)):
            turn()


def _record_search(samples: Samples, source: str, lens: Lens, photo: Path | Photo) -> None:
    results: list[SearchResult] = []
    samples[f"{source}/total"].append(milliseconds(lambda: results.append(lens.search(photo))))
    timings = results[0].timings_ms
    samples[f"{source}/shared steps"].append(sum(timings[step] for step in _SHARED_STEPS))
    for step, value in timings.items():
        samples[f"{source}/{step}"].append(value)


def _record_peer(samples: Samples, peer: Peer, source: str) -> None:
    answer = peer.run(source)
    steps = answer["steps_ms"]
    samples[f"mediapipe {source}/total"].append(sum(steps.values()))
    samples[f"mediapipe {source}/shared steps"].append(sum(steps.values()))
    samples[f"mediapipe {source}/cpu per wall"].append(answer["cpu_per_wall"])
    for step, value in steps.items():
        samples[f"mediapipe {source}/{step}"].append(value)


def _bare_turn(samples: Samples, lens: Lens, threads: int, bench: Bench) -> Callable[[], None]:
    folders = _model_folders(lens.options.data_path)
    detect = _bare(folders["detector"], "detector", threads, bench)
    embed = _bare(folders["embedder"], "embedder", threads, bench)

    def turn() -> None:
        detector = milliseconds(detect)
        embedder = milliseconds(lambda: [embed() for _ in range(_OBJECTS)])
        samples["bare/detector"].append(detector)
        samples[f"bare/embedder x {_OBJECTS}"].append(embedder)
        samples["bare/total"].append(detector + embedder)

    return turn


def _bare(folder: Path, kind: str, threads: int, bench: Bench) -> Callable[[], None]:
    """The model's `invoke` and nothing else, its input filled with the photo."""
    spec = read_spec(folder, kind)
    interpreter = find_runtime().interpreter(model_path=str(folder / spec.file), num_threads=threads)
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()[0]
    image = bench.pixels.image.resize((spec.input.width, spec.input.height))
    values = np.asarray(image, dtype=np.int16) - (128 if details["dtype"] is np.int8 else 0)
    interpreter.set_tensor(details["index"], values[None].astype(details["dtype"]))
    invoke: Callable[[], None] = interpreter.invoke
    return invoke


def _model_folders(data_dir: Path) -> dict[str, Path]:
    with Store.open(data_dir) as store:
        slots = {kind: store.slot(kind) for kind in ("detector", "embedder")}
    return {kind: data_dir / slot.file for kind, slot in slots.items() if slot is not None}


@contextmanager
def _peer(python: Path | None, bench: Bench, scratch: Path) -> Iterator[Peer | None]:
    if python is None:
        print("MediaPipe is left out: give --mediapipe-python to compare with it\n")
        yield None
        return
    models = scratch / "models"
    models.mkdir()
    for kind, folder in _model_folders(bench.device).items():
        (models / kind).symlink_to(folder.resolve(), target_is_directory=True)
    with Store.open(bench.device) as store:
        np.save(scratch / "vectors.npy", decode_codes(store.vectors()[1]))
    np.save(scratch / "pixels.npy", np.asarray(bench.pixels.image))
    script = Path(__file__).with_name("mediapipe_peer.py")
    inputs = {"models": models, "photo": bench.photo, "pixels": scratch / "pixels.npy"}
    command = [str(python), str(script), *(f"--{name}={path}" for name, path in inputs.items())]
    command.append(f"--vectors={scratch / 'vectors.npy'}")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Peer(process)
        process.communicate()


def _measure_decode(bench: Bench) -> dict[str, Any]:
    samples: Samples = defaultdict(list)
    turns = [
        lambda: samples["scaled"].append(milliseconds(lambda: load_photo(bench.photo))),
        lambda: samples["full"].append(milliseconds(lambda: _decode_fully(bench.photo))),
    ]
    _take_turns(turns, samples, bench)
    figures = {name: spread(values) for name, values in samples.items()}
    print(f"decode: scaled {figures['scaled']['p50']:.1f} ms, full {figures['full']['p50']:.1f} ms (medians)\n")
    return figures


def _decode_fully(photo: Path) -> Image.Image:
    with Image.open(photo) as image:
        return image.convert("RGB")


def _figures(samples: Samples) -> dict[str, Any]:
    figures: dict[str, Any] = defaultdict(dict)
    for name, values in samples.items():
        side, step = name.split("/")
        figures[side][step] = spread(values)
    return dict(figures)


def _print_table(threads: int, figures: dict[str, Any]) -> None:
    print(f"threads: {threads}; milliseconds as p50 (p95)")
    sides = sorted(figures, key=_SIDES.index)
    steps = list(dict.fromkeys(step for side in sides for step in figures[side]))
    print(f"{'':16}" + "".join(f"{side:>20}" for side in sides))
    for step in steps:
        print(f"{step:16}" + "".join(f"{_cell(figures[side].get(step)):>20}" for side in sides))
    print()


def _cell(row: dict[str, float] | None) -> str:
    return "" if row is None else f"{row['p50']:.2f} ({row['p95']:.2f})"


def _claims(by_threads: dict[str, Any], decode: dict[str, Any]) -> list[dict[str, Any]]:
    claims = []
    for threads, figures in by_threads.items():
        name = f"{threads} thread(s): from decoded pixels to results / bare model invocations"
        claims.append(target(name, _ratio(figures, "pixels", "bare"), _OVERHEAD[int(threads)]))
        for source in ("file", "pixels"):
            if f"mediapipe {source}" in figures:
                name = f"{threads} thread(s): handlens / MediaPipe + hnswlib, from {source}"
                claims.append(target(name, _ratio(figures, source, f"mediapipe {source}"), 1.0))
                name += ", without what only handlens does"
                claims.append(target(name, _ratio(figures, source, f"mediapipe {source}", "shared steps"), 1.0))
    claims.append(target("scaled / full decode", decode["scaled"]["p50"] / decode["full"]["p50"], _SCALED_DECODE))
    return claims


def _ratio(figures: dict[str, Any], one: str, other: str, step: str = "total") -> float:
    ratio: float = figures[one][step]["p50"] / figures[other][step]["p50"]
    return ratio


if __name__ == "__main__":
    main()
