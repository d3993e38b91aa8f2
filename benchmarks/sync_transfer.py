"""The parts of `sync.py` about bytes, the first sync, and what a release costs the server."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from measure import REPOSITORY, target
from sync_catalogue import Catalogue
from sync_load import PHOTO
from sync_peers import Points, measure_index_files, measure_qdrant
from sync_site import PACK, Server, Site

from handlens import Lens, NotReadyError, Options
from handlens.sync.download import Downloads
from handlens.sync.transport import HttpTransport
from handlens.sync.trust import TrustedRepository
from handlens.vision.image import load_photo
from handlens.wire.pack import encode_delete
from handlens.wire.release import CHANNEL_PATH, Channel, Release, cheapest_path

__all__ = ["measure_bytes", "measure_first_sync", "measure_releases"]

DEMO_ITEMS = REPOSITORY / "demo" / "catalog" / "items.jsonl"
_METADATA = 8192  # bytes
_OVER_ROWS = 1.05
_BASE_SHARE = 1 / 60
_IDLE = (2, 4096)  # requests, bytes
_SEARCHABLE = 2.0  # seconds after the last byte
_POLL = 0.005  # seconds
_PUBLISHES = 9
_FEW_ITEMS = 500  # in the pack that simulated devices follow: it is their number that counts there

Figures = dict[str, Any]
Claims = list[dict[str, Any]]


@contextmanager
def _site() -> Iterator[tuple[Site, Path]]:
    with tempfile.TemporaryDirectory() as scratch:
        yield Site(Path(scratch) / "site"), Path(scratch)


def measure_bytes(items: int, changes: int, seed: int, thumbnail: int, qdrant: Path | None) -> tuple[Figures, Claims]:
    """`changes` releases, each of which changes 1 % of the rows; what a device fetches for each, and for none."""
    catalogue = Catalogue.made(DEMO_ITEMS, items, seed=seed, thumbnail_bytes=thumbnail)
    share = max(items // 100, 1)
    releases = []
    with _site() as (site, scratch), site.serve() as server, _device(site, server, scratch / "device") as lens:
        before, _ = site.publish(catalogue)
        base = site.newest().files[0].file.size
        first = lens.sync()
        for draw in range(changes):
            catalogue = catalogue.changed(share, draw=draw)
            after, _ = site.publish(catalogue)
            report = lens.sync()
            releases.append(_release_bytes(before, after, report, base, site))
            if draw == 0:
                points = Points(before, after)
            before = after
        idle = lens.sync()
    peers = measure_index_files(points)
    found = measure_qdrant(qdrant, points)
    figures = {
        "items": items,
        "vectors": len(points.before),
        "changed_rows": share,
        "base_bytes": base,
        "first_sync_bytes": first.bytes_received,
        "releases": releases,
        "nothing_changed": {"requests": idle.requests, "bytes": idle.bytes_received},
        "peers_for_the_first_change": {**peers, **_qdrant_rows(found)},
        "qdrant_edge": found,
    }
    _print_bytes(figures)
    return figures, _byte_claims(figures)


def _release_bytes(
    before: dict[str, bytes], after: dict[str, bytes], report: Any, base: int, site: Site
) -> dict[str, Any]:
    lines = [encode_delete(item_id) for item_id in before if item_id not in after]
    lines += [line for item_id, line in after.items() if before.get(item_id) != line]
    pack = site.newest()
    step = (pack.sequence - 1, pack.sequence)
    delta = next(file for file in pack.files if (file.from_sequence, file.sequence) == step)
    rows = len(gzip.compress(b"".join(line + b"\n" for line in lines), 9, mtime=0))
    return {
        "changes": report.changes,
        "requests": report.requests,
        "downloaded": report.bytes_received,
        "changed_rows_gzip": rows,
        "delta_file": delta.file.size,
        "metadata": report.bytes_received - delta.file.size,
        "of_base": round(report.bytes_received / base, 5),
    }


def _qdrant_rows(found: dict[str, Any] | None) -> dict[str, int]:
    if found is None:
        return {}
    return {
        f"Qdrant Edge, {kind} snapshot{how}": found[kind][size]
        for kind in ("full", "partial")
        for how, size in (("", "bytes"), (", gzip", "gzip_bytes"))
    }


def _print_bytes(figures: Figures) -> None:
    first = figures["releases"][0]
    print(f"{figures['items']:,} items, {figures['changed_rows']} rows changed; bytes that a device fetches")
    rows = {
        "the base of the pack": figures["base_bytes"],
        **figures["peers_for_the_first_change"],
        "handlens, this change": first["downloaded"],
        "  of it metadata": first["metadata"],
        "the changed rows alone, gzip": first["changed_rows_gzip"],
        "handlens, nothing changed": figures["nothing_changed"]["bytes"],
    }
    for name, size in rows.items():
        print(f"  {name:42}{size:14,}{size / first['downloaded']:10.1f}x")


def _byte_claims(figures: Figures) -> Claims:
    releases, idle = figures["releases"], figures["nothing_changed"]
    over = max((one["downloaded"] - _METADATA) / one["changed_rows_gzip"] for one in releases)
    return [
        target("bytes fetched, less 8 KB of metadata / compressed changed rows", over, _OVER_ROWS),
        target("the delta file alone / compressed changed rows", _worst(releases, "delta_file"), _OVER_ROWS),
        target("metadata of a release, bytes", max(one["metadata"] for one in releases), _METADATA),
        target("bytes fetched / base", max(one["of_base"] for one in releases), round(_BASE_SHARE, 5)),
        target("nothing changed: requests", idle["requests"], _IDLE[0]),
        target("nothing changed: bytes", idle["bytes"], _IDLE[1]),
    ]


def _worst(releases: list[dict[str, Any]], name: str) -> float:
    return float(max(one[name] / one["changed_rows_gzip"] for one in releases))


def measure_first_sync(items: int, repeats: int, seed: int, thumbnail: int) -> tuple[Figures, Claims]:
    """A device without anything syncs and is searched meanwhile, from before the first byte on."""
    catalogue = Catalogue.made(DEMO_ITEMS, items, seed=seed, thumbnail_bytes=thumbnail)
    with _site() as (site, scratch), site.serve() as server:
        site.publish(catalogue)
        runs = []
        for run in range(repeats):
            folder = scratch / f"device-{run}"
            with _device(site, server, folder) as lens:
                runs.append(_first_sync(lens))
            shutil.rmtree(folder)
    print(f"first sync of {items:,} items, seconds after the last byte")
    for name in runs[0]:
        print(f"  {name:42}" + "".join(f"{run[name]:10.2f}" for run in runs))
    worst = max(run["searchable_exact_s"] for run in runs)
    claims = [target("first sync: searchable after the last byte, s (worst run)", worst, _SEARCHABLE)]
    if items >= Options().exact_below:  # below that exact search is the index
        missing = sum(run["hnsw_s"] < run["searchable_exact_s"] for run in runs)
        claims.append(target("first sync: runs in which HNSW did not follow exact search", missing, 0))
    return {"items": items, "runs": runs}, claims


def _first_sync(lens: Lens) -> dict[str, float]:
    seen: dict[str, float] = {}
    last_byte = [0.0]
    photo = load_photo(PHOTO)
    is_synced = threading.Event()

    def progress(step: str, _done: int, _total: int) -> None:
        if step == "download":
            last_byte[0] = time.monotonic()

    def ask() -> None:
        while "hnsw" not in seen:
            was_synced = is_synced.is_set()
            try:
                result = lens.search(photo)
                seen.setdefault(result.index, time.monotonic())
            except NotReadyError:
                time.sleep(_POLL)
            if was_synced:
                return

    asking = threading.Thread(target=ask)
    asking.start()
    begun = time.monotonic()
    lens.sync(progress=progress)
    ended = time.monotonic()
    is_synced.set()
    asking.join()
    after = {
        "download_s": last_byte[0] - begun,
        "searchable_exact_s": seen["exact"] - last_byte[0],
        "hnsw_s": seen.get("hnsw", np.nan) - last_byte[0],
        "sync_ends_s": ended - last_byte[0],
    }
    return {name: round(value, 3) for name, value in after.items() if not np.isnan(value)}


def measure_releases(few: int, many: int, seed: int) -> tuple[Figures, Claims]:
    """What releases cost the server with `few` and with `many` devices: publishing, and serving each device.

    A simulated device is enrolled and does what a device does on the network: it refreshes its trust and fetches
    channel, release and delta through the SDK's own code, on files of its own. It applies nothing.
    """
    figures: Figures = {}
    for devices in (few, many):
        with _site() as (site, scratch), site.serve() as server:
            figures[str(devices)] = _serve_devices(site, server, scratch, devices, seed)
    one, other = figures[str(few)], figures[str(many)]
    print(f"{'a release with so many devices':44}" + "".join(f"{devices:>14,}" for devices in (few, many)))
    for name in one:
        print(f"  {name:42}{one[name]:14,.4g}{other[name]:14,.4g}")
    claims = [
        target(f"{name}: {many:,} devices / {few}", other[name] / one[name], limit)
        for name, limit in (
            ("publish: files written", 1.0),
            ("publish: bytes written", 1.01),
            ("publish: seconds", 1.5),
            ("serving: requests a device", 1.0),
            ("serving: bytes a device", 1.01),
        )
    ]
    return figures, claims


def _serve_devices(site: Site, server: Server, scratch: Path, devices: int, seed: int) -> dict[str, float]:
    catalogue = Catalogue.made(DEMO_ITEMS, _FEW_ITEMS, seed=seed)
    site.publish(catalogue)
    simulated = [_Simulated(scratch / f"device-{number}", site, server.url) for number in range(devices)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(_Simulated.join, simulated))
        took, written = [], []
        os.sync()  # what the simulated devices wrote is on this disk too, and publishing waits for the disk
        for draw in range(_PUBLISHES):
            catalogue = catalogue.changed(_FEW_ITEMS // 100, draw=draw)
            there = _files(site.backend.repository)
            took.append(site.publish(catalogue)[1])
            written.append(_files(site.backend.repository).items() - there.items())
        before = server.counts()
        list(pool.map(_Simulated.follow, simulated))
        served = server.counts().since(before)
    return {
        "publish: seconds": round(float(np.median(took)), 4),
        "publish: files written": float(np.mean([len(new) for new in written])),
        "publish: bytes written": float(np.mean([sum(size for _, (size, _) in new) for new in written])),
        "serving: requests a device": served.requests / devices,
        "serving: bytes a device": served.bytes / devices,
    }


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file."""
    found = {str(path): path.stat() for path in folder.rglob("*") if path.is_file()}
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}


class _Simulated:
    """The network half of a device."""

    def __init__(self, folder: Path, site: Site, url: str) -> None:
        self._folder = folder
        self._site = site
        self._url = url
        self._held: int | None = None

    def join(self) -> None:
        """Enrol, and fetch the release as it is."""
        self._folder.mkdir()
        body = f'{{"device_id": "{uuid.uuid4()}", "enrolment_key": ""}}'.encode()
        request = urllib.request.Request(f"{self._url}/v1/devices", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request):
            self.follow()

    def follow(self) -> None:
        """Fetch what leads to the newest release."""
        transport = HttpTransport(self._url, timeout=20, retries=4)
        try:
            trust = TrustedRepository(
                transport, self._folder / "trust", self._site.root.read_bytes(), checks_expiry=True
            )
            trust.refresh()
            downloads = Downloads(self._folder / "downloads")
            channel = downloads.fetch(transport, trust.file(CHANNEL_PATH.format(channel="stable")), lambda _: None)
            entry = Channel.from_json(channel.read_bytes()).entries[0]
            release = Release.from_json(downloads.fetch(transport, entry.file, lambda _: None).read_bytes())
            pack = release.packs[PACK]
            for wanted in cheapest_path(pack.files, self._held, pack.sequence) or ():
                trust.require(wanted.file)
                downloads.fetch(transport, wanted.file, lambda _: None)
                self._held = wanted.sequence
        finally:
            transport.close()


def _device(site: Site, server: Server, folder: Path) -> Lens:
    return Lens(Options(data_dir=folder, server_url=server.url, trusted_root=site.root))
