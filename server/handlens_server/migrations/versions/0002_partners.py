"""Partners: profiles, keys, tokens, nonces, batches, own items, feedback and usage."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of the partner endpoint."""
    op.create_table(
        "partners",
        sa.Column("partner_id", sa.String(40), primary_key=True),
        sa.Column("profile", sa.Text, nullable=False),
        sa.Column("is_disabled", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.String(40), nullable=False),
        sa.Column("changed_at", sa.String(40), nullable=False),
    )
    _access()
    _catalogue()
    _account()


def _of(table: str, column: str, **more: Any) -> sa.Column[str]:
    key = sa.ForeignKey(f"{table}.{column}", ondelete="CASCADE")
    return sa.Column(column, sa.String(40 if table == "partners" else 60), key, nullable=False, **more)


def _access() -> None:
    op.create_table(
        "partner_keys",
        sa.Column("key_id", sa.String(60), primary_key=True),
        _of("partners", "partner_id"),
        sa.Column("mode", sa.String(4), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("check_value", sa.String(64), nullable=False),
        sa.Column("scopes", sa.String(200), nullable=False),
        sa.Column("created_at", sa.String(40), nullable=False),
        sa.Column("revoked_at", sa.String(40)),
    )
    op.create_index("ix_partner_keys_partner_id", "partner_keys", ["partner_id"])
    op.create_table(
        "partner_tokens",
        sa.Column("token", sa.String(64), primary_key=True),
        _of("partner_keys", "key_id"),
        sa.Column("scopes", sa.String(200), nullable=False),
        sa.Column("expires_at", sa.String(40), nullable=False),
    )
    for column in ("expires_at", "key_id"):
        op.create_index(f"ix_partner_tokens_{column}", "partner_tokens", [column])
    op.create_table(
        "partner_nonces",
        _of("partner_keys", "key_id", primary_key=True),
        sa.Column("nonce", sa.String(64), primary_key=True),
        sa.Column("expires_at", sa.String(40), nullable=False),
    )
    op.create_index("ix_partner_nonces_expires_at", "partner_nonces", ["expires_at"])


def _catalogue() -> None:
    op.create_table(
        "partner_batches",
        _of("partners", "partner_id", primary_key=True),
        sa.Column("mode", sa.String(4), primary_key=True),
        sa.Column("batch_id", sa.String(64), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("received_at", sa.String(40), nullable=False),
        sa.Column("answer", sa.Text, nullable=False),
    )
    columns = ["partner_id", "mode", "received_at", "batch_id"]
    op.create_index("partner_batches_by_arrival", "partner_batches", columns)
    op.create_table(
        "partner_items",
        _of("partners", "partner_id", primary_key=True),
        sa.Column("mode", sa.String(4), primary_key=True),
        sa.Column("item_id", sa.String(200), primary_key=True),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("is_withdrawn", sa.Boolean, nullable=False),
    )


def _account() -> None:
    op.create_table(
        "partner_feedback",
        _of("partners", "partner_id", primary_key=True),
        sa.Column("mode", sa.String(4), primary_key=True),
        sa.Column("event_id", sa.String(36), primary_key=True),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("at", sa.String(40), nullable=False),
        sa.Column("received_at", sa.String(40), nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_index("ix_partner_feedback_received_at", "partner_feedback", ["received_at"])
    op.create_table(
        "partner_usage",
        _of("partners", "partner_id", primary_key=True),
        sa.Column("mode", sa.String(4), primary_key=True),
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("operation", sa.String(40), primary_key=True),
        sa.Column("calls", sa.Integer, nullable=False),
        sa.Column("refused", sa.Integer, nullable=False),
        sa.Column("failed", sa.Integer, nullable=False),
    )
