"""What the views of an application work with."""

from __future__ import annotations

from dataclasses import dataclass

from handlens_server.config import Config
from handlens_server.database import Database
from handlens_server.metrics import Metrics
from handlens_server.searching import Searching
from handlens_server.times import Clock
from handlens_server.tracing import Tracer

__all__ = ["Services"]


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that views share."""

    config: Config
    database: Database
    metrics: Metrics
    clock: Clock
    searching: Searching
    tracer: Tracer

    def close(self) -> None:
        """Let go of what was opened."""
        self.searching.close()
        self.database.close()
        self.tracer.close()
