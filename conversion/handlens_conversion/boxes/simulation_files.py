"""A simulation as files: events as the server exports them, and apart from them what each was meant to be.

::

    OUT/events/part-00000.jsonl.gz     or .jsonl, or .parquet
    OUT/truth/part-00000.jsonl.gz      event_id, photo, kind, object (box and word, or null)
    OUT/simulation.json                options, noise model, counts

The folder has its name only when it is whole. `NoiseModel.bad_share` of the rows are broken in turn in the ways of
`BROKEN`; `simulation.json` says how many in each.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from handlens.errors import OptionsError
from handlens_conversion.boxes.drawn import DrawnBox, event_record
from handlens_conversion.boxes.noise import KINDS
from handlens_conversion.boxes.simulate import Chunk, Scene, SimulationOptions, chunks_of, drawn_boxes
from handlens_conversion.boxes.truth import TruePhoto

__all__ = ["BROKEN", "FORMATS", "event_line", "write_simulation"]

FORMATS = ("jsonl.gz", "jsonl", "parquet")
_LEVEL = 1  # of gzip: the writer's time counts more than the size of simulated files


def _with_box(change: Callable[[list[float]], list[float]]) -> Callable[[dict[str, Any]], bytes]:
    def broken(record: dict[str, Any]) -> bytes:
        return _line({**record, "box": change(record["box"])})

    return broken


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":"), sort_keys=True).encode()


# Each way to break a row, by the reason that it is rejected for.
BROKEN: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "not-finite": _with_box(lambda box: [float("nan"), *box[1:]]),
    "inverted": _with_box(lambda box: [box[2], box[1], box[0], box[3]]),
    "in-pixels": _with_box(lambda box: [640 * box[0], 480 * box[1], 640 * box[2] + 3, 480 * box[3] + 3]),
    "negative": _with_box(lambda box: [-0.5, *box[1:]]),
    "outside": _with_box(lambda box: [*box[:3], 1.5]),
    "future-time": lambda record: _line({**record, "at": "2199-01-01T00:00:00Z"}),
    "bad-time": lambda record: _line({**record, "at": "yesterday"}),
    "unknown-format": lambda record: _line({**record, "format": 2}),
    "bad-field": lambda record: _line({name: value for name, value in record.items() if name != "device_id"}),
    "not-json": lambda record: _line(record)[:-20],
    "not-unicode": lambda record: _line(record)[:-1] + ',"note":"café"}'.encode("latin-1"),
    "bad-words": lambda record: _line({**record, "label": "caf\ufffd"}),
}


def write_simulation(
    truth: Sequence[TruePhoto],
    out: Path,
    options: SimulationOptions,
    *,
    file_format: str = "jsonl.gz",
    shard_events: int = 1_000_000,
    progress: bool = True,
) -> dict[str, Any]:
    """Draw and write all events; the contents of `simulation.json`.

    Raises:
        OptionsError: `out` exists or cannot be written, or the format needs a package that is not installed.
    """
    from tqdm import tqdm

    if out.exists():
        raise OptionsError(f"{out} exists: remove it or choose another folder")
    scene = Scene(truth)
    counts: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        for folder in ("events", "truth"):
            (partial / folder).mkdir(parents=True)
        with tqdm(total=options.events, desc="simulate", unit="box", unit_scale=True, disable=not progress) as bar:
            for number, shard in enumerate(_shards(chunks_of(scene, options), shard_events)):
                _write_shard(partial, number, shard, scene, options, file_format, counts, broken, bar.update)
        record = {
            "options": asdict(options),
            "photos": options.photos or len(scene.photos),
            "kinds": {kind: counts[kind] for kind in KINDS},
            "broken": dict(sorted(broken.items())),
        }
        (partial / "simulation.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        partial.replace(out)
    except OSError as error:
        raise OptionsError(f"{out} cannot be written ({error.strerror}): free some space or choose another") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return record


def _shards(chunks: Iterable[Chunk], shard_events: int) -> Iterator[Iterator[Chunk]]:
    """Chunks in groups that begin a new shard each, without holding a group in memory."""
    chunks = iter(chunks)
    for first in chunks:
        yield _until(first, chunks, shard_events)


def _until(chunk: Chunk, more: Iterator[Chunk], shard_events: int) -> Iterator[Chunk]:
    written = 0
    while True:
        yield chunk
        written += len(chunk.edges)
        if written >= shard_events:
            return
        following = next(more, None)
        if following is None:
            return
        chunk = following


def _write_shard(
    folder: Path,
    number: int,
    chunks: Iterator[Chunk],
    scene: Scene,
    options: SimulationOptions,
    file_format: str,
    counts: Counter[str],
    broken: Counter[str],
    tell: Callable[[int], object],
) -> None:
    name, objects = f"part-{number:05d}", _true_objects(scene)
    with (
        _events_file(folder / "events" / f"{name}.{file_format}", file_format) as events,
        _Gzip(folder / "truth" / f"{name}.jsonl.gz") as truth,
    ):
        for chunk in chunks:
            boxes = list(drawn_boxes(scene, options, chunk))
            events.write_boxes(boxes, _bad_rows(options, chunk), broken)
            truth.write(b"".join(_truths(scene, chunk, boxes, objects)))
            counts.update(KINDS[kind] for kind in chunk.kind.tolist())
            tell(len(boxes))


def _bad_rows(options: SimulationOptions, chunk: Chunk) -> dict[int, str]:
    """Which rows of a chunk are broken, and how."""
    random = np.random.default_rng([options.seed, chunk.first, 1])
    rows = np.flatnonzero(random.random(len(chunk.edges)) < options.noise.bad_share)
    ways = tuple(BROKEN)
    return {row: ways[turn % len(ways)] for turn, row in enumerate(rows.tolist())}


def _truths(scene: Scene, chunk: Chunk, boxes: Sequence[DrawnBox], objects: Sequence[str]) -> Iterator[bytes]:
    original = chunk.photo % len(scene.photos)
    rows = np.where(chunk.meant < 0, -1, scene.begin[original] + chunk.meant)
    for drawn, kind, row in zip(boxes, chunk.kind.tolist(), rows.tolist(), strict=True):
        true = "null" if row < 0 else objects[row]
        yield (
            f'{{"event_id":"{drawn.event_id}","kind":"{KINDS[kind]}","object":{true},"photo":{_quoted(drawn.photo)}}}\n'
        ).encode()


def _true_objects(scene: Scene) -> list[str]:
    number = np.arange(len(scene.edges)) - np.repeat(scene.begin, scene.count)
    return [
        f'{{"box":{box},"number":{at},"word":{_quoted(scene.words[word])}}}'
        for box, at, word in zip(scene.edges.round(5).tolist(), number.tolist(), scene.word.tolist(), strict=True)
    ]


def event_line(drawn: DrawnBox) -> bytes:
    """The line of `event_record`, at a tenth of the time of the general encoder."""
    minute, second = divmod(int(drawn.at), 60)
    at, same = f"{_minute(minute)}{second:02d}Z", drawn.event_id
    x_min, y_min, x_max, y_max = drawn.box
    words = "" if drawn.words is None else f'"label":{_quoted(drawn.words)},'
    return (
        f'{{"at":"{at}","box":[{x_min!r},{y_min!r},{x_max!r},{y_max!r}],"device_id":{_quoted(drawn.user)},'
        f'"event_id":"{same}","format":1,"item_id":{_quoted(drawn.photo)},"kind":"box",{words}'
        f'"received_at":"{at}","request_id":"{same.replace("-", "")}"}}'
    ).encode()


@lru_cache(maxsize=100_000)
def _quoted(text: str) -> str:
    return json.dumps(text)


@lru_cache(maxsize=200_000)
def _minute(minute: int) -> str:
    return datetime.fromtimestamp(60 * minute, timezone.utc).strftime("%Y-%m-%dT%H:%M:")


class _Lines:
    """Events as JSON lines."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write_boxes(self, boxes: Sequence[DrawnBox], bad: dict[int, str], broken: Counter[str]) -> None:
        """Write events, some of them broken."""
        lines = [event_line(drawn) for drawn in boxes]
        for row, way in bad.items():
            lines[row] = BROKEN[way](event_record(boxes[row]))
        broken.update(bad.values())
        self._file.write(b"\n".join(lines) + b"\n")


class _Table(_Lines):
    """Events as a Parquet file; what no table can hold (broken JSON, broken text) is left whole."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow as arrow
            import pyarrow.parquet as parquet
        except ImportError as error:
            raise OptionsError("Parquet needs pyarrow: pip install 'handlens[pipeline]', or write jsonl.gz") from error
        self._arrow = arrow
        text = arrow.string()
        names = ("at", "device_id", "event_id", "item_id", "kind", "label", "received_at", "request_id")
        kinds = dict.fromkeys(names, text) | {"box": arrow.list_(arrow.float64()), "format": arrow.int64()}
        self._schema = arrow.schema(sorted(kinds.items()))
        super().__init__(parquet.ParquetWriter(path, self._schema))

    def write_boxes(self, boxes: Sequence[DrawnBox], bad: dict[int, str], broken: Counter[str]) -> None:
        """Write events, some of them broken."""
        records = [event_record(drawn) for drawn in boxes]
        for row, way in bad.items():
            if way not in ("not-json", "not-unicode"):
                records[row] = json.loads(BROKEN[way](records[row]))
                broken[way] += 1
        self._file.write_table(self._arrow.Table.from_pylist(records, schema=self._schema))


def _events_file(path: Path, file_format: str) -> _Lines:
    if file_format == "parquet":
        return _Table(path)
    return _Lines(_Gzip(path) if file_format == "jsonl.gz" else path.open("wb"))


class _Gzip(gzip.GzipFile):
    """A gzip file without name and time in its header, so that the same events are the same bytes."""

    def __init__(self, path: Path) -> None:
        self._under = path.open("wb")
        super().__init__(filename="", mode="wb", compresslevel=_LEVEL, fileobj=self._under, mtime=0)

    def close(self) -> None:
        """End the file, and the one under it."""
        try:
            super().close()
        finally:
            self._under.close()
