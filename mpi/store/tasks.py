"""The review queue: tasks, the records on their sides, and comments."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    case,
    delete,
    exists,
    false,
    func,
    insert,
    or_,
    select,
    true,
    tuple_,
    update,
)

from foundation.direct import Statement, Writes, told_instant, told_rows, write_rows
from mpi.store.batch import within
from mpi.store.tables import link_decision, source_record, task, task_comment, task_member


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task. ``sides`` hold record ids; ``evidence`` is what opened it; ``rank`` 0 is the worst.

    ``harm`` orders the tasks of one rank. ``is_sample``: a reader is asked, and the index is not: no change of the graph closes it.
    ``is_withdrawn``: it is closed because whoever asked it took it back, not because evidence settled it.
    """

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
    harm: int
    routed_to: str
    escalated_to: str | None = None
    deferred_until: datetime | None = None
    is_sample: bool = False
    is_withdrawn: bool = False


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
_PLACE = (
    task.c.harm,
    task.c.routed_to,
    task.c.escalated_to,
    task.c.deferred_until,
    task.c.is_sample,
    task.c.is_withdrawn,
)
_COLUMNS = (*_TASK, *_PLACE)


_SIDES = Statement.alike("SELECT task_id, record_id, side FROM task_member WHERE task_id {among}")


def _with_sides(tx: Connection, rows: Sequence[Any]) -> list[TaskRow]:
    if not rows:
        return []
    sides: dict[int, dict[int, set[int]]] = {}
    for task_id, record_id, side in _SIDES.rows(tx, [row[0] for row in rows]):
        sides.setdefault(task_id, {}).setdefault(side, set()).add(record_id)
    return [
        TaskRow(
            *(
                *row[: len(_TASK)],
                tuple(frozenset(records) for _, records in sorted(sides.get(row[0], {}).items())),
                *row[len(_TASK) :],
            )
        )
        for row in rows
    ]


def about_protected(task_id: ColumnElement[int], but: int | None = None) -> ColumnElement[bool]:
    """Whether a task names a record whose location is protected, or whose person has such a record.

    Args:
        task_id: the column that tells which task.
        but: a record whose own protection does not count.
    """
    named, record, other = task_member.alias(), source_record.alias(), source_record.alias()
    is_named = and_(named.c.task_id == task_id, record.c.record_id == named.c.record_id)
    by_record: list[ColumnElement[bool]] = [is_named, record.c.restricted]
    by_person = [is_named, other.c.person_id == record.c.person_id, other.c.restricted]
    if but is not None:
        by_record.append(record.c.record_id != but)
        by_person.append(other.c.record_id != but)
    return or_(exists().where(*by_record), exists().where(*by_person))


def protected_tasks(tx: Connection, task_ids: Collection[int], but: int | None = None) -> frozenset[int]:
    """Return those of these tasks that are about people whose location is protected; ``but`` as for ``about_protected``.

    Asked in two steps, each of which is cheap whatever the planner believes of tables that a switch has just filled.
    """
    if not task_ids:
        return frozenset()
    record = source_record.c
    is_other = record.record_id != but if but is not None else true()
    named = tx.execute(
        select(
            task_member.c.task_id, record.person_id, and_(record.restricted, is_other).label("restricted")
        ).where(within(tx, task_member.c.task_id, task_ids), record.record_id == task_member.c.record_id)
    ).all()
    persons = {row.person_id for row in named if row.person_id is not None}
    protected = set(
        tx.scalars(
            select(record.person_id).where(within(tx, record.person_id, persons), record.restricted, is_other)
        )
    )
    return frozenset(row.task_id for row in named if row.restricted or row.person_id in protected)


def open_tasks_naming(tx: Connection, record_ids: Collection[int]) -> dict[int, str]:
    """Return the kinds of the open tasks that name any of these records."""
    if not record_ids:
        return {}
    named = select(task_member.c.task_id).where(within(tx, task_member.c.record_id, record_ids))
    statement = select(task.c.task_id, task.c.kind).where(task.c.state == "open", task.c.task_id.in_(named))
    return {row[0]: row[1] for row in tx.execute(statement)}


def read_task(
    tx: Connection, task_id: int, *, for_update: bool = False, with_protected: bool = True
) -> TaskRow | None:
    """Return a task.

    Args:
        with_protected: one about people whose location is protected too; else it is searched for in the same way, and not found.
    """
    statement = select(*_COLUMNS).where(task.c.task_id == task_id)
    if not with_protected:
        statement = statement.where(~about_protected(task.c.task_id))
    if for_update:
        statement = statement.with_for_update()
    rows = _with_sides(tx, tx.execute(statement).all())
    return rows[0] if rows else None


def read_tasks(tx: Connection, task_ids: Collection[int], *, with_protected: bool = True) -> list[TaskRow]:
    """Return those of these tasks that exist, in order of id; as ``read_task`` those about protected people."""
    if not task_ids:
        return []
    statement = select(*_COLUMNS).where(within(tx, task.c.task_id, task_ids)).order_by(task.c.task_id)
    if not with_protected:
        statement = statement.where(~about_protected(task.c.task_id))
    return _with_sides(tx, tx.execute(statement).all())


_TASKS_OF = Statement.alike(
    f"SELECT {', '.join(f't.{column.name}' for column in _COLUMNS)}, "  # noqa: S608
    "(SELECT {rows_of}({row}(m.record_id, m.side)) FROM task_member m WHERE m.task_id = t.task_id) FROM task t "
    "WHERE t.task_id IN (SELECT task_id FROM task_member WHERE record_id {among})"
)


def read_tasks_of(
    tx: Connection, record_ids: Collection[int], *, with_samples: bool = False
) -> list[TaskRow]:
    """Return every task of the index, of whatever state, that names any of these records."""
    if not record_ids:
        return []
    rows = (_told_task(row) for row in _TASKS_OF.rows(tx, record_ids))
    return [row for row in rows if with_samples or not row.is_sample]


def _told_task(row: Sequence[Any]) -> TaskRow:
    """Make a task of a row of ``_COLUMNS`` as the driver gives it, and of its sides."""
    values = dict(zip((column.name for column in _COLUMNS), row, strict=False))
    weight = values.pop("weight")
    sides: dict[int, set[int]] = {}
    for record_id, side in told_rows(row[-1]):
        sides.setdefault(side, set()).add(record_id)
    for name in ("opened_at", "changed_at", "claimed_until", "deferred_until"):
        if isinstance(values[name], str):
            values[name] = told_instant(values[name])
    values |= {name: bool(values[name]) for name in ("is_binding", "is_sample", "is_withdrawn")}
    return TaskRow(
        **values | {"evidence": json.loads(values["evidence"])},
        weight_millibits=weight,
        sides=tuple(frozenset(records) for _, records in sorted(sides.items())),
    )


def read_all_tasks(tx: Connection) -> list[TaskRow]:
    """Return every task of the index, of whatever state, its row held until the transaction ends: no claim is lost to what is written."""
    statement = (
        select(*_COLUMNS).where(task.c.is_sample.is_(False)).order_by(task.c.task_id).with_for_update()
    )
    return _with_sides(tx, tx.execute(statement).all())


def read_subjects(tx: Connection, subjects: Collection[tuple[str, str]]) -> list[TaskRow]:
    """Return the tasks of these kinds and subjects, of whatever state."""
    if not subjects:
        return []
    statement = select(*_COLUMNS).where(tuple_(task.c.kind, task.c.subject).in_(sorted(subjects)))
    return _with_sides(tx, tx.execute(statement).all())


# The queue -----------------------------------------------------------------------------------------------------------

VIEWS = ("open", "deferred", "escalated", "decided", "closed")
"""What may be listed: ``open`` without what is put off, what is put off, what was handed on, and what is over."""

Place = tuple[int, int, datetime, int]
"""Where a task stands in the queue: rank, harm, since when, id. Less rank comes first, more harm, and then the oldest."""


def place_of(row: TaskRow) -> Place:
    return (row.rank, row.harm, row.opened_at, row.task_id)


def order_of(row: TaskRow) -> tuple[int, int, datetime, int]:
    """Return what sorts tasks as the queue does."""
    return (row.rank, -row.harm, row.opened_at, row.task_id)


_ORDER = (task.c.rank, task.c.harm.desc(), task.c.opened_at, task.c.task_id)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which tasks of the queue: a view of it at an instant, one kind or all, some routes or all of them (None).

    ``protected``: whether those about people whose location is protected are among them, or are all there is. ``held_by``: those alone
    that this reader holds.
    """

    now: datetime
    view: str = "open"
    kind: str | None = None
    routes: frozenset[str] | None = None
    but_not_to: str | None = None
    protected: Literal["among", "none", "only"] = "none"
    held_by: str | None = None
    opened_before: datetime | None = None


def _wanted(of: Wanted) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [
        task.c.state == (of.view if of.view in ("decided", "closed") else "open")
    ]
    if of.view == "open":
        found.append(or_(task.c.deferred_until.is_(None), task.c.deferred_until <= of.now))
    elif of.view == "deferred":
        found.append(task.c.deferred_until > of.now)
    elif of.view == "escalated":
        found.append(task.c.escalated_to.is_not(None))
    if of.kind is not None:
        found.append(task.c.kind == of.kind)
    if of.routes is not None:
        found.append(task.c.routed_to.in_(sorted(of.routes)))
    if of.but_not_to is not None:
        found.append(task.c.routed_to != of.but_not_to)
    if of.held_by is not None:
        found += [task.c.claimed_by == of.held_by, task.c.claimed_until > of.now]
    if of.opened_before is not None:
        found.append(task.c.opened_at < of.opened_before)
    if of.protected == "none":
        found.append(~about_protected(task.c.task_id))
    elif of.protected == "only":
        found.append(about_protected(task.c.task_id))
    return found


SORTS = ("worst", "oldest", "newest", "harm")
"""How a list may be sorted: as the queue is, by age, or by the harm to expect whatever the kind."""

_SORTED: Mapping[str, tuple[tuple[ColumnElement[Any], bool], ...]] = {
    "worst": ((task.c.rank, False), (task.c.harm, True), (task.c.opened_at, False), (task.c.task_id, False)),
    "oldest": ((task.c.opened_at, False), (task.c.task_id, False)),
    "newest": ((task.c.opened_at, True), (task.c.task_id, True)),
    "harm": ((task.c.harm, True), (task.c.opened_at, False), (task.c.task_id, False)),
}
"""The columns that each sorts by, and whether the greatest comes first."""


def list_tasks(
    tx: Connection, of: Wanted, *, limit: int, after: Place | None = None, sort: str = "worst"
) -> list[TaskRow]:
    """Return a page of the queue: worst kind first, then by harm, then oldest; or sorted otherwise.

    Args:
        after: the place of the last one seen.
        sort: one of ``SORTS``.
    """
    columns = _SORTED[sort]
    statement = select(*_COLUMNS).where(*_wanted(of))
    if after is not None:
        seen = dict(zip(("rank", "harm", "opened_at", "task_id"), after, strict=True))
        beyond: ColumnElement[bool] = false()
        for column, is_falling in reversed(columns):
            value = seen[column.key]
            beyond = or_(column < value if is_falling else column > value, and_(column == value, beyond))
        statement = statement.where(beyond)
    order = [column.desc() if is_falling else column for column, is_falling in columns]
    return _with_sides(tx, tx.execute(statement.order_by(*order).limit(limit)).all())


def count_tasks(tx: Connection, of: Wanted) -> dict[str, int]:
    """Return how many tasks there are, by kind."""
    statement = select(task.c.kind, func.count()).where(*_wanted(of)).group_by(task.c.kind)
    return {row[0]: row[1] for row in tx.execute(statement)}


def take_next(tx: Connection, of: Wanted, reader: str) -> TaskRow | None:
    """Hold and return the first task of the queue that is nobody's, and on which this reader has not spoken; two callers get two."""
    spoke = exists().where(
        link_decision.c.task_id == task.c.task_id,
        link_decision.c.state == "proposed",
        link_decision.c.decided_by == reader,
    )
    statement = (
        select(*_COLUMNS)
        .where(*_wanted(of), or_(task.c.claimed_until.is_(None), task.c.claimed_until <= of.now), ~spoke)
        .order_by(*_ORDER)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    rows = _with_sides(tx, tx.execute(statement).all())
    return rows[0] if rows else None


def lock_tasks(tx: Connection, task_ids: Collection[int], *, with_protected: bool = True) -> list[TaskRow]:
    """Hold these tasks' rows in order of id, and return them as they then stand; as ``read_task`` those about protected people."""
    if not task_ids:
        return []
    held = (
        select(task.c.task_id)
        .where(within(tx, task.c.task_id, task_ids))
        .order_by(task.c.task_id)
        .with_for_update()
    )
    return read_tasks(tx, list(tx.scalars(held)), with_protected=with_protected)


Write = Callable[[Connection, Table, Sequence[Mapping[str, Any]]], None]
"""Writes rows, at least one, that name the same columns."""


def _insert(tx: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    write_rows(tx, lambda writes: writes.insert(table, rows))


def insert_tasks(tx: Connection, rows: Sequence[TaskRow], write: Write = _insert) -> None:
    if rows:
        write(tx, task, [_as_inserted(row, None) for row in rows])
        _insert_members(tx, rows, write)


def put_tasks(writes: Writes, rows: Sequence[TaskRow], placed_at: datetime) -> None:
    """Insert tasks whose harm and route have been worked out, with other writes."""
    writes.insert(task, [_as_inserted(row, placed_at) for row in rows])
    writes.insert(task_member, [one for row in rows for one in _members_of(row)])


def _as_inserted(row: TaskRow, placed_at: datetime | None) -> dict[str, Any]:
    return {
        **_as_changed(row),
        "kind": row.kind,
        "subject": row.subject,
        "claimed_by": None,
        "claimed_until": None,
        "decision_id": None,
        "harm": row.harm,
        "routed_to": row.routed_to,
        "escalated_to": row.escalated_to,
        "deferred_until": row.deferred_until,
        "is_sample": row.is_sample,
        "placed_at": placed_at,
    }


def replace_tasks(tx: Connection, rows: Sequence[TaskRow]) -> None:
    """Write these tasks over what stood under their ids, sides included. Their place in the queue is stale then."""
    if not rows:
        return
    tx.execute(delete(task_member).where(within(tx, task_member.c.task_id, [row.task_id for row in rows])))
    writes = Writes(tx)
    writes.update(task, [_as_changed(row) for row in rows], "task_id")
    writes.insert(task_member, [one for row in rows for one in _members_of(row)])
    writes.flush()


def put_changed(writes: Writes, changed: Iterable[tuple[TaskRow, TaskRow]], *, is_news: bool = False) -> None:
    """Write tasks over what they were, given as (before, after), with other writes. Their place in the queue is stale then.

    Args:
        is_news: there is something new to see: those that were put off are put off no longer.
    """
    ordered = sorted(changed, key=lambda pair: pair[1].task_id)
    woken = {"deferred_until": None} if is_news else {}
    writes.update(task, [_as_changed(after) | woken for _, after in ordered], "task_id")
    sides = [(after.task_id, _side_of(before), _side_of(after)) for before, after in ordered]
    writes.delete(
        task_member,
        [
            {"task_id": task_id, "record_id": record_id}
            for task_id, before, after in sides
            for record_id in sorted(before.keys() - after.keys())
        ],
    )
    writes.upsert(
        task_member,
        [
            {"task_id": task_id, "record_id": record_id, "side": side}
            for task_id, before, after in sides
            for record_id, side in sorted(after.items() - before.items())
        ],
        ("task_id", "record_id"),
        ("side",),
    )


def _as_changed(row: TaskRow) -> dict[str, Any]:
    return {
        "task_id": row.task_id,
        "state": row.state,
        "version": row.version,
        "rank": row.rank,
        "is_binding": row.is_binding,
        "weight": row.weight_millibits,
        "reason": row.reason,
        "evidence": row.evidence,
        "opened_at": row.opened_at,
        "changed_at": row.changed_at,
        "claimed_by": row.claimed_by,
        "claimed_until": row.claimed_until,
        "decision_id": row.decision_id,
        "is_withdrawn": row.is_withdrawn,
        "placed_at": None,
    }


def _insert_members(tx: Connection, rows: Sequence[TaskRow], write: Write = _insert) -> None:
    members = [one for row in rows for one in _members_of(row)]
    if members:
        write(tx, task_member, members)


def _members_of(row: TaskRow) -> Iterator[dict[str, int]]:
    for side, records in enumerate(row.sides):
        for record_id in sorted(records):
            yield {"task_id": row.task_id, "record_id": record_id, "side": side}


def _side_of(row: TaskRow) -> dict[int, int]:
    return {record_id: side for side, records in enumerate(row.sides) for record_id in records}


# Places --------------------------------------------------------------------------------------------------------------


def forget_place(tx: Connection, untold: Mapping[str, int], record_ids: Collection[int]) -> None:
    """Give the open tasks that name any of these records the harm of their kind, until they are placed again."""
    if not record_ids:
        return
    named = select(task_member.c.task_id).where(within(tx, task_member.c.record_id, record_ids))
    tx.execute(
        update(task)
        .where(task.c.state == "open", task.c.task_id.in_(named))
        .values(placed_at=None, harm=case(untold, value=task.c.kind))
    )


def stale_places(tx: Connection, before: datetime, limit: int) -> list[int]:
    """Hold open tasks that were never placed, or not since an instant; those that someone else holds are left to them."""
    statement = (
        select(task.c.task_id)
        .where(task.c.state == "open", or_(task.c.placed_at.is_(None), task.c.placed_at < before))
        .order_by(task.c.task_id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list(tx.scalars(statement))


def has_stale_places(tx: Connection, before: datetime) -> bool:
    statement = select(task.c.task_id).where(
        task.c.state == "open", or_(task.c.placed_at.is_(None), task.c.placed_at < before)
    )
    return tx.scalar(statement.limit(1)) is not None


@dataclass(frozen=True, slots=True)
class Standing:
    """What the place of an open task hangs on: what it asks, of whom, and whose its records are.

    ``protected`` are those of its records whose location, or whose person's, is protected. ``is_placed``: harm and route are not stale.
    """

    task_id: int
    kind: str
    weight_millibits: int | None
    is_sample: bool
    harm: int
    escalated_to: str | None
    routed_to: str
    is_placed: bool
    sides: tuple[frozenset[int], ...]
    organisations: Mapping[int, str] = field(repr=False)
    persons: frozenset[int] = field(repr=False)
    protected: frozenset[int] = field(repr=False)


# Whether a person is protected is asked with a LIMIT: of each record through the index, and never of all who are protected at once.
_STANDING = Statement.alike(
    "SELECT t.task_id, t.kind, t.weight, t.is_sample, t.harm, t.escalated_to, m.record_id, m.side, r.state, r.organisation, r.person_id, "
    "r.restricted OR (SELECT 1 FROM source_record o WHERE o.person_id = r.person_id AND o.restricted LIMIT 1) IS NOT NULL, "
    "t.routed_to, t.placed_at IS NOT NULL "
    "FROM task t LEFT JOIN task_member m ON m.task_id = t.task_id LEFT JOIN source_record r ON r.record_id = m.record_id "
    "WHERE t.task_id {among} AND t.state = 'open'"
)


def read_standing(tx: Connection, task_ids: Collection[int]) -> list[Standing]:
    """Return what the places of those of these tasks hang on that are open, in order of id."""
    rows: dict[int, list[Any]] = {}
    for row in _STANDING.rows(tx, task_ids):
        rows.setdefault(row[0], []).append(row)
    return [_standing(of) for _, of in sorted(rows.items())]


def _standing(rows: Sequence[Any]) -> Standing:
    task_id, kind, weight, is_sample, harm, escalated_to = rows[0][:6]
    sides: dict[int, set[int]] = {}
    organisations, persons = {}, set()
    for record_id, side, state, organisation, person_id in (row[6:11] for row in rows if row[6] is not None):
        sides.setdefault(side, set()).add(record_id)
        if state == "active":
            organisations[record_id] = organisation
            persons.add(person_id)
    return Standing(
        task_id,
        kind,
        weight,
        bool(is_sample),
        harm,
        escalated_to,
        rows[0][12],
        bool(rows[0][13]),
        tuple(frozenset(records) for _, records in sorted(sides.items())),
        organisations,
        frozenset(persons - {None}),
        frozenset(row[6] for row in rows if row[11]),
    )


def write_places(tx: Connection, places: Mapping[int, tuple[int, str]], at: datetime) -> None:
    """Set harm and route of tasks."""
    rows = [
        {"task_id": task_id, "harm": harm, "routed_to": route, "placed_at": at}
        for task_id, (harm, route) in sorted(places.items())
    ]
    write_rows(tx, lambda writes: writes.update(task, rows, "task_id"))


_WAKE = Statement.alike(
    "UPDATE task SET deferred_until = NULL WHERE task_id {among} AND deferred_until IS NOT NULL"
)


def wake_tasks(tx: Connection, task_ids: Collection[int]) -> None:
    """Bring back tasks that were put off: there is something new to see."""
    if task_ids:
        _WAKE.act(tx, task_ids)


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
