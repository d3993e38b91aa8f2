"""The line to the server: sends one call, follows nothing, retries nothing, and keeps what was said.

Rules:

1. What is sent is sent as it is given: no header is added but those that HTTP needs.
2. A server that cannot be reached at all is a `ConformanceError`; one that breaks off in the middle fails the check.
3. A body is read up to `MOST_BYTES`.
"""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import urllib3

from handlens import __version__
from handlens.partner.exchange import Answer, Call, Exchange
from handlens.partner.outcomes import ConformanceError, FailedError

__all__ = ["MOST_BYTES", "Line"]

MOST_BYTES = 20_000_000
_POOL = 16  # connections
_CHUNK = 65_536
_AGENT = f"handlens-partner-check/{__version__}"


class Line:
    """A line to one server. Thread-safe."""

    def __init__(self, base_url: str, *, timeout: float = 30.0, ca_file: Path | None = None) -> None:
        self._base = _checked(base_url)
        self.url = f"{self._base.scheme}://{self._base.netloc}"
        self._timeout = timeout
        self._tls = _tls(ca_file) if self._base.scheme == "https" else None
        self._pool = urllib3.PoolManager(maxsize=_POOL, block=True, ssl_context=self._tls, retries=False)
        self._locked = threading.Lock()
        self._said: list[Exchange] = []

    @property
    def authority(self) -> str:
        """The host, and its port where that is not the scheme's own, as ``@authority`` has it."""
        port = self._base.port
        usual = {"http": 80, "https": 443}[self._base.scheme]
        host = f"[{self._base.hostname}]" if ":" in (self._base.hostname or "") else self._base.hostname
        return f"{host}" if port in (None, usual) else f"{host}:{port}"

    def send(self, call: Call) -> Answer:
        """The answer to a call.

        Raises:
            ConformanceError: the server cannot be reached. FailedError: it breaks off, or does not answer in time.
        """
        begun = time.perf_counter()
        headers = {"User-Agent": _AGENT, "Accept": "*/*", **call.headers}
        try:
            found = self._pool.request(
                call.method,
                self.url + call.target,
                headers=headers,
                body=call.body or None,
                redirect=False,
                timeout=urllib3.Timeout(connect=min(10.0, self._timeout), read=self._timeout),
                preload_content=False,
            )
            body = found.read(MOST_BYTES, decode_content=True)
            found.drain_conn()
            found.release_conn()
        except urllib3.exceptions.HTTPError as error:
            self._keep(Exchange(call, None, str(error)))
            raise self._told(error) from error
        named = {name.lower(): value for name, value in found.headers.items()}
        answer = Answer(found.status, named, body, time.perf_counter() - begun)
        self._keep(Exchange(call, answer))
        return answer

    def promise(self, call: Call, length: int) -> Answer:
        """The answer to a call whose body is announced with `length` bytes, of which only those of `call` are sent.

        Raises:
            FailedError: the server does not answer before it has read the others.
        """
        connection = self._connection()
        begun = time.perf_counter()
        try:
            connection.putrequest(call.method, call.target, skip_host=True, skip_accept_encoding=True)
            for name, value in {"Host": self.authority, **call.headers, "Content-Length": str(length)}.items():
                connection.putheader(name, value)
            connection.endheaders(call.body)
            found = connection.getresponse()
            named = {name.lower(): value for name, value in found.getheaders()}
            answer = Answer(found.status, named, found.read(MOST_BYTES), time.perf_counter() - begun)
        except (OSError, http.client.HTTPException) as error:
            self._keep(Exchange(call, None, f"{type(error).__name__}: {error}"))
            raise FailedError(f"a body of {length:,} bytes was announced, and there was no answer: {error}") from error
        finally:
            connection.close()
        self._keep(Exchange(call.with_headers(Content_Length=str(length)), answer))
        return answer

    def take(self) -> list[Exchange]:
        """What was said since this was asked last."""
        with self._locked:
            said, self._said = self._said, []
        return said

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _connection(self) -> http.client.HTTPConnection:
        host, port, timeout = self._base.hostname or "", self._base.port, min(15.0, self._timeout)
        if self._tls is None:
            return http.client.HTTPConnection(host, port, timeout=timeout)
        return http.client.HTTPSConnection(host, port, timeout=timeout, context=self._tls)

    def _keep(self, exchange: Exchange) -> None:
        with self._locked:
            self._said.append(exchange)

    def _told(self, error: urllib3.exceptions.HTTPError) -> Exception:
        cause = error.reason if isinstance(error, urllib3.exceptions.MaxRetryError) else error
        if isinstance(cause, urllib3.exceptions.SSLError):
            told = f"the certificate of {self.url} is not trusted ({_reason(cause)})"
            return ConformanceError(f"{told}: give the authority that signed it (--ca-file)")
        if isinstance(cause, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError):
            return ConformanceError(
                f"{self.url} cannot be reached ({_reason(cause)}): check --base-url, and that the server is running"
            )
        if isinstance(cause, urllib3.exceptions.ReadTimeoutError):
            return FailedError(f"there was no answer within {self._timeout:g} s")
        return FailedError(f"the connection broke off: {cause}")


def _checked(base_url: str) -> SplitResult:
    try:
        parts = urlsplit(base_url)
        port_is_one = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_one = SplitResult("", "", "", "", ""), False
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_one:
        raise ConformanceError(f"--base-url {base_url!r} is no address: give one such as https://lens.example.com")
    if parts.path.strip("/") or parts.query or parts.username:
        raise ConformanceError(
            f"--base-url {base_url!r} has more than a host: the contract's paths are absolute, give {parts.scheme}://HOST"
        )
    return parts


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ConformanceError(f"--ca-file {ca_file} cannot be used ({error}): give certificates in PEM") from error


def _reason(error: Exception) -> str:
    """The last words of an error of urllib3, which wraps others."""
    return str(error).rpartition(": ")[2] or type(error).__name__
