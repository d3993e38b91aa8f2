"""A backend for `sync.py`: publishes here, serves from a process of its own, and counts what it serves there.

The server is the real application behind a threading HTTP server on loopback; the repository is signed by real keys.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import REPOSITORY
from sync_catalogue import Catalogue, Row

sys.path.append(str(REPOSITORY / "tests"))

from support.backend import Backend, served

__all__ = ["PACK", "Counts", "Site"]

PACK = "bench"
_SETTINGS = {"enrolments_per_hour": 1_000_000}


@dataclass(frozen=True, slots=True)
class Counts:
    """What a server answered: requests, and bytes of bodies."""

    requests: int
    bytes: int

    def since(self, before: Counts) -> Counts:
        return Counts(self.requests - before.requests, self.bytes - before.bytes)


class Site:
    """A backend in `folder` whose one pack follows a catalogue."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.backend = Backend(folder, **_SETTINGS)
        self.root = self.backend.root
        self._lines: dict[Row, bytes] = {}
        self._published = 0

    def publish(self, catalogue: Catalogue) -> tuple[dict[str, bytes], float]:
        """Release a state of the catalogue: its lines by item, and the seconds that publishing took."""
        self._lines = {row: self._lines.get(row) or catalogue.line(row) for row in catalogue.rows}
        lines = {row.item_id: line for row, line in self._lines.items()}
        self._published += 1
        begun = time.perf_counter()
        self.backend.publish_rows({PACK: iter(lines.items())}, sequence=self._published)
        return lines, time.perf_counter() - begun

    def newest(self) -> Any:
        """The newest release's pack."""
        return self.backend.publisher.releases()[0].release.packs[PACK]

    @contextmanager
    def serve(self) -> Iterator[Server]:
        """The server in a process of its own."""
        command = [sys.executable, __file__, str(self.folder)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            try:
                yield Server(process)
            finally:
                process.communicate()


class Server:
    """The process that serves."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.url = self._read()

    def counts(self) -> Counts:
        """What was answered since the start."""
        assert self._process.stdin is not None
        print("counts", file=self._process.stdin, flush=True)
        return Counts(**json.loads(self._read()))

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the server's process ended")
        return line.strip()


class _Counting:
    """A WSGI application that counts what another one answers."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.requests = 0
        self.bytes = 0

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        self.requests += 1
        found: Iterable[bytes] = self._app(environ, start)
        try:
            for part in found:
                self.bytes += len(part)
                yield part
        finally:
            close = getattr(found, "close", None)
            if close is not None:
                close()


def main() -> None:
    from handlens_server.app import create_app
    from handlens_server.logs import configure_logs

    backend = Backend(Path(sys.argv[1]), **_SETTINGS)
    with backend.database():
        pass  # made, where it was not
    configure_logs()
    counting = _Counting(create_app(backend.config))
    with served(counting) as url:
        print(url, flush=True)
        for _ in sys.stdin:
            print(json.dumps({"requests": counting.requests, "bytes": counting.bytes}), flush=True)


if __name__ == "__main__":
    main()
