"""What a search is refused with; apart from the engine, which a worker imports with its first search."""

from __future__ import annotations

from handlens.errors import HandlensError

__all__ = ["SearchRefusedError", "SearchUnavailableError"]


class SearchRefusedError(HandlensError):
    """A request that was understood and cannot be served; `code` says which rule it breaks, for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class SearchUnavailableError(HandlensError):
    """No search can be answered now."""
