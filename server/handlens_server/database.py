"""Transactions on the backend's database, SQLite or PostgreSQL.

Rules:

1. `Database.session` is one read-write transaction: committed at its end, rolled back by an exception. On SQLite it
   takes the write lock at once, so that it never fails half way for a lock.
2. `Database.read` is one read-only transaction that sees one state of the database from its first query to its end.
3. Nothing is connected before it is needed: a server starts and answers while its database is down.
4. What the operator must solve comes out as `DatabaseError`, with the remedy; a constraint that a caller broke comes
   out as SQLAlchemy's `IntegrityError`.

::

    database = open_database(config, create=True)
    with database.session() as session:
        number = next_sequence(session, "catalogue")
    database.close()
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from handlens.faults import fault_point
from handlens_server.config import Config, ConfigError
from handlens_server.database_errors import (
    DatabaseBusyError,
    DatabaseError,
    DatabaseFullError,
    SchemaError,
    translated,
)
from handlens_server.schema import current_revision, require_current, upgrade_schema
from handlens_server.tables import SequenceRow

__all__ = [
    "Database",
    "DatabaseBusyError",
    "DatabaseError",
    "DatabaseFullError",
    "SchemaError",
    "next_sequence",
    "open_database",
    "upgrade",
]

_READING = "handlens_reading"
_CONNECT_SECONDS = 5


class Database:
    """The database of a config; connections are made when they are needed. Safe to share between threads."""

    def __init__(self, config: Config) -> None:
        self.url = _url(config)
        self._is_sqlite = self.url.get_backend_name() == "sqlite"
        self._engine = _engine(self.url, config, is_sqlite=self._is_sqlite)
        options: dict[str, Any] = {_READING: True}
        if not self._is_sqlite:
            options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._reader = self._engine.execution_options(**options)

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One read-write transaction.

        Raises:
            DatabaseError: it was not committed, and why.
        """
        with self._translated(), Session(self._engine, expire_on_commit=False) as session:
            yield session
            fault_point("database.commit")
            session.commit()
            fault_point("database.commit")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One read-only transaction.

        Raises:
            DatabaseError: the database cannot be read, and why.
        """
        with self._translated(), Session(self._reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection in a read-write transaction, for the migrations.

        Raises:
            DatabaseError: it was not committed, and why.
        """
        with self._translated(), self._engine.begin() as connection:
            yield connection

    def revision(self) -> str:
        """The revision of the schema; empty when there is none.

        Raises:
            DatabaseError: the database cannot be reached.
        """
        if self._is_absent():
            return ""
        with self.read() as session:
            return current_revision(session.connection())

    def require_current(self) -> None:
        """Refuse a database that has another schema than this version's.

        Raises:
            SchemaError: its schema is missing, old or newer. DatabaseError: it cannot be reached.
        """
        require_current(self.revision(), str(self))

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; they are made anew when needed."""
        self._engine.dispose()

    def _is_absent(self) -> bool:
        """Whether the file of a SQLite database is not there; to connect would make an empty one."""
        path = self.url.database or ""
        return self._is_sqlite and path != ":memory:" and not Path(path).exists()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except PoolTimeoutError as error:
            raise DatabaseBusyError(f"all connections to {self} are in use: try again later") from error
        except DBAPIError as error:
            raise translated(error, str(self)) from error


def open_database(config: Config, *, create: bool = False) -> Database:
    """Open the database, when its schema is that of this version; with `create` it is made or upgraded first.

    Raises:
        DatabaseError: it cannot be reached. SchemaError: its schema is missing, old or newer.
    """
    if create:
        upgrade(config)
    database = Database(config)
    try:
        database.require_current()
    except BaseException:
        database.close()
        raise
    return database


def upgrade(config: Config) -> str:
    """Bring the database to the schema of this version, and make it where there is none; the revision it has now.

    Raises:
        DatabaseError: it cannot be reached. SchemaError: its schema is newer.
    """
    if not config.database_url:
        _make_folder(config)
    with Database(config) as database, database.connection() as connection:
        return upgrade_schema(connection, str(database))


def next_sequence(session: Session, name: str) -> int:
    """The next number of the counter `name`; other writers wait until this transaction ends."""
    step = update(SequenceRow).where(SequenceRow.name == name).values(value=SequenceRow.value + 1)
    value = session.execute(step.returning(SequenceRow.value)).scalar_one_or_none()
    if value is None:
        raise ValueError(f"there is no counter {name!r}")
    return int(value)


def _url(config: Config) -> URL:
    if not config.database_url:
        return URL.create("sqlite", database=str(config.database_path))
    try:
        url = make_url(config.database_url)
    except (ArgumentError, ValueError) as error:
        raise _wrong_url() from error
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise _wrong_url()
    return url


def _wrong_url() -> ConfigError:
    return ConfigError(
        "HANDLENS_DATABASE_URL cannot be used: give postgresql://user:password@host/name, or none for SQLite"
    )


def _make_folder(config: Config) -> None:
    try:
        config.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseError(
            f"{config.data_dir} cannot be made ({error.strerror}): give another --data-dir, or the right to write"
        ) from error


def _engine(url: URL, config: Config, *, is_sqlite: bool) -> Engine:
    connect = {"timeout": config.lock_seconds} if is_sqlite else {"connect_timeout": _CONNECT_SECONDS}
    try:
        engine = create_engine(
            url,
            connect_args=connect,
            pool_pre_ping=not is_sqlite,
            pool_timeout=config.lock_seconds,
            hide_parameters=True,  # errors are logged, and parameters are what devices sent
        )
    except NoSuchModuleError as error:
        raise _wrong_url() from error
    except ImportError as error:
        raise ConfigError("PostgreSQL needs its driver: pip install 'handlens[server,postgres]'") from error
    if is_sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "connect", _lock_timeout(config.lock_seconds))
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver must not begin transactions by itself: it does so only before a write, which cannot wait for a lock.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    is_reading = connection.get_execution_options().get(_READING, False)
    connection.exec_driver_sql(f"PRAGMA query_only = {int(is_reading)}")
    connection.exec_driver_sql("BEGIN" if is_reading else "BEGIN IMMEDIATE")


def _lock_timeout(seconds: int) -> Any:
    def prepare(connection: Any, _record: object) -> None:
        connection.execute(f"SET lock_timeout = '{seconds}s'")
        connection.commit()

    return prepare
