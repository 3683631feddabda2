"""Counts of the review queue, for the first page of those who work it."""

from datetime import datetime

from sqlalchemy import Connection, func, select

from mpi.store.tables import task


def count_open(tx: Connection) -> dict[str, int]:
    """Return how many tasks are open, by kind."""
    statement = select(task.c.kind, func.count()).where(task.c.state == "open").group_by(task.c.kind)
    return {row[0]: row[1] for row in tx.execute(statement)}


def claimed_by(tx: Connection, reader: str, now: datetime, limit: int) -> list[int]:
    """Return the open tasks that a reader holds, in the order of the queue."""
    statement = (
        select(task.c.task_id)
        .where(task.c.state == "open", task.c.claimed_by == reader, task.c.claimed_until > now)
        .order_by(task.c.rank, task.c.harm.desc(), task.c.opened_at, task.c.task_id)
        .limit(limit)
    )
    return list(tx.scalars(statement))
