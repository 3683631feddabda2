"""An index by which every record that ever came to a person is found, for questions about the past."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    is_other = sa.text("to_person_id <> record_id")
    op.create_index(
        "ix_membership_change_to_person_id",
        "membership_change",
        ["to_person_id"],
        unique=False,
        sqlite_where=is_other,
        postgresql_where=is_other,
    )
