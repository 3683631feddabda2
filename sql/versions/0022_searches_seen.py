"""Searches of the last day, by marks: what repeated probing is seen by."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "search_seen",
        sa.Column("organisation", sa.String(length=20), nullable=False),
        sa.Column("user_id", sa.String(length=128), nullable=False),
        sa.Column("alike", sa.String(length=40), nullable=False),
        sa.Column("mark", sa.String(length=16), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("person_id", number, nullable=True),
        sa.PrimaryKeyConstraint("organisation", "user_id", "alike", "mark", name=op.f("pk_search_seen")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_search_seen_at", "search_seen", ["at"])
