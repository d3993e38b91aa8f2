"""The searches of one application, made with the first one.

A worker that serves releases and events alone never imports NumPy, the models' runtime or the index: importing the
application takes half the time without them.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from handlens_server.config import Config
from handlens_server.database import Database
from handlens_server.times import Clock

if TYPE_CHECKING:
    from handlens_server.search_engine import SearchEngine

__all__ = ["Searching"]


class Searching:
    """Makes the engine when it is first asked for. Thread-safe; close it at the end."""

    def __init__(self, config: Config, database: Database, clock: Clock) -> None:
        self._parts = (config, database, clock)
        self._making = threading.Lock()
        self._engine: SearchEngine | None = None

    @property
    def is_open(self) -> bool:
        """Whether somebody searched."""
        return self._engine is not None

    def engine(self) -> SearchEngine:
        """The engine."""
        with self._making:
            if self._engine is None:
                from handlens_server.search_engine import SearchEngine

                self._engine = SearchEngine(*self._parts)
            return self._engine

    def close(self) -> None:
        """Close the engine, if there is one."""
        with self._making:
            if self._engine is not None:
                self._engine.close()
