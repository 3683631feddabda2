"""The review queue: tasks, the records on their sides, and comments."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, and_, bindparam, delete, insert, or_, select, tuple_, update

from mpi.store.batch import within
from mpi.store.tables import source_record, task, task_comment, task_member


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task. ``sides`` hold record ids; ``evidence`` is what opened it; ``rank`` 0 is the worst."""

    task_id: int
    kind: str
    subject: str
    state: str
    version: int
    rank: int
    is_binding: bool
    weight_millibits: int | None
    reason: str
    evidence: Any = field(repr=False)
    opened_at: datetime
    changed_at: datetime
    claimed_by: str | None
    claimed_until: datetime | None
    decision_id: int | None
    sides: tuple[frozenset[int], ...]


@dataclass(frozen=True, slots=True)
class CommentRow:
    author: str
    comment: str = field(repr=False)
    written_at: datetime


_TASK = (
    task.c.task_id,
    task.c.kind,
    task.c.subject,
    task.c.state,
    task.c.version,
    task.c.rank,
    task.c.is_binding,
    task.c.weight,
    task.c.reason,
    task.c.evidence,
    task.c.opened_at,
    task.c.changed_at,
    task.c.claimed_by,
    task.c.claimed_until,
    task.c.decision_id,
)


def _with_sides(tx: Connection, rows: Sequence[Any]) -> list[TaskRow]:
    if not rows:
        return []
    members = select(task_member.c.task_id, task_member.c.record_id, task_member.c.side).where(
        within(tx, task_member.c.task_id, [row[0] for row in rows])
    )
    sides: dict[int, dict[int, set[int]]] = {}
    for task_id, record_id, side in tx.execute(members):
        sides.setdefault(task_id, {}).setdefault(side, set()).add(record_id)
    return [
        TaskRow(*[*row, tuple(frozenset(records) for _, records in sorted(sides.get(row[0], {}).items()))])
        for row in rows
    ]


def read_task(tx: Connection, task_id: int, *, for_update: bool = False) -> TaskRow | None:
    statement = select(*_TASK).where(task.c.task_id == task_id)
    if for_update:
        statement = statement.with_for_update()
    rows = _with_sides(tx, tx.execute(statement).all())
    return rows[0] if rows else None


def read_tasks_of(tx: Connection, record_ids: Collection[int]) -> list[TaskRow]:
    """Return every task, of whatever state, that names any of these records."""
    if not record_ids:
        return []
    named = select(task_member.c.task_id).where(within(tx, task_member.c.record_id, record_ids))
    return _with_sides(tx, tx.execute(select(*_TASK).where(task.c.task_id.in_(named))).all())


def read_all_tasks(tx: Connection) -> list[TaskRow]:
    """Return every task, of whatever state, its row held until the transaction ends: no claim is lost to what is written."""
    statement = select(*_TASK).order_by(task.c.task_id).with_for_update()
    return _with_sides(tx, tx.execute(statement).all())


def read_subjects(tx: Connection, subjects: Collection[tuple[str, str]]) -> list[TaskRow]:
    """Return the tasks of these kinds and subjects, of whatever state."""
    if not subjects:
        return []
    statement = select(*_TASK).where(tuple_(task.c.kind, task.c.subject).in_(sorted(subjects)))
    return _with_sides(tx, tx.execute(statement).all())


def list_tasks(
    tx: Connection,
    *,
    limit: int,
    after: tuple[int, datetime, int] | None = None,
    states: Collection[str] = ("open",),
    kind: str | None = None,
) -> list[TaskRow]:
    """Return a page of the queue: worst kind first, then oldest. ``after`` is (rank, opened_at, task_id) of the last one seen."""
    statement = select(*_TASK).where(task.c.state.in_(sorted(states)))
    if kind is not None:
        statement = statement.where(task.c.kind == kind)
    if after is not None:
        rank, opened_at, task_id = after
        statement = statement.where(
            or_(
                task.c.rank > rank,
                and_(task.c.rank == rank, task.c.opened_at > opened_at),
                and_(task.c.rank == rank, task.c.opened_at == opened_at, task.c.task_id > task_id),
            )
        )
    statement = statement.order_by(task.c.rank, task.c.opened_at, task.c.task_id).limit(limit)
    return _with_sides(tx, tx.execute(statement).all())


Write = Callable[[Connection, Table, Sequence[Mapping[str, Any]]], None]
"""Writes rows, at least one, that name the same columns."""


def _insert(tx: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    tx.execute(insert(table), [dict(row) for row in rows])


def insert_tasks(tx: Connection, rows: Sequence[TaskRow], write: Write = _insert) -> None:
    if not rows:
        return
    write(
        tx,
        task,
        [
            {
                "task_id": row.task_id,
                "kind": row.kind,
                "subject": row.subject,
                "state": row.state,
                "version": row.version,
                "rank": row.rank,
                "is_binding": row.is_binding,
                "weight": row.weight_millibits,
                "reason": row.reason,
                "evidence": row.evidence,
                "opened_at": row.opened_at,
                "changed_at": row.changed_at,
                "claimed_by": None,
                "claimed_until": None,
                "decision_id": None,
            }
            for row in rows
        ],
    )
    _insert_members(tx, rows, write)


def replace_tasks(tx: Connection, rows: Sequence[TaskRow]) -> None:
    """Write these tasks over what stood under their ids, sides included."""
    if not rows:
        return
    tx.execute(
        update(task)
        .where(task.c.task_id == bindparam("at_task_id"))
        .values({name: bindparam(f"new_{name}") for name in _CHANGING}),
        [
            {
                "at_task_id": row.task_id,
                "new_state": row.state,
                "new_version": row.version,
                "new_rank": row.rank,
                "new_is_binding": row.is_binding,
                "new_weight": row.weight_millibits,
                "new_reason": row.reason,
                "new_evidence": row.evidence,
                "new_opened_at": row.opened_at,
                "new_changed_at": row.changed_at,
                "new_claimed_by": row.claimed_by,
                "new_claimed_until": row.claimed_until,
                "new_decision_id": row.decision_id,
            }
            for row in rows
        ],
    )
    tx.execute(delete(task_member).where(within(tx, task_member.c.task_id, [row.task_id for row in rows])))
    _insert_members(tx, rows)


_CHANGING = (
    "state",
    "version",
    "rank",
    "is_binding",
    "weight",
    "reason",
    "evidence",
    "opened_at",
    "changed_at",
    "claimed_by",
    "claimed_until",
    "decision_id",
)


def _insert_members(tx: Connection, rows: Sequence[TaskRow], write: Write = _insert) -> None:
    members = [
        {"task_id": row.task_id, "record_id": record_id, "side": side}
        for row in rows
        for side, records in enumerate(row.sides)
        for record_id in sorted(records)
    ]
    if members:
        write(tx, task_member, members)


def update_task(tx: Connection, task_id: int, values: Mapping[str, Any]) -> None:
    tx.execute(update(task).where(task.c.task_id == task_id).values(**values))


def binding_persons(tx: Connection, person_id: int) -> list[tuple[int, int]]:
    """Return (task id, person id) of every other person that an open binding task joins to this one."""
    ours, theirs = task_member.alias("ours"), task_member.alias("theirs")
    our_record, their_record = source_record.alias("our_record"), source_record.alias("their_record")
    statement = (
        select(task.c.task_id, their_record.c.person_id)
        .select_from(our_record)
        .join(ours, ours.c.record_id == our_record.c.record_id)
        .join(task, task.c.task_id == ours.c.task_id)
        .join(theirs, and_(theirs.c.task_id == ours.c.task_id, theirs.c.side != ours.c.side))
        .join(their_record, their_record.c.record_id == theirs.c.record_id)
        .where(
            our_record.c.person_id == person_id,
            task.c.state == "open",
            task.c.is_binding,
            their_record.c.person_id.is_not(None),
            their_record.c.person_id != person_id,
        )
        .distinct()
        .order_by(task.c.task_id, their_record.c.person_id)
    )
    return [(row[0], row[1]) for row in tx.execute(statement)]


def insert_comment(
    tx: Connection, comment_id: int, task_id: int, author: str, comment: str, at: datetime
) -> None:
    tx.execute(
        insert(task_comment),
        {
            "comment_id": comment_id,
            "task_id": task_id,
            "author": author,
            "comment": comment,
            "written_at": at,
        },
    )


def read_comments(tx: Connection, task_id: int) -> list[CommentRow]:
    statement = (
        select(task_comment.c.author, task_comment.c.comment, task_comment.c.written_at)
        .where(task_comment.c.task_id == task_id)
        .order_by(task_comment.c.comment_id)
    )
    return [CommentRow(*row) for row in tx.execute(statement)]
