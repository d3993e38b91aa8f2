"""A real backend for tests: database, pictures, keys, signed repository, and a real HTTP server."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from werkzeug.serving import make_server

from handlens_server.app import create_app
from handlens_server.bundle import write_bundle
from handlens_server.config import Config
from handlens_server.database import Database, open_database
from handlens_server.key_files import OFFLINE, ONLINE, Keys
from handlens_server.logs import configure_logs
from handlens_server.packs import Rule, define_pack
from handlens_server.publishing import Publisher
from support.catalogue import run_import
from support.paths import MODELS

__all__ = ["Backend", "make_release", "served"]

Lines = Iterable[tuple[str, bytes]]


class Backend:
    """A backend in a folder, with keys of its own."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.config = Config(data_dir=folder / "server", **settings)
        self.keys = Keys(folder / "keys")
        self.publisher = Publisher(self.config, self.keys)
        self.root = folder / "root.json"
        if not self.publisher.repository.exists:
            for name in (*OFFLINE, *ONLINE):
                self.keys.create(name)
            self.publisher.repository.create()
            self.root.write_bytes(self.publisher.repository.roots()[1])

    @property
    def repository(self) -> Path:
        return self.config.repository_path

    def add(self, catalogue: Path, *, feed: str = "demo", **options: bool) -> None:
        """Import a feed folder."""
        with self.database() as database:
            run_import(self.config, database, catalogue, feed=feed, **options)

    def define(self, pack: str, rule: Rule | None = None) -> None:
        with self.database() as database, database.session() as session:
            define_pack(session, pack, rule or Rule())

    def publish(self, **settings: Any) -> Any:
        """Make a release of the catalogue."""
        with self.database() as database:
            return self.publisher.publish(database, MODELS, **settings)

    def publish_rows(self, packs: Mapping[str, Lines], **settings: Any) -> Any:
        """Make a release of rows that come from nowhere else."""
        return self.publisher.publish_rows(packs, MODELS, **settings)

    def bundle(self, out: Path) -> Path:
        write_bundle(self.publisher.repository, self.config.channel, out)
        return out

    @contextmanager
    def database(self) -> Iterator[Database]:
        with open_database(self.config, create=True) as database:
            yield database

    @contextmanager
    def serve(self) -> Iterator[str]:
        """The address of the real application on a real socket."""
        with self.database():
            pass  # made, where it was not
        configure_logs()  # through logging: nothing is printed among what a test reads
        app = create_app(self.config)
        try:
            with served(app) as url:
                yield url
        finally:
            app.extensions["handlens"].close()


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Any WSGI application on a real socket, a thread a request."""
    server = make_server("127.0.0.1", 0, _closing(app), threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _closing(app: Any) -> Any:
    """The application, whose answers are closed in any case: the test server forgets those whose client went away."""

    def wrapped(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        answer = app(environ, start)
        return _until_closed(answer)

    return wrapped


def _until_closed(answer: Any) -> Iterator[bytes]:
    try:
        yield from answer
    finally:
        if hasattr(answer, "close"):
            answer.close()


def make_release(catalogue: Path, folder: Path, name: str) -> Path:
    """A bundle of one release with one pack, demo, of everything in the feed folder `catalogue`."""
    backend = Backend(folder)
    backend.add(catalogue)
    backend.define("demo")
    backend.publish(name=name)
    return backend.bundle(folder / "release")
