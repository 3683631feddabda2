"""Who approved an agreement."""

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("agreement", sa.Column("approved_by", sa.String(200), nullable=True))


def downgrade() -> None:
    op.drop_column("agreement", "approved_by")
