"""The server process: gunicorn with threads, started from Python.

Rules:

1. The database is upgraded before any worker is made; workers share nothing but the listening socket.
2. SIGTERM lets running requests end, then stops. A worker that dies is replaced; each is replaced after some thousands
   of requests, at different times.
3. Each worker counts into a file of its place, not of its process, so that there are never more files than places.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click
from flask import Flask
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]
from prometheus_client import values

from handlens.errors import HandlensError
from handlens_server.config import Config, ConfigError
from handlens_server.database import upgrade
from handlens_server.logs import configure_logs, logging_settings

__all__ = ["ListenError", "ServerOptions", "serve"]

_BACKLOG = 1024  # connections that wait to be accepted


class ListenError(HandlensError):
    """The server's address cannot be listened on."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Where the server listens, and with how many hands."""

    host: str = "127.0.0.1"
    port: int = 8000  # 0: any that is free
    workers: int = 2
    threads: int = 8  # of a worker
    timeout: int = 60  # seconds until a worker that does not react is replaced
    graceful_timeout: int = 30  # seconds that running requests have at the end
    max_requests: int = 20_000  # of a worker, until it is replaced; 0: never


def serve(config: Config, options: ServerOptions) -> None:
    """Serve until a signal ends it. The address is printed when the server listens.

    Raises:
        ConfigError: a setting cannot work.
        DatabaseError: the database cannot be reached or upgraded.
        ListenError: the address cannot be listened on.
    """
    _check_limits(config)
    upgrade(config)
    with _listen(options) as listener, _metrics_folder():
        configure_logs()
        _Server(config, options, listener.detach()).run()


def _check_limits(config: Config) -> None:
    from limits.errors import ConfigurationError
    from limits.storage import storage_from_string

    try:
        storage_from_string(config.limits_url)
    except ConfigurationError as error:
        raise ConfigError("HANDLENS_LIMITS_URL cannot be used: give memory://, or redis:// with its package") from error


def _listen(options: ServerOptions) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        return socket.create_server((options.host, options.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        where = f"{options.host} port {options.port}"
        raise ListenError(f"{where} cannot be listened on ({error.strerror}): give another --host or --port") from error


@contextmanager
def _metrics_folder() -> Iterator[None]:
    """A folder for the counts of this process's workers. Workers leave through here too, and take nothing with them."""
    owner, folder = os.getpid(), tempfile.mkdtemp(prefix="handlens-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    try:
        yield
    finally:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)


class _Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, set up from our options and no file."""

    def __init__(self, config: Config, options: ServerOptions, listener: int) -> None:
        self._config, self._options, self._listener = config, options, listener
        super().__init__()

    def load_config(self) -> None:
        for name, value in _settings(self._options, self._listener).items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Flask:
        from handlens_server.app import create_app

        return create_app(self._config)


def _settings(options: ServerOptions, listener: int) -> dict[str, Any]:
    return {
        "bind": f"fd://{listener}",
        "workers": options.workers,
        "worker_class": "handlens_server.timed_worker.TimedWorker",
        "threads": options.threads,
        "timeout": options.timeout,
        "graceful_timeout": options.graceful_timeout,
        "max_requests": options.max_requests,
        "max_requests_jitter": options.max_requests // 10,
        "logconfig_dict": logging_settings(),
        "control_socket_disable": True,  # newer versions of gunicorn listen for commands of their own
        "when_ready": _print_address,
        "pre_fork": _give_place,
        "post_fork": _begin_worker,
    }


def _print_address(server: Any) -> None:
    for listener in server.LISTENERS:
        click.echo(f"listening on {listener}")


def _give_place(server: Any, worker: Any) -> None:
    taken = {other.place for other in server.WORKERS.values()}
    worker.place = next(place for place in range(len(taken) + 1) if place not in taken)


def _begin_worker(_server: Any, worker: Any) -> None:
    # Until gunicorn sets a worker's own handlers it has those of its parent, which swallow a SIGTERM: a server that is
    # stopped while a worker begins would wait for it to the end of the graceful timeout.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    values.ValueClass = values.MultiProcessValue(lambda: worker.place)  # type: ignore[no-untyped-call]
