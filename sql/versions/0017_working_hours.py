"""Working hours by organisation and role, and whose staff file an alert rests on."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "working_hours",
        sa.Column("organisation", sa.String(length=20), nullable=False),
        sa.Column("shifts", sa.Text(), nullable=False),
        sa.Column("stands_since", instant, nullable=False),
        sa.Column("loaded_at", instant, nullable=False),
        sa.Column("loaded_by", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("organisation", name=op.f("pk_working_hours")),
    )
    op.add_column("alert", sa.Column("staff_of", sa.String(length=20), nullable=True))
    # Until now only an organisation's own file was compared.
    op.execute("UPDATE alert SET staff_of = organisation WHERE signals IS NOT NULL")
