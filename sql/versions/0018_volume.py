"""How many people each user viewed by day, and alerts that are about a user alone."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "viewer_seen",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("organisation", sa.String(length=20), nullable=False),
        sa.Column("user_id", sa.String(length=128), nullable=False),
        sa.Column("hour_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("person_id", number, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint(
            "day", "organisation", "user_id", "hour_at", "person_id", name=op.f("pk_viewer_seen")
        ),
    )
    op.create_table(
        "viewer_day",
        sa.Column("organisation", sa.String(length=20), nullable=False),
        sa.Column("user_id", sa.String(length=128), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("people", sa.Integer(), nullable=False),
        sa.Column("most_in_hour", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("organisation", "user_id", "day", name=op.f("pk_viewer_day")),
    )
    op.create_index("ix_viewer_day_role", "viewer_day", ["organisation", "role", "day"])
    known = sa.CheckConstraint("state in ('open', 'closed')", name=op.f("ck_alert_state_is_known"))
    with op.batch_alter_table("alert", table_args=[known]) as alert:
        alert.alter_column("person_id", existing_type=number, nullable=True)
