"""What the kill tests kill. Run as a process of its own.

kill_driver.py device DATA_DIR URL ROOT      feedback, syncs, a step back; prints ``kept ID`` for each event on the disk
kill_driver.py packs DATA_DIR URL ROOT       packs added and dropped, the index built anew
kill_driver.py erase DATA_DIR URL ROOT       everything about the device forgotten, here and on the server
kill_driver.py publish BACKEND               a release of changed rows
kill_driver.py operate BACKEND               a staged release, widened, undone, and every kind of key replaced
"""

from __future__ import annotations

import sys
import uuid
from pathlib import Path


def device(data_dir: str, url: str, root: str) -> None:
    with opened(data_dir, url, root) as lens:
        keep(lens, 2)
        lens.sync()
        keep(lens, 1)
        lens.sync()
        if lens.status().former:
            lens.rollback()
        lens.sync()


def packs(data_dir: str, url: str, root: str) -> None:
    with opened(data_dir, url, root) as lens:
        lens.sync(["tools"])
        lens.sync(["demo", "tools"])
        lens.reindex()
        lens.sync(["demo"])


def erase(data_dir: str, url: str, root: str) -> None:
    with opened(data_dir, url, root) as lens:
        keep(lens, 2)
        lens.sync()
        keep(lens, 1)
        print("erasing", flush=True)
        lens.erase()
        print("erased", flush=True)


def opened(data_dir: str, url: str, root: str):  # type: ignore[no-untyped-def]
    from handlens import Lens, Options

    options = Options(data_dir=data_dir, server_url=url, trusted_root=root, index="hnsw", consent="events", retries=0)
    return Lens(options)


def keep(lens: object, count: int) -> None:
    from handlens.wire.event import Event

    for _ in range(count):
        event = Event(str(uuid.uuid4()), "save", "2026-01-01T00:00:00Z", "request", "one", item_id="axe")
        lens.outbox.add(event.event_id, event.to_json(), most_bytes=10_000_000)  # type: ignore[attr-defined]
        print(f"kept {event.event_id}", flush=True)


def publish(folder: str) -> None:
    from support.backend import Backend
    from support.signed_release import rows

    Backend(Path(folder)).publish_rows({"demo": rows("axe", "drill", "hammer", value=2)}, name="two")


def operate(folder: str) -> None:
    from support.backend import Backend
    from support.signed_release import rows

    backend = Backend(Path(folder))
    backend.publish_rows({"demo": rows("axe", "drill", value=2)}, name="two", percent=20)
    backend.publisher.widen(100)
    backend.publisher.rollback("one", name="back")
    for key in ("timestamp", "packs", "root2"):
        backend.publisher.rotate(key)
    backend.publisher.refresh()


if __name__ == "__main__":
    commands = {one.__name__: one for one in (device, packs, erase, publish, operate)}
    commands[sys.argv[1]](*sys.argv[2:])
