"""The first tables, and the counters at nothing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table."""
    _catalogue()
    _releases()
    _devices()


def _catalogue() -> None:
    op.create_table(
        "items",
        sa.Column("item_id", sa.String(200), primary_key=True),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("is_withdrawn", sa.Boolean, nullable=False),
        sa.Column("feed", sa.String(200), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("object_type", sa.String(40), nullable=False),
        sa.Column("locale", sa.String(40), nullable=False),
        sa.Column("audience", sa.String(80), nullable=False),
        sa.Column("quality", sa.Float, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("picture", sa.String(64)),
    )
    for column in ("object_type", "picture", "sequence"):
        op.create_index(f"ix_items_{column}", "items", [column])
    op.create_table(
        "embeddings",
        sa.Column("picture", sa.String(64), primary_key=True),
        sa.Column("space", sa.String(120), primary_key=True),
        sa.Column("detector", sa.String(120), nullable=False),
        sa.Column("parts", sa.Text, nullable=False),
        sa.Column("codes", sa.LargeBinary, nullable=False),
        sa.Column("thumbnail", sa.LargeBinary, nullable=False),
    )


def _releases() -> None:
    sequences = op.create_table(
        "sequences",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("value", sa.Integer, nullable=False),
    )
    op.bulk_insert(sequences, [{"name": "catalogue", "value": 0}])
    op.create_table(
        "packs",
        sa.Column("name", sa.String(61), primary_key=True),
        sa.Column("rule", sa.Text, nullable=False),
    )


def _devices() -> None:
    op.create_table(
        "devices",
        sa.Column("device_id", sa.String(36), primary_key=True),
        sa.Column("token", sa.String(64), nullable=False, unique=True),
        sa.Column("old_token", sa.String(64), unique=True),
        sa.Column("rotate_after", sa.String(40), nullable=False),
        sa.Column("enrolled_at", sa.String(40), nullable=False),
        sa.Column("seen_on", sa.String(10), nullable=False),
        sa.Column("is_revoked", sa.Boolean, nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("day_events", sa.Integer, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("event_id", sa.String(36), primary_key=True),
        sa.Column("device_id", sa.String(36), sa.ForeignKey("devices.device_id", ondelete="CASCADE"), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("at", sa.String(40), nullable=False),
        sa.Column("received_at", sa.String(40), nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_index("events_by_device", "events", ["device_id"])
    op.create_index("events_by_arrival", "events", ["received_at"])
