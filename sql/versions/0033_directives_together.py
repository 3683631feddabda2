"""Directives that were given at one time, as one statement."""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "directive_together",
        sa.Column("directive_id", number, autoincrement=False, nullable=False),
        sa.Column("statement_id", number, nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["directive_id"],
            ["directive.directive_id"],
            name=op.f("fk_directive_together_directive_id"),
        ),
        sa.PrimaryKeyConstraint("directive_id", name=op.f("pk_directive_together")),
        sa.UniqueConstraint("statement_id", "place", name=op.f("uq_directive_together_statement_id_place")),
    )


def downgrade() -> None:
    op.drop_table("directive_together")
