"""A private PostgreSQL for one test session: a cluster in a temporary folder that listens on a socket in it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER = "handlens"


class Postgres:
    """A running cluster. It may be stopped and started again."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries, self._folder = binaries, folder
        # PostgreSQL refuses to run as root; the package brings a user for it.
        self._as = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._as:
            os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
        self._run("initdb", "-D", f"{folder}/data", "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync")
        self._count = 0

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@/{database}?host={self._folder}"

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories={self._folder} -c fsync=off -c max_connections=60"
        self._run("pg_ctl", "-D", f"{self._folder}/data", "-l", f"{self._folder}/log", "-w", "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", f"{self._folder}/data", "-m", "immediate", "-w", "stop")

    def create(self, *, template: str = "template1") -> str:
        """A new database like `template`; its name."""
        self._count += 1
        name = f"test_{self._count}"
        self._psql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        self._psql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _psql(self, statement: str) -> None:
        import psycopg

        with psycopg.connect(host=str(self._folder), user=USER, dbname="postgres", autocommit=True) as connection:
            connection.execute(statement.encode())

    def _run(self, program: str, *arguments: str) -> None:
        # The server inherits the output of pg_ctl: a pipe would stay open as long as the server runs.
        log = self._folder.with_name(f"{self._folder.name}.log")
        with log.open("a") as output:
            command = [*self._as, str(self._binaries / program), *arguments]
            done = subprocess.run(command, stdout=output, stderr=output, timeout=120, cwd="/", check=False)
        assert done.returncode == 0, log.read_text()


def find_binaries() -> Path | None:
    """The folder of initdb and pg_ctl, newest version first."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    found = shutil.which("initdb")
    return next((one for one in folders if (one / "initdb").exists()), Path(found).parent if found else None)


@contextmanager
def private_postgres() -> Iterator[Postgres]:
    """Start a cluster, and take it away in the end; skips where there is no PostgreSQL, unless it must be there."""
    binaries = find_binaries()
    if binaries is None:
        missing: Callable[[str], object] = pytest.fail if "HANDLENS_REQUIRE_HEAVY" in os.environ else pytest.skip
        missing("there is no PostgreSQL here: install the package `postgresql`")
    assert binaries is not None
    folder = Path(tempfile.mkdtemp(prefix="hl-pg-", dir="/tmp"))  # a socket's path may have 107 bytes
    try:
        postgres = Postgres(binaries, folder)
        postgres.start()
        yield postgres
        postgres.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_name(f"{folder.name}.log").unlink(missing_ok=True)
