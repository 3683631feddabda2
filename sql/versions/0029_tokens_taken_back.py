"""Tokens that are taken back, keys that are retired, and a client's own limit."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    instant = sa.DateTime(timezone=True)
    op.add_column("client_key", sa.Column("retired_at", instant, nullable=True))
    some = op.f("ck_client_requests_are_some")
    with op.batch_alter_table("client") as client:
        client.add_column(sa.Column("requests_per_minute", sa.Integer(), nullable=True))
        client.add_column(sa.Column("generation", sa.Integer(), nullable=False, server_default="0"))
        client.create_check_constraint(some, "requests_per_minute > 0")
    op.create_table(
        "revoked_token",
        sa.Column("token_id", number, autoincrement=False, nullable=False),
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("expires_at", instant, nullable=False),
        sa.PrimaryKeyConstraint("token_id", name=op.f("pk_revoked_token")),
    )
    op.create_index("ix_revoked_token_expires_at", "revoked_token", ["expires_at"])
