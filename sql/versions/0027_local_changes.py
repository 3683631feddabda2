"""Merges and renumberings inside a source, which may wait for someone."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

_STATES = "state in ('active', 'erased', 'withdrawn', 'merged', 'renumbered')"


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    instant = sa.DateTime(timezone=True)
    known = op.f("ck_source_record_state_is_known")
    if op.get_bind().dialect.name == "sqlite":
        # A constraint cannot be changed there: the table is written anew.
        with op.batch_alter_table("source_record", recreate="always") as record:
            record.add_column(sa.Column("held_change_id", number, nullable=True))
            record.drop_constraint(known, type_="check")
            record.create_check_constraint(known, _STATES)
    else:
        op.add_column("source_record", sa.Column("held_change_id", number, nullable=True))
        op.drop_constraint(known, "source_record", type_="check")
        op.create_check_constraint(known, "source_record", _STATES)
    op.create_table(
        "local_change",
        sa.Column("change_id", number, autoincrement=False, nullable=False),
        sa.Column("act", sa.String(length=10), nullable=False),
        sa.Column("record_id", number, nullable=False),
        sa.Column("into_record_id", number, nullable=True),
        sa.Column("local_id", sa.String(length=64), nullable=True),
        sa.Column("old_id", number, nullable=True),
        sa.Column("version", sa.Integer(), nullable=True),
        sa.Column("task_id", number, nullable=True),
        sa.Column("decision_id", number, nullable=True),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("requested_by", sa.String(length=128), nullable=False),
        sa.Column("requested_at", instant, nullable=False),
        sa.Column("changed_by", sa.String(length=128), nullable=False),
        sa.Column("changed_at", instant, nullable=False),
        sa.CheckConstraint("act in ('merge', 'renumber')", name=op.f("ck_local_change_act_is_known")),
        sa.CheckConstraint(
            "state in ('held', 'done', 'rejected', 'undone')", name=op.f("ck_local_change_state_is_known")
        ),
        sa.CheckConstraint(
            "(act = 'merge') = (into_record_id is not null)", name=op.f("ck_local_change_merge_has_an_heir")
        ),
        sa.CheckConstraint(
            "(act = 'renumber') = (local_id is not null)", name=op.f("ck_local_change_renumbering_has_an_id")
        ),
        sa.PrimaryKeyConstraint("change_id", name=op.f("pk_local_change")),
    )
    for name in ("record_id", "into_record_id", "decision_id"):
        op.create_index(f"ix_local_change_{name}", "local_change", [name])
    held = sa.text("state = 'held'")
    op.create_index(
        "uq_local_change_held",
        "local_change",
        ["record_id"],
        unique=True,
        sqlite_where=held,
        postgresql_where=held,
    )
