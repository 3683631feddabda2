"""Merges that were undone, and the organisations that are to be told of them."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "merge_look",
        sa.Column("look_id", number, autoincrement=True, nullable=False),
        sa.Column("person_id", number, nullable=False),
        sa.PrimaryKeyConstraint("look_id", name=op.f("pk_merge_look")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "notice_mark",
        sa.Column("mark", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", number, nullable=False),
        sa.CheckConstraint("mark = 1", name=op.f("ck_notice_mark_one_mark")),
        sa.PrimaryKeyConstraint("mark", name=op.f("pk_notice_mark")),
    )
    op.create_table(
        "undone_merge",
        sa.Column("merge_id", number, autoincrement=False, nullable=False),
        sa.Column("person_id", number, nullable=False),
        sa.Column("cause", sa.String(length=32), nullable=False),
        sa.Column("decision_id", number, nullable=True),
        sa.Column("stood_from", instant, nullable=False),
        sa.Column("stood_until", instant, nullable=False),
        sa.Column("rejoined_at", instant, nullable=True),
        sa.Column("count_at", instant, nullable=True),
        sa.CheckConstraint("stood_until >= stood_from", name=op.f("ck_undone_merge_ends_after_start")),
        sa.PrimaryKeyConstraint("merge_id", name=op.f("pk_undone_merge")),
    )
    waits = sa.text("count_at IS NOT NULL")
    op.create_index(
        "ix_undone_merge_count_at",
        "undone_merge",
        ["count_at"],
        sqlite_where=waits,
        postgresql_where=waits,
    )
    op.create_table(
        "undone_merge_record",
        sa.Column("record_id", number, autoincrement=False, nullable=False),
        sa.Column("merge_id", number, autoincrement=False, nullable=False),
        sa.Column("organisation", sa.String(length=20), nullable=False),
        sa.Column("part", number, nullable=True),
        sa.ForeignKeyConstraint(
            ["merge_id"], ["undone_merge.merge_id"], name=op.f("fk_undone_merge_record_merge_id")
        ),
        sa.PrimaryKeyConstraint("record_id", "merge_id", name=op.f("pk_undone_merge_record")),
    )
    op.create_index("ix_undone_merge_record_merge_id", "undone_merge_record", ["merge_id"])
    op.create_table(
        "notice",
        sa.Column("notice_id", number, autoincrement=False, nullable=False),
        sa.Column("merge_id", number, nullable=False),
        sa.Column("organisation", sa.String(length=20), nullable=False),
        sa.Column("held_record", sa.Boolean(), nullable=False),
        sa.Column("views", sa.Integer(), nullable=False),
        sa.Column("users", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("opened_at", instant, nullable=False),
        sa.Column("means", sa.String(length=16), nullable=True),
        sa.Column("told_at", instant, nullable=True),
        sa.Column("reason", sa.String(length=24), nullable=True),
        sa.Column("note", sa.String(length=500), nullable=True),
        sa.Column("changed_by", sa.String(length=128), nullable=True),
        sa.Column("changed_at", instant, nullable=True),
        sa.CheckConstraint("state in ('open', 'told', 'not-needed')", name=op.f("ck_notice_state_is_known")),
        sa.CheckConstraint(
            "(state = 'told') = (told_at is not null)", name=op.f("ck_notice_told_at_some_time")
        ),
        sa.CheckConstraint("(state = 'told') = (means is not null)", name=op.f("ck_notice_told_somehow")),
        sa.CheckConstraint(
            "(state = 'not-needed') = (reason is not null)", name=op.f("ck_notice_not_needed_for_a_reason")
        ),
        sa.CheckConstraint("views >= 0 and users >= 0", name=op.f("ck_notice_looks_are_counted")),
        sa.ForeignKeyConstraint(["merge_id"], ["undone_merge.merge_id"], name=op.f("fk_notice_merge_id")),
        sa.PrimaryKeyConstraint("notice_id", name=op.f("pk_notice")),
        sa.UniqueConstraint("merge_id", "organisation", name=op.f("uq_notice_merge_id_organisation")),
    )
