"""What is sent and what comes back, as records; and how they are shown without secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from handlens.partner.outcomes import FailedError

__all__ = ["Answer", "Call", "Exchange"]

_MOST_SHOWN = 1200  # characters of a body
_SECRET_FIELDS = re.compile(
    r'("(?:access_token|client_secret|insights_token)"\s*:\s*")[^"]+|((?:client_secret|access_token)=)[^&\s]+'
)


@dataclass(frozen=True, slots=True)
class Call:
    """A request: `target` is path and query as they go over the wire."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def with_headers(self, **headers: str) -> Call:
        """The call with more headers; an underscore in a name is a hyphen."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(self, headers={**self.headers, **more})

    def shown(self) -> str:
        """The call for people, without its secrets."""
        lines = [f"{self.method} {self.target}"]
        lines += [f"{name}: {_shown_header(name, value)}" for name, value in self.headers.items()]
        return "\n".join([*lines, *_shown_body(self.body)])


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; header names are in lower case, `seconds` is how long it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float = 0.0

    @property
    def media_type(self) -> str:
        """The type of the body without its parameters."""
        return self.headers.get("content-type", "").split(";")[0].strip().lower()

    def json(self) -> Any:
        """The decoded body.

        Raises:
            FailedError: it is no JSON.
        """
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise FailedError(f"the body of the {self.status} is no JSON: {error}") from error

    def member(self, name: str) -> Any:
        """A member of the JSON object in the body, None where there is none."""
        value = self.json()
        return value.get(name) if isinstance(value, dict) else None

    def shown(self) -> str:
        """The answer for people."""
        lines = [f"{self.status}, {self.seconds * 1000:.0f} ms"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\n".join([*lines, *_shown_body(self.body)])


@dataclass(frozen=True, slots=True)
class Exchange:
    """A call and its answer, or how it failed."""

    call: Call
    answer: Answer | None
    failure: str = ""

    def to_dict(self) -> dict[str, str]:
        """The JSON object: both as text, without secrets."""
        return {"sent": self.call.shown(), "seen": self.failure if self.answer is None else self.answer.shown()}


def _shown_header(name: str, value: str) -> str:
    if name.lower() == "authorization":
        return f"{value.split(' ')[0]} (not shown)"
    return f"{value[:16]}... (not shown)" if name.lower() == "signature" else value


def _shown_body(body: bytes) -> list[str]:
    if not body:
        return []
    text = _SECRET_FIELDS.sub(lambda found: f"{found[1] or found[2]}(not shown)", body.decode("utf-8", "replace"))
    printable = "".join(one if one.isprintable() or one in "\n\t" else "." for one in text)
    cut = f"... ({len(body):,} bytes)" if len(printable) > _MOST_SHOWN else ""
    return ["", printable[:_MOST_SHOWN] + cut]
