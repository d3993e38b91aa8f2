"""What a device asks of the server besides releases: to be known, to take its events, to search
for it, to forget it.

Rules:

1. Every call may be repeated: events carry their ids, a rotated token is kept before it is used, and the old one works
   until then.
2. An event leaves the outbox only when the server answered for it.
3. A device that the server does not know (any more) enrols again, once a sync, under a new random id.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from handlens.errors import DeviceError, DownloadError, HTTPStatusError
from handlens.faults import fault_point
from handlens.store import Outbox
from handlens.sync.reports import Progress
from handlens.sync.transport import HttpTransport
from handlens.wire.event import MAX_BATCH_BYTES, MAX_BATCH_EVENTS

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

__all__ = ["Backend"]

_EVENTS = {"Content-Encoding": "gzip", "Content-Type": "application/x-ndjson"}
_JSON = {"Content-Type": "application/json"}
_REFUSING = {"device-revoked", "device-over-limit", "enrolment-refused"}


class Backend:
    """The server as one device sees it."""

    def __init__(self, transport: HttpTransport, outbox: Outbox, *, enrolment_key: str) -> None:
        self._transport = transport
        self._outbox = outbox
        self._enrolment_key = enrolment_key

    def erase(self) -> None:
        """Ask the server to forget the device that was erased here, if one was and it was not asked yet.

        Raises:
            DownloadError: not now; it is asked again with the next sync.
        """
        token = self._outbox.note("erase_token")
        if token is None:
            return
        answer = self._call("DELETE", "/v1/devices/self", token=token)
        if answer.status not in (204, 401):  # 401: it forgot already, and the answer was lost
            raise _failure(answer)
        self._outbox.set_notes(erase_token=None)

    def send_events(self, progress: Progress) -> int:
        """Send every event that waits, in batches; returns how many the server took.

        Raises:
            DownloadError: not now. DeviceError: the server refuses this device. What is left waits on.
        """
        total, sent = self._outbox.count(), 0
        while batch := self._outbox.first(events=MAX_BATCH_EVENTS, most_bytes=MAX_BATCH_BYTES):
            body = gzip.compress("".join(f"{waiting.line}\n" for waiting in batch).encode(), mtime=0)
            answer = self._authorised("POST", "/v1/events", body)
            fault_point("events.sent")
            refused = _refused(answer)
            self._outbox.refuse(refused)
            self._outbox.remove([waiting.event_id for waiting in batch])
            sent += len(batch) - len(refused)
            progress("events", min(sent, total), total)
        return sent

    def search(self, query: bytes) -> Mapping[str, Any]:
        """The server's answer to a search, as JSON.

        Raises:
            DownloadError: not now, or never for this query. DeviceError: the server refuses this device.
        """
        return self._authorised("POST", "/v1/search", query, _JSON)

    def _authorised(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str] = _EVENTS
    ) -> Mapping[str, Any]:
        answer = self._call(method, path, token=self._token(), body=body, headers=headers)
        if answer.status == 401:
            self._outbox.set_notes(device_id=None, token=None, rotate_after=None)
            answer = self._call(method, path, token=self._token(), body=body, headers=headers)
        if answer.status != 200:
            raise _failure(answer)
        return _object(answer)

    def _token(self) -> str:
        token = self._outbox.note("token")
        if token is None:
            return self._enrol()
        if datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ") < (self._outbox.note("rotate_after") or ""):
            return token
        answer = self._call("POST", "/v1/devices/token", token=token)
        return self._keep_token(answer) if answer.status == 200 else token

    def _enrol(self) -> str:
        answer = self._post_enrolment()
        if answer.status == 409:  # enrolled before, and the answer was lost: that id has no token any more
            self._outbox.set_notes(device_id=None)
            answer = self._post_enrolment()
        if answer.status != 201:
            raise _failure(answer)
        return self._keep_token(answer)

    def _post_enrolment(self) -> BaseHTTPResponse:
        wanted = {"device_id": self._outbox.device_id(), "enrolment_key": self._enrolment_key}
        body = json.dumps(wanted).encode()
        return self._transport.request(
            "POST", "/v1/devices", headers={"Content-Type": "application/json"}, body=body, retries=_once_more()
        )

    def _keep_token(self, answer: BaseHTTPResponse) -> str:
        values = _object(answer)
        token = str(values.get("token", ""))
        self._outbox.set_notes(token=token, rotate_after=str(values.get("rotate_after", "")))
        fault_point("token.kept")
        return token

    def _call(
        self, method: str, path: str, *, token: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> BaseHTTPResponse:
        sent = {"Authorization": f"Bearer {token}", **(headers or {})}
        answer = self._transport.request(method, path, headers=sent, body=body, retries=_once_more())
        self._transport.usage.received += len(answer.data)
        return answer


def _once_more() -> Any:
    """Retries for calls: not after 429, whose pause may last until tomorrow."""
    import urllib3

    class Calls(urllib3.Retry):
        RETRY_AFTER_STATUS_CODES = frozenset({503})

    return Calls(
        total=2,
        redirect=0,
        status_forcelist=(502, 503, 504),
        allowed_methods=None,
        backoff_factor=0.25,
        backoff_jitter=0.25,
        raise_on_status=False,
        raise_on_redirect=False,
        retry_after_max=10,
    )


def _parsed(answer: BaseHTTPResponse) -> Mapping[str, Any] | None:
    try:
        values = json.loads(answer.data)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None


def _object(answer: BaseHTTPResponse) -> Mapping[str, Any]:
    values = _parsed(answer)
    if values is None:
        raise DownloadError(
            "a web page came in place of the server's answer: this network may want a login, or server_url is not a "
            "handlens server"
        )
    return values


def _refused(answer: Mapping[str, Any]) -> dict[str, str]:
    entries = answer.get("refused", [])
    return {str(entry.get("event_id", "")): str(entry.get("reason", "")) for entry in entries if entry.get("event_id")}


def _failure(answer: BaseHTTPResponse) -> Exception:
    problem = _object(answer) if answer.status < 400 else _parsed(answer) or {}  # a proxy's error page is no JSON
    detail = f"{problem.get('detail') or problem.get('title') or 'no reason given'}"
    if problem.get("code") in _REFUSING or answer.status in (401, 403):
        return DeviceError(f"the server refuses this device ({detail})")
    remedy = "try again later" if problem.get("retryable", True) else "asking again will not help"
    return HTTPStatusError(f"the server answered {answer.status} ({detail}): {remedy}", answer.status)
