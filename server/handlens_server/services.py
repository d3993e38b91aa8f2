"""What the views of an application work with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from handlens_server.config import Config
from handlens_server.database import Database
from handlens_server.metrics import Metrics
from handlens_server.searching import Searching
from handlens_server.times import Clock
from handlens_server.tracing import Tracer

__all__ = ["Closable", "Services"]


class Closable(Protocol):
    """What is closed with the services."""

    def close(self) -> None:
        """Let go of what was opened."""


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that views share."""

    config: Config
    database: Database
    metrics: Metrics
    clock: Clock
    searching: Searching
    tracer: Tracer
    others: list[Closable] = field(default_factory=list)  # opened by a room of views

    def close(self) -> None:
        """Let go of what was opened."""
        for one in self.others:
            one.close()
        self.searching.close()
        self.database.close()
        self.tracer.close()
