"""NHS numbers that another has taken the place of."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "superseded_number",
        sa.Column("old_number", number, autoincrement=False, nullable=False),
        sa.Column("record_id", number, autoincrement=False, nullable=False),
        sa.Column("new_number", number, nullable=False),
        sa.CheckConstraint("old_number <> new_number", name=op.f("ck_superseded_number_numbers_differ")),
        sa.PrimaryKeyConstraint("old_number", "record_id", name=op.f("pk_superseded_number")),
    )
    op.create_index("ix_superseded_number_new_number", "superseded_number", ["new_number"], unique=False)
    op.create_index("ix_superseded_number_record_id", "superseded_number", ["record_id"], unique=False)
