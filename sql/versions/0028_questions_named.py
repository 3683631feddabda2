"""Questions are named after a record that they are about, and told apart when whoever asked them took them back.

Until now questions about one person's numbers, or one system's records of a person, were named after the person, whose id none of the
records asked about need have given: two such questions, one after the other, could come to one name.
"""

from collections import Counter

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

_NAMED = sa.text(
    "select t.task_id, t.kind, min(m.record_id) as first from task t join task_member m on m.task_id = t.task_id "
    "where t.kind = 'same-source-duplicate' or (t.kind = 'number-conflict' and t.subject not like '%:%') "
    "group by t.task_id, t.kind, t.state, t.changed_at "
    "order by case when t.state = 'open' then 0 else 1 end, t.changed_at desc, t.task_id desc"
)
_NAME = sa.text("update task set subject = :subject where task_id = :task_id")


def upgrade() -> None:
    op.add_column("task", sa.Column("is_withdrawn", sa.Boolean(), nullable=False, server_default=sa.false()))
    rows = op.get_bind().execute(_NAMED).all()
    met: Counter[tuple[str, int]] = Counter()
    names = []
    for task_id, kind, first in rows:
        # The one that is open, or was last, bears the name; an older one keeps what was decided, and is asked no more.
        names.append((task_id, str(first) if not met[kind, first] else f"{first}:{task_id}"))
        met[kind, first] += 1
    if names:
        # First out of each other's way.
        op.get_bind().execute(_NAME, [{"task_id": one, "subject": f"task:{one}"} for one, _ in names])
        op.get_bind().execute(_NAME, [{"task_id": one, "subject": name} for one, name in names])


def downgrade() -> None:
    # Names stay: they are told apart in either way.
    op.drop_column("task", "is_withdrawn")
