"""Counts of a day are larger than PostgreSQL's integer: a profile may allow ten thousand million calls.

SQLite's integer has 64 bits as it is.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Widen the columns."""
    if op.get_bind().dialect.name == "sqlite":
        return
    _widen("partner_counts", "used")
    _widen("partner_usage", "calls", "refused", "failed")


def _widen(table: str, *columns: str) -> None:
    for column in columns:
        op.alter_column(table, column, existing_type=sa.Integer(), type_=sa.BigInteger(), existing_nullable=False)
