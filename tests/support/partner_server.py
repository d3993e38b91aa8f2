"""A real backend with two partners, as a partner's own team meets it: a release, an index, keys of every kind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from handlens_server.app import create_app
from handlens_server.logs import configure_logs
from handlens_server.partner.partners import NewKey, add_partner, hash_of, new_device_key, new_secret_key
from handlens_server.partner.profiles import SCOPES
from handlens_server.partner.tables import TokenRow
from handlens_server.times import text_of, utc_now
from support.backend import Backend, served
from support.paths import ROOT

__all__ = ["EXPIRED", "PartnerServer", "kit_command"]

EXPIRED = "hlt_" + "e" * 43
_PROFILE: dict[str, Any] = {"format": 1, "name": "Acme phones"}


@dataclass(frozen=True, slots=True)
class PartnerServer:
    """A backend whose partners are acme and other; `key` and `device_key` are test keys of acme."""

    backend: Backend
    key: NewKey
    device_key: NewKey
    foreign_key: NewKey
    live_key: NewKey
    key_file: Path  # of the device's private key

    @classmethod
    def make(
        cls, folder: Path, catalogue: Path, *, profile: dict[str, Any] | None = None, **settings: Any
    ) -> PartnerServer:
        backend = Backend(folder, **settings)
        backend.add(catalogue)
        backend.define("demo")
        backend.publish(name="test-1")
        now = utc_now()
        with backend.database() as database, database.session() as session:
            for partner in ("acme", "other"):
                add_partner(session, partner, json.dumps({**_PROFILE, "name": partner, **(profile or {})}), now)
            keys = [new_secret_key(session, partner, "test", SCOPES, now) for partner in ("acme", "other")]
            live = new_secret_key(session, "acme", "live", SCOPES, now)
            device = new_device_key(session, "acme", "test", SCOPES, now)
            session.flush()
            over = text_of(now - timedelta(hours=1))
            session.add(TokenRow(token=hash_of(EXPIRED), key_id=keys[0].key_id, scopes="lens", expires_at=over))
        key_file = folder / "device.pem"
        key_file.write_text(device.secret)
        return cls(backend, keys[0], device, keys[1], live, key_file)

    @contextmanager
    def serve(self, wrap: Callable[[Any], Any] = lambda app: app) -> Iterator[str]:
        """The address of the real application, wrapped, on a real socket."""
        configure_logs()
        app = create_app(self.backend.config)
        try:
            with served(wrap(app)) as url:
                yield url
        finally:
            app.extensions["handlens"].close()

    def options(self) -> list[str]:
        """What the kit is given to make every check that needs no waiting."""
        return [
            "--key", f"{self.key.key_id}:{self.key.secret}",
            "--signing-key", f"{self.device_key.key_id}:{self.key_file}",
            "--foreign-key", f"{self.foreign_key.key_id}:{self.foreign_key.secret}",
            "--expired-token", EXPIRED,
        ]  # fmt: skip


def kit_command(*words: str) -> subprocess.CompletedProcess[str]:
    """Run ``handlens partner check`` as a user does, with the device's code alone on the path."""
    program = "from handlens.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, "partner", "check", *words],
        env={"PYTHONPATH": str(ROOT / "sdk"), "PATH": "/usr/bin:/bin", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
