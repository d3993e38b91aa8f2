"""Writes by their Idempotency-Key, and counts by day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "partner_writes",
        sa.Column("owner", sa.String(120), primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("claim", sa.String(32), nullable=False),
        sa.Column("claimed_until", sa.String(40), nullable=False),
        sa.Column("expires_at", sa.String(40), nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("content_type", sa.String(120), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("partner_writes_by_expiry", "partner_writes", ["expires_at"])
    op.create_table(
        "partner_counts",
        sa.Column("owner", sa.String(120), primary_key=True),
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("what", sa.String(40), primary_key=True),
        sa.Column("used", sa.Integer, nullable=False),
    )
