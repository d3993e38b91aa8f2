"""A small application under gunicorn with one thread, whose workers note when requests came. Prints its port.

``/work`` answers 0.6 s later; anything else at once, without reading what is sent. Both answer how many milliseconds
the request waited before a thread took it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from gunicorn.app.base import BaseApplication

from handlens_server.arrivals import arrived_at


def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    waited = (time.perf_counter() - arrived_at(environ)) * 1000
    if environ["PATH_INFO"] == "/work":
        time.sleep(0.6)
    body = f"{waited:.3f}".encode()
    start("503 Service Unavailable", [("Content-Length", str(len(body)))])
    return [body]


class Server(BaseApplication):  # type: ignore[misc]
    def __init__(self, listener: int) -> None:
        self._listener = listener
        super().__init__()

    def load_config(self) -> None:
        worker = "handlens_server.timed_worker.TimedWorker"
        for name, value in {"bind": f"fd://{self._listener}", "worker_class": worker, "threads": 1}.items():
            self.cfg.set(name, value)
        if "control_socket_disable" in self.cfg.settings:
            self.cfg.set("control_socket_disable", True)

    def load(self) -> Any:
        return application


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        Server(listening.detach()).run()
