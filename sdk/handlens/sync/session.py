"""One sync: from a repository to the store.

Rules:

1. One process at a time syncs a store (a lock file); searches go on in all of them.
2. The order is: trust, choose, plan, budget, room on the disk, fetch, apply. Each step may refuse; until the one
   transaction of the last step the store is as it was.
3. A release with a serial below the store's own is never taken, and neither is the one that this device went back
   from: the report names it, and the next newer one is taken.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from handlens.errors import (
    BudgetError,
    BusyError,
    DecodeError,
    HashMismatchError,
    IncompatibleReleaseError,
    ReleaseError,
    StoreCorruptError,
    SyncError,
)
from handlens.faults import fault_point
from handlens.store import Store
from handlens.sync.apply import WANTED, apply_release
from handlens.sync.download import Downloads
from handlens.sync.indexing import INDEX_SLOT
from handlens.sync.models import is_whole, model_folder, models_of, remove_other_models
from handlens.sync.pacing import Pace, no_pace
from handlens.sync.plan import Plan, choose_packs, make_plan
from handlens.sync.reports import Progress, RollbackReport, SyncReport
from handlens.sync.transport import Transport
from handlens.sync.trust import TrustedRepository
from handlens.wire.release import CHANNEL_PATH, Channel, ChannelEntry, Release, ReleaseFile

__all__ = ["LEFT", "Wish", "go_back", "held_release", "locked", "sync_release"]

LEFT = "left_release"  # the document that names the serial that this device went back from
_ROOM_FACTOR = 8  # bytes that the store and its journal grow by for each compressed byte of a pack, measured below 6
_ROOM_RESERVE = 20_000_000  # bytes that stay free


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller asks of one sync. `packs`: None keeps the choice that was made before."""

    device: str
    channel: str
    packs: tuple[str, ...] | None = None
    max_bytes: int | None = None


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the store's sync lock.

    Raises:
        BusyError: another process has it. SyncError: the folder cannot be written.
    """
    lock = FileLock(data_dir / "sync.lock", timeout=0)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise BusyError(f"another process is syncing {data_dir}: try again when it is done") from error
    except OSError as error:
        raise SyncError(
            f"the folder {data_dir} cannot be used ({error.strerror}): choose another data_dir, or get the right to "
            "write there"
        ) from error
    try:
        yield
    finally:
        lock.release()


def sync_release(
    store: Store,
    data_dir: Path,
    repository: TrustedRepository,
    transport: Transport,
    wish: Wish,
    progress: Progress,
    pace: Pace = no_pace,
) -> SyncReport:
    """Bring the store to the release that `repository` has for this device; the caller holds the lock.

    `pace` is called again and again while rows are applied.

    Raises:
        DownloadError, ReleaseError, SyncError, StoreError: nothing was changed; the last release stays in use.
    """
    downloads = Downloads(data_dir / "downloads")
    repository.refresh()
    channel_file = repository.file(CHANNEL_PATH.format(channel=wish.channel))
    entry = _channel(downloads, transport, channel_file).choose(wish.device)
    current = held_release(store)
    left = store.optional_document(LEFT)
    if current is not None and entry.serial < max(current.serial, 0 if left is None else int(left) + 1):
        return _unchanged(store, current, transport, left_out=entry.release)
    release = _release(repository, downloads, transport, entry)
    wanted = _stored_choice(store) if wish.packs is None else wish.packs
    packs, missing = choose_packs(release, wanted)
    _require_some(release, packs, missing)
    needed = _needed(release, data_dir, downloads)
    plan = make_plan(release, packs, store.packs(), needed, downloads.missing_bytes)
    report = _report(store, release, packs, missing)
    if current is not None and _is_in_place(current, release, plan, store, wanted):
        return _counted(report, transport, changed=False, changes=0)
    _require_budget(plan, wish.max_bytes)
    _require_room(data_dir, plan)
    for file in plan.files:
        repository.require(file)
    _fetch(downloads, transport, plan, progress)
    fault_point("session.fetched")
    changes = apply_release(
        store,
        data_dir,
        downloads,
        release,
        plan,
        wanted,
        keeps_former=current is not None and current.serial != release.serial,
        progress=progress,
        pace=pace,
    )
    _clean(store, data_dir, downloads, release, (channel_file, entry.file))
    return _counted(report, transport, changed=True, changes=changes)


def go_back(store: Store, data_dir: Path) -> RollbackReport:
    """Bring the former release back; the caller holds the lock. The next sync leaves out the one that was left.

    Raises:
        NotReadyError: there is no former release. SyncError: a model of it is damaged.
    """
    current, index = held_release(store), store.slot(INDEX_SLOT)
    with store.write() as writer:
        returned = writer.go_back()
        if index is not None:  # the file of the former release is gone, this one is the quickest to bring up to date
            writer.set_slot(INDEX_SLOT, index.file, index.sha256, index.meta)
        if current is not None:
            writer.set_document(LEFT, str(current.serial))
    release = held_release(store)
    if release is None:
        raise StoreCorruptError("the former release has no record: sync again")
    for kind, model in models_of(release).items():
        if not is_whole(data_dir / model_folder(kind, model), model):
            raise SyncError(f"the {kind} of release {release.name!r} is damaged: sync again")
    left = "" if current is None else current.name
    return RollbackReport(release.name, release.serial, release.as_of, left, returned)


def held_release(store: Store) -> Release | None:
    """The release that the store holds, or None.

    Raises:
        StoreCorruptError: its record cannot be read.
    """
    return _parsed(store.optional_document("release"))


def _parsed(text: str | None) -> Release | None:
    try:
        return None if text is None else Release.from_json(text)
    except DecodeError as error:
        raise StoreCorruptError(f"the store's release is malformed ({error}): remove it and sync again") from error


def _channel(downloads: Downloads, transport: Transport, file: ReleaseFile) -> Channel:
    text = downloads.fetch(transport, file, lambda count: None).read_bytes()
    try:
        return Channel.from_json(text)
    except DecodeError as error:
        raise ReleaseError(f"the channel is malformed ({error}): nothing was changed") from error


def _release(repository: TrustedRepository, downloads: Downloads, transport: Transport, entry: ChannelEntry) -> Release:
    repository.require(entry.file)
    text = downloads.fetch(transport, entry.file, lambda count: None).read_bytes()
    try:
        release = Release.from_json(text)
    except DecodeError as error:
        raise ReleaseError(f"release {entry.release!r} is malformed ({error}): nothing was changed") from error
    if (release.name, release.serial) != (entry.release, entry.serial):
        raise HashMismatchError(
            f"the channel names release {entry.release!r} ({entry.serial}), the file is of {release.name!r} "
            f"({release.serial}): nothing was changed"
        )
    _require_sdk(release)
    return release


def _require_sdk(release: Release) -> None:
    from handlens import __version__

    if _version(release.min_sdk) > _version(__version__):
        raise IncompatibleReleaseError(
            f"release {release.name!r} needs handlens {release.min_sdk}, this is {__version__}: upgrade handlens"
        )


def _version(text: str) -> tuple[int, ...]:
    numbers = [part for part in text.split(".")[:3] if part.isdigit()]
    return tuple(int(number) for number in numbers)


def _stored_choice(store: Store) -> tuple[str, ...]:
    text = store.optional_document(WANTED)
    return () if text is None else tuple(json.loads(text))


def _require_some(release: Release, packs: tuple[str, ...], missing: tuple[str, ...]) -> None:
    if not packs:
        raise SyncError(
            f"release {release.name!r} has no pack {', '.join(map(repr, missing)) or 'at all'}: it has "
            f"{', '.join(map(repr, sorted(release.packs))) or 'none'}; choose among them (packs, --pack)"
        )


def _needed(release: Release, data_dir: Path, downloads: Downloads) -> tuple[ReleaseFile, ...]:
    """The files of models and documents that are not in place."""
    files = [file for file in (release.taxonomy, release.policy) if not downloads.has(file)]
    for kind, model in models_of(release).items():
        if not is_whole(data_dir / model_folder(kind, model), model):
            files += model.files.values()
    return tuple(files)


def _is_in_place(current: Release, release: Release, plan: Plan, store: Store, wanted: tuple[str, ...]) -> bool:
    return current.serial == release.serial and not plan.files and not plan.dropped and _stored_choice(store) == wanted


def _require_budget(plan: Plan, max_bytes: int | None) -> None:
    if max_bytes is not None and plan.bytes > max_bytes:
        raise BudgetError(
            f"this sync would fetch {plan.bytes:,} bytes, {max_bytes:,} are allowed: sync on another network, or allow "
            "more (max_bytes, --max-bytes)"
        )


def _require_room(data_dir: Path, plan: Plan) -> None:
    needed = plan.bytes + _ROOM_FACTOR * plan.pack_bytes + _ROOM_RESERVE
    free = shutil.disk_usage(data_dir).free
    if free < needed:
        raise SyncError(
            f"the disk of {data_dir} has {free / 1e6:.0f} MB free, this release needs {needed / 1e6:.0f} MB while it "
            "is installed: make room; nothing was changed"
        )


def _fetch(downloads: Downloads, transport: Transport, plan: Plan, progress: Progress) -> None:
    done = 0

    def came(count: int) -> None:
        nonlocal done
        done += count
        progress("download", done, plan.bytes)

    for file in dict.fromkeys(plan.files):
        downloads.fetch(transport, file, came)


def _clean(
    store: Store, data_dir: Path, downloads: Downloads, release: Release, documents: tuple[ReleaseFile, ...]
) -> None:
    """Remove what neither this release nor the former one needs. What is small and in use stays: it is asked again."""
    former = _parsed(store.former_document("release"))
    releases = [release] if former is None else [release, former]
    kept = {file.sha256 for one in releases for file in (one.taxonomy, one.policy)}
    downloads.clean(kept | {file.sha256 for file in documents})
    folders = {model_folder(kind, model) for one in releases for kind, model in models_of(one).items()}
    remove_other_models(data_dir / "models", {os.path.basename(folder) for folder in folders})


def _unchanged(store: Store, current: Release, transport: Transport, *, left_out: str) -> SyncReport:
    packs = tuple(state.pack for state in store.packs())
    report = SyncReport(current.name, current.serial, current.as_of, False, packs=packs, left_out=left_out)
    return _counted(report, transport, changed=False, changes=0)


def _report(store: Store, release: Release, packs: tuple[str, ...], missing: tuple[str, ...]) -> SyncReport:
    return SyncReport(release.name, release.serial, release.as_of, False, packs=packs, missing_packs=missing)


def _counted(report: SyncReport, transport: Transport, *, changed: bool, changes: int) -> SyncReport:
    usage = transport.usage
    return replace(report, changed=changed, changes=changes, requests=usage.requests, bytes_received=usage.received)
