"""What the views of the partner endpoint work with."""

from __future__ import annotations

import threading

from handlens_server.partner.guard import Guard
from handlens_server.partner.oauth import TokenEndpoint
from handlens_server.partner.signing import Signer, open_signer
from handlens_server.partner.steady import Steady
from handlens_server.partner.usage import UsageCounter
from handlens_server.services import Services

__all__ = ["Room"]


class Room:
    """The parts that the views share. The signer opens with the first call, because it may write a file."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.steady = Steady(services)
        self.guard = Guard(services, self.steady)
        self.tokens = TokenEndpoint(services)
        self.usage = UsageCounter(services.database, services.clock)
        self._opening = threading.Lock()
        self._signer: Signer | None = None

    @property
    def signer(self) -> Signer:
        """What signs insights tokens, cursors and tickets."""
        with self._opening:
            if self._signer is None:
                self._signer = open_signer(self.services.config)
            return self._signer
