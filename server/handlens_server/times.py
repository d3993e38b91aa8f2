"""Times as the tables hold them: ISO 8601 in UTC to the second, which sort as text."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

from handlens.errors import HandlensError

__all__ = ["Clock", "TimeTextError", "day_of", "exact_text_of", "parse_time", "text_of", "utc_now"]

Clock = Callable[[], datetime]


class TimeTextError(HandlensError):
    """A text is not a time."""


def utc_now() -> datetime:
    """The present."""
    return datetime.now(timezone.utc)


def text_of(time: datetime) -> str:
    """A time such as ``2026-01-01T10:00:00Z``."""
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def exact_text_of(time: datetime) -> str:
    """A time to the microsecond, such as ``2026-01-01T10:00:00.000000Z``, where the order within a second counts."""
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def day_of(time: datetime) -> str:
    """A day such as ``2026-01-01``."""
    return text_of(time)[:10]


def parse_time(text: str) -> datetime:
    """The time in a text: a day, or a day and a time, in UTC unless it names another zone.

    Raises:
        TimeTextError: it is none.
    """
    try:
        time = datetime.fromisoformat(f"{text[:-1]}+00:00" if text.endswith(("Z", "z")) else text)
        return (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, OverflowError) as error:
        raise TimeTextError(f"{text[:40]!r} is not a time: give 2026-01-01 or 2026-01-01T10:00:00Z") from error
