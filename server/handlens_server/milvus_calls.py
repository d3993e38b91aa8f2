"""Calls to a Milvus server. The only module that imports pymilvus, when the first call is made.

Rules:

1. Every call has a time limit, and every failure comes out as `IndexUnavailableError`.
2. After a call waited in vain, calls fail at once for a second: requests must not queue up behind a server that cannot
   be reached.
3. Values enter a filter only through `quoted`: pymilvus itself does not escape ids.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from handlens_server.config import ConfigError
from handlens_server.full_index import IndexUnavailableError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["CollectionGoneError", "MilvusAddress", "MilvusCalls", "MilvusTimes", "quoted"]

_PREFIX = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,60}")
_SCHEMES = {"milvus": "http", "milvus+tls": "https"}
_PORT = 19530
_GONE = re.compile(r"can't find collection|collection not found|collection not loaded")  # of Milvus 2.3 and later


class CollectionGoneError(IndexUnavailableError):
    """The collection that a name stands for, or stood for when the call began, is not there."""


@dataclass(frozen=True, slots=True)
class MilvusAddress:
    """Where the server is, and how our collections' names begin."""

    uri: str
    prefix: str = "handlens"
    token: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``milvus://[user:password@]host[:port][/prefix]``; ``milvus+tls://`` encrypts.

        Raises:
            ConfigError: it is none.
        """
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port or _PORT
        except ValueError as error:
            raise _wrong_address() from error
        prefix = parts.path.strip("/") or "handlens"
        if parts.scheme not in _SCHEMES or not host or parts.query or not _PREFIX.fullmatch(prefix):
            raise _wrong_address()
        user = unquote(parts.username or "")
        token = f"{user}:{unquote(parts.password or '')}" if user else ""
        shown = f"[{host}]" if ":" in host else host
        return cls(f"{_SCHEMES[parts.scheme]}://{shown}:{port}", prefix, token)


@dataclass(frozen=True, slots=True)
class MilvusTimes:
    """How long we wait, in seconds."""

    connect: float = 3.0
    search: float = 3.0
    write: float = 60.0  # of one batch; also to make and load a collection
    rest: float = 1.0  # after a failed connection


class MilvusCalls:
    """A connection that is made when it is needed. Thread-safe."""

    def __init__(self, address: MilvusAddress, times: MilvusTimes | None = None) -> None:
        self.address = address
        self.times = times or MilvusTimes()
        self._connecting = threading.Lock()
        self._client: Any = None
        self._rests_until = 0.0

    def call(self, name: str, *args: Any, timeout: float | None = None, **values: Any) -> Any:
        """Call a method of `MilvusClient`; `timeout` is that of a write, if none is given.

        Raises:
            CollectionGoneError: there is no such collection, or no more. IndexUnavailableError: the server cannot be
            reached, does not answer in time, or refuses.
        """
        limit = timeout or self.times.write
        client = self._connected()
        from pymilvus.exceptions import MilvusException

        begun = time.monotonic()
        try:
            return getattr(client, name)(*args, timeout=limit, **values)
        except (MilvusException, *_grpc_errors()) as error:
            if time.monotonic() - begun >= limit / 2:
                self._rest()
            raise self._unavailable(error) from error

    def pages(self, collection: str, *, size: int, fields: list[str], condition: str) -> Iterable[list[dict[str, Any]]]:
        """All rows of a collection that meet a condition, `size` at a time. Raises as `call`."""
        rows = self.call("query_iterator", collection, batch_size=size, filter=condition, output_fields=fields)
        from pymilvus.exceptions import MilvusException

        try:
            while page := rows.next():
                yield page
            rows.close()
        except (MilvusException, *_grpc_errors()) as error:
            raise self._unavailable(error) from error

    def close(self) -> None:
        """Close the connection."""
        with self._connecting:
            if self._client is not None:
                self._client.close()
            self._client = None

    def _connected(self) -> Any:
        if time.monotonic() < self._rests_until:
            raise IndexUnavailableError(
                f"Milvus at {self.address.uri} could not be reached a moment ago: try again later"
            )
        if self._client is not None:
            return self._client
        with self._connecting:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> Any:
        try:
            from pymilvus import MilvusClient
            from pymilvus.exceptions import MilvusException
        except ImportError as error:
            raise ConfigError("Milvus needs its client: pip install 'handlens[server,milvus]'") from error
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs what it raises, with whole filters
        try:
            return MilvusClient(uri=self.address.uri, token=self.address.token, timeout=self.times.connect)
        except (MilvusException, *_grpc_errors()) as error:
            self._rest()
            raise self._unavailable(error) from error

    def _rest(self) -> None:
        self._rests_until = time.monotonic() + self.times.rest

    def _unavailable(self, error: Exception) -> IndexUnavailableError:
        reason = str(getattr(error, "message", "") or error).splitlines()[0][:200]
        kind = CollectionGoneError if _GONE.search(reason) else IndexUnavailableError
        return kind(f"Milvus at {self.address.uri} does not answer ({reason}): start it, or correct HANDLENS_INDEX")


def quoted(values: Iterable[str]) -> str:
    """Texts as a list in a filter; Milvus reads JSON's escapes."""
    return json.dumps(list(values), ensure_ascii=False)


def _grpc_errors() -> tuple[type[Exception], ...]:
    import grpc

    return (grpc.RpcError, grpc.FutureTimeoutError)


def _wrong_address() -> ConfigError:
    return ConfigError(
        "HANDLENS_INDEX cannot be used: give milvus://host:19530, milvus+tls://user:password@host/prefix, or none for "
        "an index in the process"
    )
