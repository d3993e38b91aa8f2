"""Where a release repository is read from: a server over HTTP, or a folder.

Rules:

1. A transport yields bytes and promises nothing about them: trust and hashes are checked by whoever asks.
2. Connections that fail, and the statuses 429, 500, 502, 503 and 504, are tried again with growing, random pauses
   (urllib3's `Retry`); a Retry-After of the server is honoured up to `MAX_RETRY_AFTER`.
3. A redirect or a web page in place of a file is a network's login page or a wrong address: it is refused, not read.
4. A transfer that brings less than `MIN_RATE` over `RATE_WINDOW` is given up: what came is kept, the next sync goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from handlens.errors import BudgetError, DownloadError, HTTPStatusError, OfflineError

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager, Retry

__all__ = ["FolderTransport", "HttpTransport", "Transport", "Usage"]

MAX_RETRY_AFTER = 120  # seconds
MIN_RATE = 64  # bytes a second
RATE_WINDOW = 30.0  # seconds
_CHUNK = 1 << 16  # bytes
_TRY_AGAIN = (429, 500, 502, 503, 504)


@dataclass(slots=True)
class Usage:
    """What a sync cost so far: requests sent, and bytes of bodies received."""

    requests: int = 0
    received: int = 0


class Transport(Protocol):
    """Reads files of a repository by their path."""

    usage: Usage

    def read(self, path: str, *, start: int = 0) -> Iterator[bytes]:
        """The bytes of a file from `start` on.

        Raises:
            DownloadError: it cannot be had, or not now (also while iterating).
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class FolderTransport:
    """A repository in a folder: a factory image, an SD card."""

    def __init__(self, folder: Path) -> None:
        self.usage = Usage()
        self._folder = folder

    def read(self, path: str, *, start: int = 0) -> Iterator[bytes]:
        """The bytes of a file from `start` on."""
        self.usage.requests += 1
        try:
            with (self._folder / path).open("rb") as file:
                file.seek(start)
                while chunk := file.read(_CHUNK):
                    self.usage.received += len(chunk)
                    yield chunk
        except FileNotFoundError as error:
            raise HTTPStatusError(f"{self._folder} has no {path}: copy the release again", 404) from error
        except OSError as error:
            raise DownloadError(
                f"{self._folder / path} cannot be read ({error.strerror}): copy the release again"
            ) from error

    def close(self) -> None:
        """Nothing is held open."""


class HttpTransport:
    """A server. `allow` is asked before every request and every chunk whether the network may be used now.

    `timeout` is in seconds, for connecting and for each read.
    """

    def __init__(
        self, server_url: str, *, timeout: float, retries: int, allow: Callable[[], bool] | None = None
    ) -> None:
        import urllib3

        self.usage = Usage()
        self._url = server_url.rstrip("/")
        self._allow = allow or (lambda: True)
        self._timeout = timeout
        self._pool: PoolManager = urllib3.PoolManager(
            retries=_retry(retries), timeout=urllib3.Timeout(connect=timeout, read=timeout), headers=_headers()
        )

    def read(self, path: str, *, start: int = 0) -> Iterator[bytes]:
        """The bytes of a file of the repository from `start` on."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        response = self.request("GET", f"/v1/repository/{path}", headers=headers, preload_content=False)
        try:
            self._count_refusal(response)
            _require_file(response, f"{self._url}/v1/repository/{path}")
            skipped = start if response.status == 200 else 0  # a server that knows no Range sends all of it
            yield from self._body(response, skipped)
        finally:
            response.release_conn()
            response.close()

    def request(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **settings: Any
    ) -> BaseHTTPResponse:
        """One request to the server, tried again as the rules say.

        Raises:
            OfflineError: no answer. BudgetError: the network may not be used now.
        """
        import urllib3

        self._require_allowed()
        self.usage.requests += 1
        try:
            return self._pool.request(
                method, self._url + path, headers={**_headers(), **(headers or {})}, redirect=False, **settings
            )
        except urllib3.exceptions.LocationValueError as error:
            raise DownloadError(f"{self._url} is not the address of a server ({error}): check server_url") from error
        except urllib3.exceptions.HTTPError as error:
            raise OfflineError(f"{self._url} cannot be reached ({_told(error)}): try again later") from error

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _count_refusal(self, response: BaseHTTPResponse) -> None:
        """What came in place of a file was paid for, too; at most a part of it is read."""
        import urllib3

        if response.status in (200, 206):
            return
        try:
            self.usage.received += len(response.read(_CHUNK))
        except urllib3.exceptions.HTTPError:
            return  # the status is there, and it decides

    def _body(self, response: BaseHTTPResponse, skipped: int) -> Iterator[bytes]:
        import urllib3

        watch, is_empty = _RateWatch(), True
        try:
            # What is there, at once: `stream` waits for whole chunks and drops the part that came before a break.
            while chunk := response.read1(_CHUNK):
                is_empty = False
                self._require_allowed()
                self.usage.received += len(chunk)
                watch.received(len(chunk))
                kept = chunk[skipped:]
                skipped = max(0, skipped - len(chunk))
                if kept:
                    yield kept
        except urllib3.exceptions.HTTPError as error:
            raise OfflineError(f"the connection to {self._url} broke ({_told(error)}): try again later") from error
        if is_empty and "Content-Length" not in response.headers:
            # A connection that breaks among the headers looks to urllib3 like an answer without a length, and empty.
            raise OfflineError(f"the connection to {self._url} broke: try again later")

    def _require_allowed(self) -> None:
        if not self._allow():
            raise BudgetError("the network may not be used now: what was fetched is kept, sync again when it may")


class _RateWatch:
    """Gives up on a transfer that hardly moves."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._bytes = 0

    def received(self, count: int) -> None:
        self._bytes += count
        passed = time.monotonic() - self._begun
        if passed < RATE_WINDOW:
            return
        if self._bytes < MIN_RATE * passed:
            raise OfflineError(f"the server sends less than {MIN_RATE} bytes a second: try again later")
        self._begun, self._bytes = time.monotonic(), 0


def _retry(retries: int) -> Retry:
    import urllib3

    return urllib3.Retry(
        total=retries,
        redirect=0,
        status_forcelist=_TRY_AGAIN,
        allowed_methods=None,  # every call of ours may be repeated: events carry ids, tokens rotate safely
        backoff_factor=0.25,
        backoff_jitter=0.25,
        backoff_max=20,
        raise_on_status=False,
        raise_on_redirect=False,
        retry_after_max=MAX_RETRY_AFTER,
    )


def _headers() -> dict[str, str]:
    from handlens import __version__

    return {"User-Agent": f"handlens/{__version__}", "Accept-Encoding": "identity"}


def _require_file(response: BaseHTTPResponse, url: str) -> None:
    kind = response.headers.get("Content-Type", "")
    if response.status in (200, 206) and not kind.startswith("text/html"):
        return
    if response.status in (301, 302, 303, 307, 308) or (response.status == 200 and kind.startswith("text/html")):
        raise DownloadError(
            f"a web page came in place of {url}: this network may want a login, or server_url is not a handlens server"
        )
    raise HTTPStatusError(f"{url} answered {response.status}: try again later", response.status)


def _told(error: Exception) -> str:
    """The innermost reason, without the addresses of objects that urllib3 writes before it."""
    reason = getattr(error, "reason", None) or error
    return str(reason).rpartition(": ")[2] or type(reason).__name__
