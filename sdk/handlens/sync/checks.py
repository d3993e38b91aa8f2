"""When the server was last asked with success; to look at it loads nothing that only a sync needs."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

__all__ = ["checked_at", "note_check"]

_CHECKED = "checked"  # the empty file whose time says when a sync last ended well


def note_check(data_dir: Path) -> None:
    """Note that the server was asked just now, by the time of an empty file: nothing has to be written to be told."""
    with suppress(OSError):  # a full disk: only the note is missing
        (data_dir / _CHECKED).touch()


def checked_at(data_dir: Path) -> str:
    """When the server was last asked with success (ISO 8601, UTC), or an empty text."""
    try:
        seconds = (data_dir / _CHECKED).stat().st_mtime
    except OSError:
        return ""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
