"""How a check, or all of them, end where they do not pass."""

from __future__ import annotations

from handlens.errors import HandlensError

__all__ = ["ConformanceError", "FailedError", "SkippedError"]


class ConformanceError(HandlensError):
    """The checks cannot be made: the server cannot be reached, the key is refused, or an option cannot work."""


class FailedError(Exception):
    """A promise is not kept; the text says what was seen and what was promised."""


class SkippedError(Exception):
    """A check cannot be made with what was given; the text says what it needs."""
