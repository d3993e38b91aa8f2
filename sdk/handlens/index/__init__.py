"""Nearest vectors: `ExactIndex` (NumPy, always there) and `HnswIndex` (hnswlib, optional) behind one protocol, `Index`.

hnswlib is imported when an `HnswIndex` is made, not before.
"""

from __future__ import annotations

from handlens.index.base import Index, Neighbours, add_codes
from handlens.index.exact import ExactIndex
from handlens.index.hnsw import HnswIndex, available

__all__ = ["ExactIndex", "HnswIndex", "Index", "Neighbours", "add_codes", "available"]
