"""Which versions came while nobody could read them."""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("source_record", sa.Column("unread_from", sa.Integer(), nullable=True))
    # Until now all that came after the version that stands was read again.
    op.execute(
        "update source_record set unread_from = current_version + 1 "
        "where version > current_version and current_version > 0 and state <> 'erased' "
        "and (state <> 'active' or model_revision = '')"
    )


def downgrade() -> None:
    op.drop_column("source_record", "unread_from")
