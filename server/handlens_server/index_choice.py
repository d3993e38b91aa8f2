"""Which full index a backend has: the one that HANDLENS_INDEX names, or one in the process."""

from __future__ import annotations

import hashlib
import re

from handlens_server.config import Config
from handlens_server.full_index import FullIndex
from handlens_server.local_index import LocalIndex
from handlens_server.milvus_calls import MilvusAddress
from handlens_server.milvus_index import MilvusIndex

__all__ = ["open_full_index"]


def open_full_index(config: Config, *, space: str, dim: int) -> FullIndex:
    """The index of the embedding space `space`. Files are opened; a server is connected when it is needed.

    Raises:
        ConfigError: HANDLENS_INDEX has a value that cannot work.
    """
    if config.index:
        return MilvusIndex(MilvusAddress.parse(config.index), space=space, dim=dim, locks=config.index_path)
    return LocalIndex(space=space, dim=dim, folder=config.index_path / _folder(space))


def _folder(space: str) -> str:
    """A name that any file system takes; the hash tells spaces apart whose letters are alike."""
    return f"{re.sub(r'[^A-Za-z0-9.-]+', '-', space)[:80]}-{hashlib.sha256(space.encode()).hexdigest()[:8]}"
