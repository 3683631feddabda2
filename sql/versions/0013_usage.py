"""Usage by month: views, staff as digests, and how far the log was counted."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "usage_mark",
        sa.Column("mark", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("leaf_index", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("counted_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("mark = 1", name=op.f("ck_usage_mark_one_mark")),
        sa.PrimaryKeyConstraint("mark", name=op.f("pk_usage_mark")),
    )
    op.create_table(
        "usage_month",
        sa.Column("origin", sa.String(length=8), nullable=False),
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("organisation", sa.String(length=20), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("views", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.CheckConstraint("origin in ('log', 'file')", name=op.f("ck_usage_month_origin_is_known")),
        sa.CheckConstraint("views >= 0", name=op.f("ck_usage_month_views_are_counted")),
        sa.PrimaryKeyConstraint(
            "origin", "month", "organisation", "role", "purpose", name=op.f("pk_usage_month")
        ),
    )
    op.create_table(
        "usage_staff",
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("organisation", sa.String(length=20), nullable=False),
        sa.Column(
            "user_digest",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("month", "organisation", "user_digest", name=op.f("pk_usage_staff")),
    )
