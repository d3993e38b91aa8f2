"""W3C Trace Context: which trace a request belongs to (https://www.w3.org/TR/trace-context/, level 1).

Rules:

1. A ``traceparent`` that is not exactly as the recommendation says is ignored, and the request begins a trace of its
   own. Of a later version the fields of this one are read, as it asks.
2. The answer's ``traceparent`` has the same trace, and the span of this server: who logs it finds this request.

>>> parent = TraceContext.read("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
>>> parent.child().header()[:36] == parent.header()[:36]
True
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

__all__ = ["TraceContext"]

_VERSION_0 = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_LATER = re.compile(r"(?!00|ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_NONE = (None, "0" * 32, "0" * 16)


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span of a trace, in hexadecimal; `is_sampled` asks everybody on the way to record it."""

    trace_id: str
    span_id: str
    is_sampled: bool

    @classmethod
    def read(cls, header: str | None) -> TraceContext | None:
        """The context in a ``traceparent``; nothing, when it is none."""
        text = header or ""
        found = _VERSION_0.fullmatch(text) or _LATER.fullmatch(text)
        if found is None or found[1] in _NONE or found[2] in _NONE:
            return None
        return cls(found[1], found[2], bool(int(found[3], 16) & 1))

    @classmethod
    def new(cls) -> TraceContext:
        """The first span of a new trace, which nobody asked to record."""
        return cls(secrets.token_hex(16), secrets.token_hex(8), is_sampled=False)

    def child(self) -> TraceContext:
        """A new span of the same trace."""
        return TraceContext(self.trace_id, secrets.token_hex(8), self.is_sampled)

    def header(self) -> str:
        """As a ``traceparent``."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.is_sampled else '00'}"
