"""Questions asked by hand have a place in the queue, before held updates: all kinds after it stand one further back."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    task = sa.table("task", sa.column("rank", sa.Integer()))
    op.execute(sa.update(task).where(task.c.rank >= 2).values(rank=task.c.rank + 1))
