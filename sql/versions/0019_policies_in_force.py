"""Rule sets as documents, and the changes of the one in force."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "policy",
        sa.Column("revision", sa.String(length=16), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("kept_by", sa.String(length=128), nullable=False),
        sa.Column("kept_at", instant, nullable=False),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_policy")),
    )
    op.create_table(
        "policy_change",
        sa.Column("change_id", number, autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("revision", sa.String(length=16), nullable=False),
        sa.Column("from_revision", sa.String(length=16), nullable=False),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("what_if", sa.Text(), nullable=True),
        sa.Column("what_if_at", instant, nullable=True),
        sa.Column("proposed_by", sa.String(length=128), nullable=False),
        sa.Column("proposed_at", instant, nullable=False),
        sa.Column("approved_by", sa.String(length=128), nullable=True),
        sa.Column("approved_at", instant, nullable=True),
        sa.Column("withdrawn_by", sa.String(length=128), nullable=True),
        sa.Column("withdrawn_at", instant, nullable=True),
        sa.Column("place", sa.Integer(), nullable=True),
        sa.Column("done_by", sa.String(length=128), nullable=True),
        sa.Column("done_at", instant, nullable=True),
        sa.CheckConstraint(
            "kind in ('publication', 'roll-back')", name=op.f("ck_policy_change_kind_is_known")
        ),
        sa.CheckConstraint(
            "state in ('proposed', 'approved', 'done', 'withdrawn')",
            name=op.f("ck_policy_change_state_is_known"),
        ),
        sa.CheckConstraint(
            "(state = 'done') = (place is not null)", name=op.f("ck_policy_change_done_has_place")
        ),
        sa.CheckConstraint(
            "state not in ('approved', 'done') or approved_by is not null",
            name=op.f("ck_policy_change_is_approved"),
        ),
        sa.CheckConstraint("approved_by <> proposed_by", name=op.f("ck_policy_change_two_people")),
        sa.CheckConstraint("revision <> from_revision", name=op.f("ck_policy_change_revisions_differ")),
        sa.ForeignKeyConstraint(["revision"], ["policy.revision"], name=op.f("fk_policy_change_revision")),
        sa.ForeignKeyConstraint(
            ["from_revision"], ["policy.revision"], name=op.f("fk_policy_change_from_revision")
        ),
        sa.PrimaryKeyConstraint("change_id", name=op.f("pk_policy_change")),
        sa.UniqueConstraint("place", name=op.f("uq_policy_change_place")),
    )
    is_open = sa.text("state IN ('proposed', 'approved')")
    op.create_index(
        "uq_policy_change_open",
        "policy_change",
        ["revision"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
