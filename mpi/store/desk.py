"""Counts of the review queue, for the first page of those who work it."""

from datetime import datetime

from sqlalchemy import Connection, func, select

from mpi.store.tables import task
from mpi.store.tasks import about_protected


def count_open(tx: Connection, *, with_protected: bool) -> dict[str, int]:
    """Return how many tasks are open, by kind.

    Args:
        with_protected: those about people whose location is protected too.
    """
    statement = select(task.c.kind, func.count()).where(task.c.state == "open").group_by(task.c.kind)
    if not with_protected:
        statement = statement.where(~about_protected(task.c.task_id))
    return {row[0]: row[1] for row in tx.execute(statement)}


def claimed_by(tx: Connection, reader: str, now: datetime, limit: int, *, with_protected: bool) -> list[int]:
    """Return the open tasks that a reader holds, in the order of the queue."""
    statement = (
        select(task.c.task_id)
        .where(task.c.state == "open", task.c.claimed_by == reader, task.c.claimed_until > now)
        .order_by(task.c.rank, task.c.harm.desc(), task.c.opened_at, task.c.task_id)
        .limit(limit)
    )
    if not with_protected:
        statement = statement.where(~about_protected(task.c.task_id))
    return list(tx.scalars(statement))
