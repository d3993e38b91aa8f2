"""A network that breaks: a TCP proxy between a device and its server, with a plan for each connection."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

__all__ = ["Network", "Weather", "network_to"]

_PAGE = b"<html><body>Log in to the hotel's network</body></html>"


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to one connection: it breaks after `bytes` of the answer, by an orderly end or a reset; it carries
    `rate` bytes a second; or it is answered by somebody else, with an error `status` or a login page (status 200)."""

    bytes: int | None = None
    is_reset: bool = False
    rate: int | None = None
    status: int | None = None


class Network:
    """Counts what went through; `weathers` are for the next connections, then it is fair."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._lock = threading.Lock()
        self._weathers: list[Weather] = []
        self.connections = 0
        self.delivered = 0  # bytes of answers, with their headers

    def forecast(self, *weathers: Weather) -> None:
        with self._lock:
            self._weathers = list(weathers)

    def carry(self, client: socket.socket) -> None:
        with self._lock:
            self.connections += 1
            weather = self._weathers.pop(0) if self._weathers else Weather()
        with contextlib.suppress(OSError), client:
            if weather.status is not None:
                client.recv(65536)
                client.sendall(_answer(weather.status))
                return
            self._pass_through(client, weather)

    def _pass_through(self, client: socket.socket, weather: Weather) -> None:
        with socket.create_connection(self._to, timeout=10) as server:
            up = threading.Thread(target=_pump_up, args=(client, server), daemon=True)
            up.start()
            left = weather.bytes
            while data := server.recv(16384 if weather.rate is None else max(1, weather.rate // 20)):
                if left is not None and len(data) >= left:
                    client.sendall(data[:left])
                    self.delivered += left
                    _break(client, up, is_reset=weather.is_reset)
                    return
                client.sendall(data)
                self.delivered += len(data)
                left = None if left is None else left - len(data)
                if weather.rate is not None:
                    time.sleep(len(data) / weather.rate)


def _break(client: socket.socket, reader: threading.Thread, *, is_reset: bool) -> None:
    """End a connection; as long as a thread reads from it, closing alone would not be seen at the other end."""
    client.shutdown(socket.SHUT_RD if is_reset else socket.SHUT_RDWR)
    reader.join(5)
    if is_reset:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _pump_up(client: socket.socket, server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := client.recv(16384):
            server.sendall(data)
        server.shutdown(socket.SHUT_WR)


def _answer(status: int) -> bytes:
    kind = b"text/html" if status == 200 else b"text/plain"
    head = b"HTTP/1.1 %d Something\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
    return head % (status, kind, len(_PAGE)) + _PAGE


@contextmanager
def network_to(url: str) -> Iterator[tuple[str, Network]]:
    """The address of a proxy to the server at `url`, and the network it stands for."""
    parts = urlsplit(url)
    network = Network(parts.hostname or "", parts.port or 0)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    done = threading.Event()

    def accept() -> None:
        while not done.is_set():
            with contextlib.suppress(TimeoutError, OSError):
                client, _ = listener.accept()
                client.settimeout(10)
                threading.Thread(target=network.carry, args=(client,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", network
    finally:
        done.set()
        thread.join()
        listener.close()
