"""Alerts from what staff look at: employers' staff files as digests, how far the log was looked through, and reviews."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    instant = sa.DateTime(timezone=True)
    op.add_column("alert", sa.Column("signals", sa.Text(), nullable=True))
    op.add_column("alert", sa.Column("event_id", number, nullable=True))
    op.add_column("alert", sa.Column("viewed_at", instant, nullable=True))
    op.add_column("alert", sa.Column("explained_by", number, nullable=True))
    op.add_column("alert", sa.Column("outcome", sa.String(length=20), nullable=True))
    op.add_column("alert", sa.Column("comment", sa.String(length=500), nullable=True))
    op.add_column("alert", sa.Column("reviewed_at", instant, nullable=True))
    op.add_column("alert", sa.Column("reviewed_by", sa.String(length=128), nullable=True))
    op.create_table(
        "staff_file",
        sa.Column("file_id", number, autoincrement=False, nullable=False),
        sa.Column("organisation", sa.String(length=20), nullable=False),
        sa.Column("legal_basis", sa.String(length=200), nullable=False),
        sa.Column("compares", sa.Text(), nullable=False),
        sa.Column("members", sa.Integer(), nullable=False),
        sa.Column("review_on", sa.Date(), nullable=False),
        sa.Column("stands_since", instant, nullable=False),
        sa.Column("loaded_at", instant, nullable=False),
        sa.Column("loaded_by", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("file_id", name=op.f("pk_staff_file")),
        sa.UniqueConstraint("organisation", name=op.f("uq_staff_file_organisation")),
    )
    op.create_table(
        "staff_member",
        sa.Column("file_id", number, autoincrement=False, nullable=False),
        sa.Column("user_mark", sa.LargeBinary(), nullable=False),
        sa.Column("number_mark", sa.LargeBinary(), nullable=True),
        sa.Column("surname_mark", sa.LargeBinary(), nullable=True),
        sa.Column("person_mark", sa.LargeBinary(), nullable=True),
        sa.Column("address_mark", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["file_id"], ["staff_file.file_id"], name=op.f("fk_staff_member_file_id")),
        sa.PrimaryKeyConstraint("file_id", "user_mark", name=op.f("pk_staff_member")),
    )
    op.create_index("ix_staff_member_number", "staff_member", ["file_id", "number_mark"])
    op.create_index("ix_staff_member_person", "staff_member", ["file_id", "person_mark"])
    op.create_table(
        "alert_mark",
        sa.Column("mark", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("leaf_index", number, nullable=False),
        sa.Column("looked_until", instant, nullable=True),
        sa.CheckConstraint("mark = 1", name=op.f("ck_alert_mark_one_mark")),
        sa.PrimaryKeyConstraint("mark", name=op.f("pk_alert_mark")),
    )
