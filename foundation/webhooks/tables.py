"""Webhooks, and what became of the messages that were sent to them."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
    text,
)

from foundation.database import Id, Json, UtcDateTime, metadata

LONGEST_URL = 1_000
LONGEST_DESCRIPTION = 200

webhook = Table(
    "webhook",
    metadata,
    Column("webhook_id", Id, primary_key=True, autoincrement=False),
    # What it is told is what this client might read, at each moment.
    Column("client_id", String(64), ForeignKey("client.client_id"), nullable=False),
    Column("organisation", String(10), nullable=False),  # the client's: its administrators keep the webhook
    Column("url", String(LONGEST_URL), nullable=False),
    Column("description", String(LONGEST_DESCRIPTION)),
    Column("topics", Json, nullable=False),
    Column("state", String(8), nullable=False),
    Column("paused_because", String(32)),
    Column("version", Integer, nullable=False),
    Column("secret", String(64), nullable=False),
    Column("old_secret", String(64)),
    Column("old_secret_until", UtcDateTime),
    Column(
        "sent_through", Id, nullable=False
    ),  # everything up to this sequence was taken, set aside or not for it
    Column("failures", Integer, nullable=False),  # of the message in hand, one after the other
    Column("next_attempt_at", UtcDateTime),
    Column("lease", String(32)),  # who delivers at the moment; a change by hand takes it away
    Column("leased_until", UtcDateTime),
    Column("delivered", Id, nullable=False),
    Column("failed", Id, nullable=False),
    Column("set_aside", Id, nullable=False),
    Column("last_outcome", String(32)),
    Column("last_attempt_at", UtcDateTime),
    Column("created_by", String(128), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    CheckConstraint("state in ('active', 'paused')", name="state_is_known"),
    CheckConstraint("(state = 'paused') = (paused_because is not null)", name="paused_for_a_reason"),
    CheckConstraint("(old_secret is null) = (old_secret_until is null)", name="old_secret_ends"),
    CheckConstraint("sent_through >= 0 and failures >= 0", name="counts"),
    UniqueConstraint("client_id", "url"),
)

_IS_OPEN = text("state IN ('failing', 'again')")

webhook_delivery = Table(
    "webhook_delivery",
    metadata,
    Column("delivery_id", Id, primary_key=True, autoincrement=False),
    Column("webhook_id", Id, ForeignKey("webhook.webhook_id"), nullable=False),
    Column("first_sequence", Id, nullable=False),
    Column("last_sequence", Id, nullable=False),
    Column("events", Integer, nullable=False),
    Column("state", String(12), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("outcome", String(32), nullable=False),
    Column("status", Integer),
    Column("first_at", UtcDateTime, nullable=False),
    Column("last_at", UtcDateTime, nullable=False),
    CheckConstraint("state in ('delivered', 'failing', 'dead', 'again')", name="state_is_known"),
    CheckConstraint("first_sequence <= last_sequence", name="range_has_order"),
    Index("ix_webhook_delivery_webhook_id", "webhook_id", "delivery_id"),
    Index("ix_webhook_delivery_last_at", "last_at"),
    Index(
        "ix_webhook_delivery_open",
        "webhook_id",
        "state",
        sqlite_where=_IS_OPEN,
        postgresql_where=_IS_OPEN,
    ),
)
