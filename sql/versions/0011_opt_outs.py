"""Lists for the national opt-out service, its answers by number, references of directives that came in files, successors found."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "opt_out_list",
        sa.Column(
            "list_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("numbers", sa.Integer(), nullable=False),
        sa.Column("taken_back", sa.Integer(), nullable=False),
        sa.Column("clear", sa.Integer(), nullable=True),
        sa.Column("opted_out", sa.Integer(), nullable=True),
        sa.Column("prepared_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("prepared_by", sa.String(length=128), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_by", sa.String(length=128), nullable=True),
        sa.CheckConstraint(
            "(clear is null) = (state <> 'answered')", name=op.f("ck_opt_out_list_answered_with_counts")
        ),
        sa.CheckConstraint(
            "(closed_by is null) = (state = 'waiting')", name=op.f("ck_opt_out_list_closed_by_someone")
        ),
        sa.CheckConstraint(
            "state in ('waiting', 'answered', 'refused', 'abandoned')",
            name=op.f("ck_opt_out_list_state_is_known"),
        ),
        sa.PrimaryKeyConstraint("list_id", name=op.f("pk_opt_out_list")),
        sa.UniqueConstraint("name", name=op.f("uq_opt_out_list_name")),
    )
    op.create_table(
        "directive_reference",
        sa.Column("received_by", sa.String(length=20), nullable=False),
        sa.Column("reference", sa.String(length=64), nullable=False),
        sa.Column("directive_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(
            ["directive_id"], ["directive.directive_id"], name=op.f("fk_directive_reference_directive_id")
        ),
        sa.PrimaryKeyConstraint("received_by", "reference", name=op.f("pk_directive_reference")),
    )
    op.create_index(
        "ix_directive_reference_directive_id", "directive_reference", ["directive_id"], unique=False
    )
    op.create_table(
        "opt_out_asked",
        sa.Column(
            "list_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column(
            "record_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("nhs_number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(["list_id"], ["opt_out_list.list_id"], name=op.f("fk_opt_out_asked_list_id")),
        sa.PrimaryKeyConstraint("list_id", "record_id", name=op.f("pk_opt_out_asked")),
    )
    op.create_index("ix_opt_out_asked_record_id", "opt_out_asked", ["record_id"], unique=False)
    op.add_column(
        "opt_out_evidence",
        sa.Column("number_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
    )
    op.create_index("ix_organisation_successor", "organisation", ["successor"], unique=False)
