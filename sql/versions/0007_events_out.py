"""Events that can be followed: their sequence, whose they are to be told; and webhooks with what became of what was sent to them."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_IS_WAITING = "relayed_at IS NULL AND sequence IS NOT NULL"


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    instant = sa.DateTime(timezone=True)
    # What was handed on has no place in the feed, and nobody could read it here; what still waits gets one.
    op.execute("DELETE FROM outbox WHERE relayed_at IS NOT NULL")
    op.drop_index("ix_outbox_waiting", "outbox")
    op.add_column("outbox", sa.Column("organisation", sa.String(length=20), nullable=True))
    op.add_column("outbox", sa.Column("sequence", number, nullable=True))
    op.add_column("outbox", sa.Column("numbered_at", instant, nullable=True))
    # Nobody noted whose these are: they go to those who speak for all.
    op.execute("UPDATE outbox SET organisation = '*'")
    for name, column, where, is_unique in (
        ("ix_outbox_unnumbered", "outbox_id", "sequence IS NULL", False),
        ("uq_outbox_sequence", "sequence", "sequence IS NOT NULL", True),
        ("ix_outbox_waiting", "sequence", _IS_WAITING, False),
    ):
        op.create_index(
            name,
            "outbox",
            [column],
            unique=is_unique,
            sqlite_where=sa.text(where),
            postgresql_where=sa.text(where),
        )
    op.create_table(
        "event_feed",
        sa.Column("feed_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("last_sequence", number, nullable=False),
        sa.Column("purged_through", number, nullable=False),
        sa.PrimaryKeyConstraint("feed_id", name=op.f("pk_event_feed")),
    )
    op.create_table(
        "webhook",
        sa.Column("webhook_id", number, autoincrement=False, nullable=False),
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("organisation", sa.String(length=10), nullable=False),
        sa.Column("url", sa.String(length=1000), nullable=False),
        sa.Column("description", sa.String(length=200), nullable=True),
        sa.Column("topics", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("paused_because", sa.String(length=32), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("secret", sa.String(length=64), nullable=False),
        sa.Column("old_secret", sa.String(length=64), nullable=True),
        sa.Column("old_secret_until", instant, nullable=True),
        sa.Column("sent_through", number, nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", instant, nullable=True),
        sa.Column("lease", sa.String(length=32), nullable=True),
        sa.Column("leased_until", instant, nullable=True),
        sa.Column("delivered", number, nullable=False),
        sa.Column("failed", number, nullable=False),
        sa.Column("set_aside", number, nullable=False),
        sa.Column("last_outcome", sa.String(length=32), nullable=True),
        sa.Column("last_attempt_at", instant, nullable=True),
        sa.Column("created_by", sa.String(length=128), nullable=False),
        sa.Column("created_at", instant, nullable=False),
        sa.Column("changed_at", instant, nullable=False),
        sa.CheckConstraint("state in ('active', 'paused')", name=op.f("ck_webhook_state_is_known")),
        sa.CheckConstraint(
            "(state = 'paused') = (paused_because is not null)", name=op.f("ck_webhook_paused_for_a_reason")
        ),
        sa.CheckConstraint(
            "(old_secret is null) = (old_secret_until is null)", name=op.f("ck_webhook_old_secret_ends")
        ),
        sa.CheckConstraint("sent_through >= 0 and failures >= 0", name=op.f("ck_webhook_counts")),
        sa.ForeignKeyConstraint(["client_id"], ["client.client_id"], name=op.f("fk_webhook_client_id")),
        sa.PrimaryKeyConstraint("webhook_id", name=op.f("pk_webhook")),
        sa.UniqueConstraint("client_id", "url", name=op.f("uq_webhook_client_id_url")),
    )
    op.create_table(
        "webhook_delivery",
        sa.Column("delivery_id", number, autoincrement=False, nullable=False),
        sa.Column("webhook_id", number, nullable=False),
        sa.Column("first_sequence", number, nullable=False),
        sa.Column("last_sequence", number, nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=32), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("first_at", instant, nullable=False),
        sa.Column("last_at", instant, nullable=False),
        sa.CheckConstraint(
            "state in ('delivered', 'failing', 'dead', 'again')",
            name=op.f("ck_webhook_delivery_state_is_known"),
        ),
        sa.CheckConstraint(
            "first_sequence <= last_sequence", name=op.f("ck_webhook_delivery_range_has_order")
        ),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhook.webhook_id"], name=op.f("fk_webhook_delivery_webhook_id")
        ),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_webhook_delivery")),
    )
    op.create_index(
        "ix_webhook_delivery_webhook_id", "webhook_delivery", ["webhook_id", "delivery_id"], unique=False
    )
    op.create_index("ix_webhook_delivery_last_at", "webhook_delivery", ["last_at"], unique=False)
    is_open = sa.text("state IN ('failing', 'again')")
    op.create_index(
        "ix_webhook_delivery_open",
        "webhook_delivery",
        ["webhook_id", "state"],
        unique=False,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
