"""Senders of HL7 v2 messages, and the messages that were kept of them, so that a repeated one is known."""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "hl7_feed",
        sa.Column("feed_id", number, autoincrement=False, nullable=False),
        sa.Column("application", sa.String(length=180), nullable=False),
        sa.Column("facility", sa.String(length=180), nullable=False),
        sa.Column("organisation", sa.String(length=20), nullable=False),
        sa.Column("system", sa.String(length=64), nullable=False),
        sa.Column("reading", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("changed_by", sa.String(length=128), nullable=False),
        sa.Column("changed_at", instant, nullable=False),
        sa.CheckConstraint("state in ('active', 'stopped')", name=op.f("ck_hl7_feed_state_is_known")),
        sa.PrimaryKeyConstraint("feed_id", name=op.f("pk_hl7_feed")),
        sa.UniqueConstraint("application", "facility", name=op.f("uq_hl7_feed_application_facility")),
    )
    op.create_table(
        "hl7_message",
        sa.Column("feed_id", number, nullable=False),
        sa.Column("control_id", sa.String(length=199), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", instant, nullable=False),
        sa.PrimaryKeyConstraint("feed_id", "control_id", name=op.f("pk_hl7_message")),
    )
    op.create_index("ix_hl7_message_received_at", "hl7_message", ["received_at"])


def downgrade() -> None:
    op.drop_table("hl7_message")
    op.drop_table("hl7_feed")
