"""Nearest vectors: `ExactIndex` (NumPy, always there) and `HnswIndex` (hnswlib, optional) behind one protocol, `Index`.

`PatchedIndex` lays a few newer vectors beside either of them.

hnswlib is imported when an `HnswIndex` is made, not before.
"""

from __future__ import annotations

from handlens.index.base import Index, Neighbours, SearchIndex, add_codes
from handlens.index.exact import ExactIndex
from handlens.index.hnsw import HnswIndex, available
from handlens.index.patched import PatchedIndex

__all__ = ["ExactIndex", "HnswIndex", "Index", "Neighbours", "PatchedIndex", "SearchIndex", "add_codes", "available"]
