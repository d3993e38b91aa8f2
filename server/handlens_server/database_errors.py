"""What an operator must solve about the database, told from a driver's error.

::

    DatabaseError               it cannot be reached or read
    ├── DatabaseBusyError       another transaction holds it: try again
    ├── DatabaseFullError       there is no room left
    └── SchemaError             the tables are missing, or of another version
"""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

from handlens.errors import HandlensError

__all__ = ["DatabaseBusyError", "DatabaseError", "DatabaseFullError", "SchemaError", "translated"]


class DatabaseError(HandlensError):
    """The database cannot be reached or read."""


class DatabaseBusyError(DatabaseError):
    """Another transaction held the database for too long: try again."""


class DatabaseFullError(DatabaseError):
    """There is no room left for what should be stored."""


class SchemaError(DatabaseError):
    """The tables are missing, or of another version than this handlens-server."""


def translated(error: DBAPIError, database: str) -> Exception:
    """The error to raise in place of a driver's: told by SQLSTATE on PostgreSQL, by the message on SQLite."""
    state, text = str(getattr(error.orig, "sqlstate", "") or ""), str(error.orig)
    reason = text.splitlines()[0][:200] if text else type(error).__name__
    if state == "53100" or "disk is full" in text:
        return DatabaseFullError(f"{database} is full ({reason}): free some space, then try again")
    if state in ("55P03", "40001", "40P01") or "database is locked" in text:
        return DatabaseBusyError(f"{database} is locked by another process ({reason}): try again when it is done")
    if state == "42P01" or "no such table" in text:
        return SchemaError(f"{database} lacks a table ({reason}): run `handlens-server db upgrade`")
    if state[:2] in ("22", "23", "25", "42") or "syntax error" in text or "readonly" in text:
        return error  # a defect of ours, which no operator can solve
    return DatabaseError(f"{database} cannot be used ({reason}): start it, or correct HANDLENS_DATABASE_URL")
