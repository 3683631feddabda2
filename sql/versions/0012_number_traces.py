"""What traces at a national service found out about NHS numbers, and what was asked."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    instant = sa.DateTime(timezone=True)
    op.add_column("record_version", sa.Column("finding", sa.Text(), nullable=True))
    op.add_column("source_record", sa.Column("trace_id", number, nullable=True))
    op.add_column("source_record", sa.Column("conflict_trace_id", number, nullable=True))
    is_asked = sa.text("state = 'asked'")
    op.create_table(
        "number_trace",
        sa.Column("trace_id", number, autoincrement=False, nullable=False),
        sa.Column("record_id", number, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("service", sa.String(length=20), nullable=False),
        sa.Column("request_id", sa.String(length=36), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("asked_by", sa.String(length=128), nullable=False),
        sa.Column("asked_at", instant, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=True),
        sa.Column("answered_at", instant, nullable=True),
        sa.CheckConstraint(
            "state in ('asked', 'answered', 'moved')", name=op.f("ck_number_trace_state_is_known")
        ),
        sa.CheckConstraint(
            "(answered_at is null) = (state = 'asked')", name=op.f("ck_number_trace_answered_at_some_time")
        ),
        sa.CheckConstraint(
            "(outcome is null) = (state <> 'answered')", name=op.f("ck_number_trace_answer_has_outcome")
        ),
        sa.PrimaryKeyConstraint("trace_id", name=op.f("pk_number_trace")),
    )
    op.create_index("ix_number_trace_record_id", "number_trace", ["record_id"], unique=False)
    op.create_index(
        "uq_number_trace_open_record_id",
        "number_trace",
        ["record_id"],
        unique=True,
        sqlite_where=is_asked,
        postgresql_where=is_asked,
    )
