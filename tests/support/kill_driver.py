"""What the kill tests kill: one device's session, or one publish. Run as a process of its own.

kill_driver.py device DATA_DIR URL ROOT      feedback, syncs, a step back; prints ``kept ID`` for each event on the disk
kill_driver.py publish BACKEND               a release of changed rows
"""

from __future__ import annotations

import sys
import uuid
from pathlib import Path


def device(data_dir: str, url: str, root: str) -> None:
    from handlens import Lens, Options
    from handlens.wire.event import Event

    options = Options(data_dir=data_dir, server_url=url, trusted_root=root, index="hnsw", consent="events", retries=0)
    with Lens(options) as lens:
        keep(lens, Event, 2)
        lens.sync()
        keep(lens, Event, 1)
        lens.sync()
        lens.rollback()
        lens.sync()


def keep(lens: object, event_class: type, count: int) -> None:
    for _ in range(count):
        event = event_class(str(uuid.uuid4()), "save", "2026-01-01T00:00:00Z", "request", "one", item_id="axe")
        lens.outbox.add(event.event_id, event.to_json(), most_bytes=10_000_000)  # type: ignore[attr-defined]
        print(f"kept {event.event_id}", flush=True)


def publish(folder: str) -> None:
    from support.backend import Backend
    from support.signed_release import rows

    Backend(Path(folder)).publish_rows({"demo": rows("axe", "drill", "hammer", value=2)}, name="two")


if __name__ == "__main__":
    {"device": device, "publish": publish}[sys.argv[1]](*sys.argv[2:])
