"""What the operator may set, in one record; every command and every worker reads it the same way.

Rules:

1. A field is set by the environment variable ``HANDLENS_<FIELD>`` (``HANDLENS_DATA_DIR``); an option of the command
   line goes before it.
2. A value that cannot work is refused before anything is opened, with the name of its variable.
3. Secrets are never part of the record's text form.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from handlens.errors import HandlensError

__all__ = ["Config", "ConfigError"]

_PREFIX = "HANDLENS_"


class ConfigError(HandlensError):
    """A setting has a value that cannot work."""


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of a backend."""

    data_dir: Path = Path("handlens-data")  # the database, the pictures and the release repository
    database_url: str = field(default="", repr=False)  # empty: SQLite in the data folder
    enrolment_key: str = field(default="", repr=False)  # what a new device must know; empty: any device may enrol
    channel: str = "stable"
    index: str = field(default="", repr=False)  # of the full catalogue: milvus://host:19530; empty: in each process
    enrolments_per_hour: int = 60  # of one address, and of one worker while `limits_url` is memory://
    limits_url: str = field(default="memory://", repr=False)  # where enrolments are counted, such as redis://host
    events_per_day: int = 5000  # newly stored, of one device, by the day in UTC
    partner_secret: str = field(default="", repr=False)  # signs partners' insights tokens; empty: one of this folder
    token_days: int = 30  # a device rotates its token after these
    retention_days: int = 365  # events are kept this long
    max_body_bytes: int = 5_000_000  # of a request, as it is sent
    search_pixels: int = 50_000_000  # a photo with more is refused before it is decoded
    search_threads: int = 1  # of each model's interpreter, in each worker
    search_poll_ms: int = 200  # how often a worker looks whether the catalogue changed
    search_wait_seconds: int = 10  # how long the first searches wait for the index
    lock_seconds: int = 10  # how long a transaction waits for another
    retry_after_seconds: int = 30  # what a client is told when the database is down
    partner_slots: int = 2  # searches of partners that run at once in a worker
    partner_searches: int = 6  # those that are in a worker, running or waiting; fewer than its threads
    partner_queue_ms: int = 100  # a search that waited longer for a thread is refused
    partner_patience_ms: int = 1000  # and one that would wait longer for its turn
    tracing: str = ""  # otlp: spans go where the variables OTEL_... say; empty: none are made
    trusted_proxies: int = 0  # how many proxies in front set X-Forwarded-For and -Proto

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            if not least <= getattr(self, name) <= most:
                raise ConfigError(f"{_PREFIX}{name.upper()} is {getattr(self, name)}: give {least} to {most}")

    @property
    def repository_path(self) -> Path:
        """The folder of the release repository (TUF), served at ``/v1/repository/``."""
        return self.data_dir / "repository"

    @property
    def pictures_path(self) -> Path:
        """The folder of the catalogue's pictures, named by their SHA-256."""
        return self.data_dir / "pictures"

    @property
    def database_path(self) -> Path:
        """Where the SQLite database lies while no `database_url` is set."""
        return self.data_dir / "handlens.db"

    @property
    def index_path(self) -> Path:
        """The folder of the saved indexes of the full catalogue, one for each embedding space."""
        return self.data_dir / "index"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **overrides: Any) -> Config:
        """The settings of the environment; `overrides` that are not None go before them.

        Raises:
            ConfigError: a variable has a value that cannot work.
        """
        found = os.environ if environment is None else environment
        values = {
            one.name: _read(one.name, type(one.default), found[_PREFIX + one.name.upper()])
            for one in fields(cls)
            if found.get(_PREFIX + one.name.upper())
        }
        return cls(**values | {name: value for name, value in overrides.items() if value is not None})


_RANGES = {
    "enrolments_per_hour": (1, 1_000_000),
    "events_per_day": (1, 1_000_000),
    "token_days": (1, 36_500),
    "retention_days": (1, 36_500),
    "max_body_bytes": (1000, 100_000_000),
    "search_pixels": (10_000, 500_000_000),
    "search_threads": (1, 256),
    "search_poll_ms": (10, 60_000),
    "search_wait_seconds": (0, 600),
    "lock_seconds": (1, 600),
    "retry_after_seconds": (1, 86_400),
    "partner_slots": (1, 64),
    "partner_searches": (1, 256),
    "partner_queue_ms": (1, 60_000),
    "partner_patience_ms": (1, 60_000),
    "trusted_proxies": (0, 10),
}


def _read(name: str, kind: type[Any], text: str) -> Any:
    if kind is int:
        try:
            return int(text)
        except ValueError as error:
            raise ConfigError(f"{_PREFIX}{name.upper()} is {text[:40]!r}: give a whole number") from error
    return text if kind is str else Path(text).expanduser()
