"""The version of the database's schema: told, compared, and brought up to date by Alembic.

Rules:

1. An upgrade is one transaction: after a crash the schema is the old or the new one.
2. Two processes may upgrade at once: the second waits, and finds nothing to do.
3. A schema that this version does not know is newer, and is never touched.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from handlens_server.database_errors import SchemaError
from handlens_server.partner.stability_tables import PartnerWriteRow as _WriteRow  # noqa: F401 -- its tables belong to the metadata
from handlens_server.partner.tables import PartnerRow

__all__ = ["current_revision", "head_revision", "require_current", "upgrade_schema"]

_LOCK = 0x68616E64  # of PostgreSQL's advisory locks: any number that nobody else uses


def head_revision() -> str:
    """The revision of this version of handlens-server."""
    return ScriptDirectory.from_config(_settings()).get_current_head() or ""


def current_revision(connection: Connection) -> str:
    """The revision that the database has; empty when it has no schema."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def require_current(found: str, database: str) -> None:
    """Refuse the revision `found`, when it is not this version's.

    Raises:
        SchemaError: the schema is missing, old or newer.
    """
    if not found:
        raise SchemaError(f"{database} has no tables: run `handlens-server db upgrade`")
    _refuse_newer(found, database)
    if found != head_revision():
        raise SchemaError(f"{database} has the older schema {found}: run `handlens-server db upgrade`")


def upgrade_schema(connection: Connection, database: str) -> str:
    """Bring the database to this version's schema, in the connection's transaction; its revision then.

    Raises:
        SchemaError: its schema is newer.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    _refuse_newer(current_revision(connection), database)
    settings = _settings()
    settings.attributes["connection"] = connection
    command.upgrade(settings, "head")
    return current_revision(connection)


def _settings() -> AlembicConfig:
    settings = AlembicConfig()
    settings.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    settings.attributes["target_metadata"] = PartnerRow.metadata  # of all tables: they share one base
    return settings


def _refuse_newer(found: str, database: str) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(_settings()).walk_revisions()}
    if found and found not in known:
        raise SchemaError(f"{database} has the schema {found} of a newer handlens-server: upgrade handlens-server")
