"""What syncing costs: bytes, seconds, memory, and the searches that go on meanwhile.

    python benchmarks/sync.py [--qdrant-python PATH] [--parts bytes first large releases] [--out FILE.json] [--plot PNG]

The claims, over real HTTP on loopback against the real backend with real TUF metadata (`sync_site.py`), for a seeded
catalogue (`sync_catalogue.py`: prose, tags, links; 1.3 vectors of 128 dimensions a row; no thumbnails unless
`--thumbnail-bytes`):

bytes     20,000 items, 1 % of the rows changed, several releases in a row, the worst counts: a device fetches at most
          1.05 times the compressed changed rows (``gzip -9`` of their lines) plus 8 KB, and at most 1/60 of the base.
          Nothing changed: at most 2 requests and 4 KB. Bytes are those of bodies, without HTTP headers. Beside it, for
          the first change: the saved hnswlib index, its bsdiff4 and xdelta3 patches, Qdrant Edge's snapshots
          (`sync_peers.py`).
first     First sync of 20,000 items into an empty folder, searched from the start: a photo is answered, by exact
          search, within 2 s of the last byte; HNSW follows.
large     100,000 items, 1,000 rows changed, several releases in a row: applying takes at most 2 s (the worst counts;
          models checked, transaction, digests, commit; what the index takes is told apart), and p99 of searches
          meanwhile is at most 3 times the usual one. Searches are those of the index alone, of the store alone and of a
          whole photo (`sync_load.py`), in a thread of the syncing process and in another process, without a pause;
          "applying" counts those that ran in that step, "syncing" those in the whole sync.
          Memory: the peak RSS of a process that does the first sync is at most 1.5 times the RSS of one that opens the
          store and searches it.
releases  A release costs the same whether 10 or 1,000 devices follow: files and bytes written, seconds (median of 9),
          and requests and bytes for each device.

Linux only. Exit code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from measure import machine, write_json
from sync_apply import measure_large
from sync_transfer import measure_bytes, measure_first_sync, measure_releases

_PARTS = ("bytes", "first", "large", "releases")
_LOAD = "load_average_1_5_15_min"


def main(argv: list[str] | None = None) -> None:
    arguments = _arguments(argv)
    figures = _former(arguments.out)
    claims: list[dict[str, Any]] = []
    for part in arguments.parts:
        before = machine()
        found, met = _measure(part, arguments)
        figures[part] = {
            "machine": {**before, "load_at_end": machine()[_LOAD]},
            "seed": arguments.seed,
            **found,
            "targets": met,
        }
        claims += met
        print()
        write_json(arguments.out, figures)
    if arguments.plot is not None:
        from sync_plot import draw

        draw(figures, arguments.plot)
    if not all(claim["met"] for claim in claims):
        sys.exit(1)


def _former(out: Path | None) -> dict[str, Any]:
    """The figures of an earlier run: parts that are not measured now keep them, so that each may run by itself."""
    if out is None or not out.is_file():
        return {}
    figures: dict[str, Any] = json.loads(out.read_text("utf-8"))
    return figures


def _measure(part: str, arguments: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    items, seed, thumbnail = arguments.items, arguments.seed, arguments.thumbnail_bytes
    if part == "bytes":
        return measure_bytes(items, arguments.releases, seed, thumbnail, arguments.qdrant_python)
    if part == "first":
        return measure_first_sync(items, arguments.repeats, seed, thumbnail)
    if part == "large":
        return measure_large(arguments.large, arguments.rounds, seed)
    return measure_releases(arguments.few, arguments.many, seed)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=list(_PARTS), choices=_PARTS)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--releases", type=int, default=5, help="releases of 1 %% each in the part bytes")
    parser.add_argument("--repeats", type=int, default=3, help="first syncs")
    parser.add_argument("--large", type=int, default=100_000, help="items of the part large")
    parser.add_argument("--rounds", type=int, default=6, help="releases of 1 %% each in the part large")
    parser.add_argument("--few", type=int, default=10, help="devices that follow releases")
    parser.add_argument("--many", type=int, default=1_000, help="devices that follow releases")
    parser.add_argument("--thumbnail-bytes", type=int, default=0, help="random bytes in the place of each thumbnail")
    parser.add_argument("--qdrant-python", type=Path, help="Python of an environment with qdrant-edge-py")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, help="write the figures as JSON; parts that were not run keep theirs")
    parser.add_argument("--plot", type=Path, help="draw them into a PNG (needs matplotlib)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
