"""Counts of a day are larger than PostgreSQL's integer: a profile may allow ten thousand million calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Widen the columns."""
    _widen("partner_counts", "used")
    _widen("partner_usage", "calls", "refused", "failed")


def _widen(table: str, *columns: str) -> None:
    with op.batch_alter_table(table) as changed:
        for column in columns:
            changed.alter_column(column, existing_type=sa.Integer(), type_=sa.BigInteger(), existing_nullable=False)
