"""Records and feeds that are withdrawn, and can be restored."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_STATES = "state in ('active', 'erased', 'withdrawn', 'merged')"


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    instant = sa.DateTime(timezone=True)
    words = sa.Text()
    known = op.f("ck_source_record_state_is_known")
    if op.get_bind().dialect.name == "sqlite":
        # A constraint cannot be changed there: the table is written anew.
        with op.batch_alter_table("source_record", recreate="always") as record:
            record.drop_constraint(known, type_="check")
            record.create_check_constraint(known, _STATES)
    else:
        op.drop_constraint(known, "source_record", type_="check")
        op.create_check_constraint(known, "source_record", _STATES)
    op.create_table(
        "feed_withdrawal",
        sa.Column("feed_id", number, autoincrement=False, nullable=False),
        sa.Column("organisation", sa.String(length=20), nullable=False),
        sa.Column("system", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("withdrawn_by", sa.String(length=128), nullable=False),
        sa.Column("withdrawn_at", instant, nullable=False),
        sa.Column("restored_by", sa.String(length=128), nullable=True),
        sa.Column("restored_at", instant, nullable=True),
        sa.CheckConstraint(
            "(restored_by is null) = (restored_at is null)",
            name=op.f("ck_feed_withdrawal_restored_by_someone"),
        ),
        sa.PrimaryKeyConstraint("feed_id", name=op.f("pk_feed_withdrawal")),
    )
    stands = sa.text("restored_at IS NULL")
    op.create_index(
        "uq_feed_withdrawal_standing",
        "feed_withdrawal",
        ["organisation", "system"],
        unique=True,
        sqlite_where=stands,
        postgresql_where=stands,
    )
    op.create_table(
        "withdrawal",
        sa.Column("withdrawal_id", number, autoincrement=False, nullable=False),
        sa.Column("record_id", number, nullable=False),
        sa.Column("feed_id", number, nullable=True),
        sa.Column("into_record_id", number, nullable=True),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("handed", words, nullable=False),
        sa.Column("withdrawn_by", sa.String(length=128), nullable=False),
        sa.Column("withdrawn_at", instant, nullable=False),
        sa.Column("restored_by", sa.String(length=128), nullable=True),
        sa.Column("restored_at", instant, nullable=True),
        sa.CheckConstraint(
            "(restored_by is null) = (restored_at is null)", name=op.f("ck_withdrawal_restored_by_someone")
        ),
        sa.CheckConstraint("feed_id is null or into_record_id is null", name=op.f("ck_withdrawal_one_cause")),
        sa.ForeignKeyConstraint(["feed_id"], ["feed_withdrawal.feed_id"], name=op.f("fk_withdrawal_feed_id")),
        sa.PrimaryKeyConstraint("withdrawal_id", name=op.f("pk_withdrawal")),
    )
    op.create_index("ix_withdrawal_feed_id", "withdrawal", ["feed_id"])
    op.create_index("ix_withdrawal_into_record_id", "withdrawal", ["into_record_id"])
    op.create_index(
        "uq_withdrawal_standing",
        "withdrawal",
        ["record_id"],
        unique=True,
        sqlite_where=stands,
        postgresql_where=stands,
    )
