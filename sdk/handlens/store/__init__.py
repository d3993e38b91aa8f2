"""The device's store of packs, items, vectors and slots: `Store`, over one SQLite file."""

from __future__ import annotations

from handlens.store.outbox import Outbox, Waiting
from handlens.store.records import PackState, Slot, StoredPart, StoreStats, TextHit
from handlens.store.store import Store
from handlens.store.writer import Writer

__all__ = ["Outbox", "PackState", "Slot", "Store", "StoreStats", "StoredPart", "TextHit", "Waiting", "Writer"]
