"""The celebrity list, anchored to records."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "celebrity_entry",
        sa.Column("entry_id", number, autoincrement=False, nullable=False),
        sa.Column("organisation", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("review_on", sa.Date(), nullable=False),
        sa.Column("listed_at", instant, nullable=False),
        sa.Column("listed_by", sa.String(length=128), nullable=False),
        sa.Column("ended_at", instant, nullable=True),
        sa.Column("ended_by", sa.String(length=128), nullable=True),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_celebrity_entry")),
    )
    op.create_table(
        "celebrity_anchor",
        sa.Column("record_id", number, autoincrement=False, nullable=False),
        sa.Column("entry_id", number, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["entry_id"], ["celebrity_entry.entry_id"], name=op.f("fk_celebrity_anchor_entry_id")
        ),
        sa.PrimaryKeyConstraint("record_id", "entry_id", name=op.f("pk_celebrity_anchor")),
    )
    op.create_index("ix_celebrity_anchor_entry_id", "celebrity_anchor", ["entry_id"])
