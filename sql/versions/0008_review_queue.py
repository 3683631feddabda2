"""The review queue: order by expected harm, routes, deferrals, escalations, samples, answers in bulk, and how much records are seen."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_IN_DOUBT = 1  # a type that takes this place; those behind it move on


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    instant = sa.DateTime(timezone=True)
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    op.add_column("task", sa.Column("harm", sa.Integer(), nullable=False, server_default="0"))
    op.add_column(
        "task",
        sa.Column("routed_to", sa.String(length=20), nullable=False, server_default="regional-team"),
    )
    teams = "escalated_to in ('regional-team', 'privacy-officer')"
    if is_sqlite:
        # SQLite adds a constraint to a table that stands with a column only.
        op.execute(
            f"ALTER TABLE task ADD COLUMN escalated_to VARCHAR(20) CONSTRAINT ck_task_team_is_known CHECK ({teams})"
        )
    else:
        op.add_column("task", sa.Column("escalated_to", sa.String(length=20), nullable=True))
        op.create_check_constraint(op.f("ck_task_team_is_known"), "task", teams)
    op.add_column("task", sa.Column("deferred_until", instant, nullable=True))
    op.add_column(
        "task", sa.Column("is_sample", sa.Boolean(), nullable=False, server_default=sa.text("false"))
    )
    op.add_column("task", sa.Column("placed_at", instant, nullable=True))
    op.execute(f"UPDATE task SET rank = rank + 1 WHERE rank >= {_IN_DOUBT}")  # noqa: S608
    op.drop_index("ix_task_queue", "task")
    order = ["state", "rank", sa.text("harm DESC"), "opened_at", "task_id"]
    op.create_index("ix_task_queue", "task", order, unique=False)
    op.create_index("ix_task_route", "task", ["routed_to", *order], unique=False)
    is_open, is_claimed = sa.text("state = 'open'"), sa.text("claimed_by IS NOT NULL")
    op.create_index(
        "ix_task_placed_at",
        "task",
        ["placed_at"],
        unique=False,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_index(
        "ix_task_claimed_until",
        "task",
        ["claimed_until"],
        unique=False,
        sqlite_where=is_claimed,
        postgresql_where=is_claimed,
    )
    op.create_index("ix_link_decision_task_id", "link_decision", ["task_id"], unique=False)
    op.create_table(
        "task_act",
        sa.Column("act_id", number, autoincrement=False, nullable=False),
        sa.Column("task_id", number, nullable=False),
        sa.Column("act", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=True),
        sa.Column("until", instant, nullable=True),
        sa.Column("target", sa.String(length=20), nullable=True),
        sa.Column("done_by", sa.String(length=128), nullable=False),
        sa.Column("done_at", instant, nullable=False),
        sa.Column("undone_by", sa.String(length=128), nullable=True),
        sa.Column("undone_at", instant, nullable=True),
        sa.CheckConstraint(
            "act in ('deferred', 'escalated', 'lease-expired')", name=op.f("ck_task_act_act_is_known")
        ),
        sa.CheckConstraint(
            "(act = 'deferred') = (until is not null)", name=op.f("ck_task_act_deferred_until_when")
        ),
        sa.CheckConstraint(
            "(act = 'escalated') = (target is not null)", name=op.f("ck_task_act_escalated_to_whom")
        ),
        sa.CheckConstraint(
            "(undone_by is null) = (undone_at is null)", name=op.f("ck_task_act_undone_by_someone")
        ),
        sa.ForeignKeyConstraint(["task_id"], ["task.task_id"], name=op.f("fk_task_act_task_id")),
        sa.PrimaryKeyConstraint("act_id", name=op.f("pk_task_act")),
    )
    op.create_index("ix_task_act_task_id", "task_act", ["task_id"], unique=False)
    op.create_table(
        "task_sample",
        sa.Column("task_id", number, autoincrement=False, nullable=False),
        sa.Column("purpose", sa.String(length=8), nullable=False),
        sa.Column("low_id", number, nullable=False),
        sa.Column("high_id", number, nullable=False),
        sa.Column("expected", sa.String(length=12), nullable=True),
        sa.Column("stratum", sa.String(length=60), nullable=True),
        sa.Column("reader", sa.String(length=128), nullable=True),
        sa.Column("drawn_by", sa.String(length=128), nullable=False),
        sa.Column("drawn_at", instant, nullable=False),
        sa.Column("review_id", number, nullable=True),
        sa.CheckConstraint("purpose in ('blind', 'known')", name=op.f("ck_task_sample_purpose_is_known")),
        sa.CheckConstraint(
            "(purpose = 'known') = (expected is not null)", name=op.f("ck_task_sample_known_has_answer")
        ),
        sa.CheckConstraint("expected in ('same', 'different')", name=op.f("ck_task_sample_answer_is_known")),
        sa.ForeignKeyConstraint(["task_id"], ["task.task_id"], name=op.f("fk_task_sample_task_id")),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_task_sample")),
    )
    op.create_index("ix_task_sample_pair", "task_sample", ["low_id", "high_id"], unique=False)
    op.create_table(
        "task_answer",
        sa.Column("answer_id", number, autoincrement=False, nullable=False),
        sa.Column("task_id", number, nullable=False),
        sa.Column("verdict", sa.String(length=12), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.String(length=128), nullable=False),
        sa.Column("decided_at", instant, nullable=False),
        sa.Column("undone_by", sa.String(length=128), nullable=True),
        sa.Column("undone_at", instant, nullable=True),
        sa.CheckConstraint(
            "verdict in ('same', 'different', 'not-enough')", name=op.f("ck_task_answer_verdict_is_known")
        ),
        sa.CheckConstraint("state in ('standing', 'undone')", name=op.f("ck_task_answer_state_is_known")),
        sa.ForeignKeyConstraint(["task_id"], ["task_sample.task_id"], name=op.f("fk_task_answer_task_id")),
        sa.PrimaryKeyConstraint("answer_id", name=op.f("pk_task_answer")),
    )
    op.create_index("ix_task_answer_task_id", "task_answer", ["task_id"], unique=False)
    op.create_table(
        "bulk_act",
        sa.Column("bulk_id", number, autoincrement=False, nullable=False),
        sa.Column("verdict", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("done_by", sa.String(length=128), nullable=False),
        sa.Column("done_at", instant, nullable=False),
        sa.Column("undone_by", sa.String(length=128), nullable=True),
        sa.Column("undone_at", instant, nullable=True),
        sa.PrimaryKeyConstraint("bulk_id", name=op.f("pk_bulk_act")),
    )
    op.create_table(
        "bulk_act_task",
        sa.Column("bulk_id", number, nullable=False),
        sa.Column("task_id", number, autoincrement=False, nullable=False),
        sa.Column("decision_id", number, nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("refusal", sa.String(length=40), nullable=True),
        sa.CheckConstraint(
            "(decision_id is null) = (refusal is not null)", name=op.f("ck_bulk_act_task_decided_or_refused")
        ),
        sa.ForeignKeyConstraint(["bulk_id"], ["bulk_act.bulk_id"], name=op.f("fk_bulk_act_task_bulk_id")),
        sa.PrimaryKeyConstraint("bulk_id", "task_id", name=op.f("pk_bulk_act_task")),
    )
    op.create_table(
        "record_activity",
        sa.Column("record_id", number, autoincrement=False, nullable=False),
        sa.Column("milliviews", number, nullable=False),
        sa.Column("counted_at", instant, nullable=False),
        sa.PrimaryKeyConstraint("record_id", name=op.f("pk_record_activity")),
    )
