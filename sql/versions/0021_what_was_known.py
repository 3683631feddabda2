"""What was known of NHS numbers before: findings of traces in whose place others stand, and who once said that a number was superseded."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "past_finding",
        sa.Column("record_id", number, autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("trace_id", number, autoincrement=False, nullable=False),
        sa.Column("finding", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("record_id", "version", "trace_id", name=op.f("pk_past_finding")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "past_superseded_number",
        sa.Column("old_number", number, autoincrement=False, nullable=False),
        sa.Column("record_id", number, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("old_number", "record_id", name=op.f("pk_past_superseded_number")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_past_superseded_number_record_id", "past_superseded_number", ["record_id"])
