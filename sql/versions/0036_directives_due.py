"""Which directives wait to be decided or reviewed."""

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

_WHERE = {
    "ix_directive_pending": ("recorded_at", "standing = 'pending'"),
    "ix_directive_review": ("review_at", "review_at IS NOT NULL"),
}


def upgrade() -> None:
    for name, (column, where) in _WHERE.items():
        condition = sa.text(where)
        op.create_index(
            name,
            "directive",
            ["received_by", column],
            sqlite_where=condition,
            postgresql_where=condition,
        )


def downgrade() -> None:
    for name in _WHERE:
        op.drop_index(name, "directive")
