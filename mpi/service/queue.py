"""Working the review queue: the next task, tasks about one person together, putting off and handing on. Deciding is ``review``'s."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import randbelow

from sqlalchemy import Connection

from foundation.comments import check_comment
from foundation.errors import Conflict, Invalid, NotFound, Unavailable
from foundation.ids import new_id
from foundation.principal import Principal
from mpi.matching.harm import PRIVACY_OFFICER, TEAMS
from mpi.matching.questions import Kind
from mpi.service import samples
from mpi.service.context import Mpi
from mpi.service.graph import Unions
from mpi.service.link import taken_again
from mpi.service.place import place_tasks, place_waiting
from mpi.service.review import (
    Cursor,
    Task,
    check_free,
    check_kind,
    check_may_work,
    holder_of,
    protected_for,
    read_back,
    read_row,
    routes_for,
    sees_protected,
    set_task,
    take_claim,
    tell_tasks,
)
from mpi.store import activity as activity_store
from mpi.store import queue as queue_store
from mpi.store import tasks as task_store
from mpi.store.tasks import TaskRow, Wanted

LATEST = timedelta(days=366)
"""For how long a task may be put off at most."""

MOST_IN_GROUP = 200
"""How many tasks of a group are told, and taken at once; beyond them it is said that there are more."""

DEFERRAL_REASONS = ("waiting-for-source", "waiting-for-documents", "waiting-for-patient", "other")
ESCALATION_REASONS = (
    "cannot-tell",
    "several-organisations",
    "sensitive",
    "safeguarding",
    "suspected-misuse",
    "other",
)
"""Why; ``other`` needs a comment. ``readers-disagree`` is given by the service."""


# The next one --------------------------------------------------------------------------------------------------------


def next_task(
    mpi: Mpi,
    by: Principal,
    *,
    kind: str | None = None,
    for_whom: str | None = None,
    only_protected: bool = False,
) -> Task | None:
    """Claim and return the worst free task, or None where there is none. Two who ask at once never get the same one.

    Left out is what is put off, what another holds, and what waits for the second reader's word after this reader's own; and unless they
    are asked for, tasks that were handed on to a privacy officer. Now and then a person is given a pair of which the answer is known.

    Args:
        only_protected: as ``list_tasks``.

    Raises:
        Invalid: ``task-kind-unknown``. Forbidden: ``organisation-not-yours``, ``scope-missing``. Unavailable: ``linking-busy``.
    """
    check_kind(kind)
    routes = routes_for(by, for_whom)
    protected = protected_for(by, only=only_protected)
    is_turn = (
        by.kind == "person"
        and kind in (None, Kind.POSSIBLE.value)
        and not only_protected
        and randbelow(1_000) < mpi.known_per_mille
    )

    def take(tx: Connection) -> Task | None:
        row = samples.ask_known(tx, mpi.at(tx), by, routes) if is_turn else None
        if row is None:
            but_not_to = PRIVACY_OFFICER if routes is None else None
            wanted = Wanted(mpi.clock.now(), "open", kind, routes, but_not_to, protected)
            row = task_store.take_next(tx, wanted, by.id)
        return None if row is None else take_claim(tx, mpi, row, by)

    task = taken_again(mpi, take)
    if is_turn:
        mpi.bell.ring("outbox")
    return task


# Groups --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TaskGroup:
    """Open tasks that share a person, directly or over another of them; named by the first of them in the order of the queue.

    ``persons`` are those whom the tasks are about; ``count`` is of all tasks, of which at most ``MOST_IN_GROUP`` are told.
    """

    group_id: int
    worst_kind: str
    count: int
    expected_harm: int
    person_ids: tuple[int, ...]
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class GroupPage:
    groups: tuple[TaskGroup, ...]
    next: Cursor | None


def list_groups(
    mpi: Mpi,
    by: Principal,
    *,
    limit: int = 20,
    after: Cursor | None = None,
    kind: str | None = None,
    for_whom: str | None = None,
) -> GroupPage:
    """Return a page of the queue by person: each group once, where its first task stands.

    A group holds all its open tasks that are not put off, of whatever kind and route; ``kind`` and ``for_whom`` choose among first tasks.

    Raises:
        Invalid: ``task-kind-unknown``. Forbidden: ``organisation-not-yours``.
    """
    check_kind(kind)
    now = mpi.clock.now()
    wanted = Wanted(now, "open", kind, routes_for(by, for_whom), protected=protected_for(by))
    found: list[TaskGroup] = []
    with mpi.db.read() as tx:
        while True:
            rows = task_store.list_tasks(tx, wanted, limit=limit + 1, after=after)
            page = rows[:limit]
            groups = _groups(tx, page, wanted)
            for row in page:
                group = groups.get(row.task_id)
                if group is None:
                    continue  # it was told, or will be, where another task of its group stands
                if len(found) == limit:
                    return GroupPage(tuple(found), after)
                found.append(_tell(tx, group, now, by))
                after = task_store.place_of(row)
            if len(rows) <= limit:
                return GroupPage(tuple(found), None)
            after = task_store.place_of(page[-1])


@dataclass(frozen=True, slots=True)
class _Group:
    rows: tuple[TaskRow, ...]
    persons: frozenset[int]


def _groups(tx: Connection, rows: Sequence[TaskRow], wanted: Wanted) -> dict[int, _Group]:
    """Return the groups of some tasks by their first task, of those whose first task is among these."""
    known = {row.task_id: row for row in rows}
    fresh = list(rows)
    persons: dict[int, frozenset[int]] = {}
    while fresh:
        of_fresh = _persons_of(tx, fresh)
        persons |= of_fresh
        asked = {one for row in fresh if not row.is_sample for one in of_fresh[row.task_id]}
        about = queue_store.tasks_about(tx, asked) - known.keys()
        told = task_store.read_tasks(tx, about, with_protected=wanted.protected == "among")
        fresh = [row for row in told if _is_shown(row, wanted.now)]
        known |= {row.task_id: row for row in fresh}
    unions = Unions(known)
    first: dict[int, int] = {}
    for row in known.values():
        # A sample stands alone: whom it is about, nobody is told.
        for person in () if row.is_sample else persons[row.task_id]:
            unions.join(first.setdefault(person, row.task_id), row.task_id)
    found = {}
    for numbers in unions.groups().values():
        ordered = sorted((known[number] for number in numbers), key=task_store.order_of)
        chosen = [row for row in ordered if _is_wanted(row, wanted)]
        if chosen and chosen[0].task_id in {row.task_id for row in rows}:
            everyone = frozenset().union(*(persons[number] for number in numbers))
            found[chosen[0].task_id] = _Group(tuple(ordered), everyone)
    return found


def _persons_of(tx: Connection, rows: Sequence[TaskRow]) -> dict[int, frozenset[int]]:
    owners = activity_store.read_owners(tx, {number for row in rows for side in row.sides for number in side})
    return {
        row.task_id: frozenset(
            min(side) if row.is_sample else person
            for side in row.sides
            for number in side
            if number in owners and (person := owners[number].person_id) is not None
        )
        for row in rows
    }


def _is_shown(row: TaskRow, now: datetime) -> bool:
    return row.state == "open" and (row.deferred_until is None or row.deferred_until <= now)


def _is_wanted(row: TaskRow, wanted: Wanted) -> bool:
    return wanted.kind in (None, row.kind) and (wanted.routes is None or row.routed_to in wanted.routes)


def _tell(tx: Connection, group: _Group, now: datetime, by: Principal) -> TaskGroup:
    return TaskGroup(
        group_id=group.rows[0].task_id,
        worst_kind=group.rows[0].kind,
        count=len(group.rows),
        expected_harm=sum(row.harm for row in group.rows),
        person_ids=tuple(sorted(group.persons)),
        tasks=tell_tasks(tx, group.rows[:MOST_IN_GROUP], now, by),
    )


@dataclass(frozen=True, slots=True)
class Claimed:
    """Tasks that a reader now holds, and those that another does."""

    tasks: tuple[Task, ...]
    held_by_others: tuple[int, ...]


def claim_group(mpi: Mpi, task_id: int, by: Principal) -> Claimed:
    """Claim the open tasks of a task's group, but for what others hold, in one transaction.

    Raises:
        NotFound: ``task-unknown``. Conflict: ``task-not-open``. Unavailable: ``linking-busy``.
    """

    def take(tx: Connection) -> Claimed:
        now = mpi.clock.now()
        row = read_row(tx, task_id, by)
        if row.state != "open":
            raise Conflict("task-not-open", ids={"task_id": str(task_id), "version": str(row.version)})
        numbers = {task_id}
        for group in _around(tx, row, Wanted(now, protected=protected_for(by))):
            numbers |= {one.task_id for one in group.rows[:MOST_IN_GROUP]}
        held = task_store.lock_tasks(tx, numbers)
        mine, others = [], []
        for one in held:
            if one.state != "open":
                continue
            if holder_of(one, now) in (None, by.id):
                mine.append(take_claim(tx, mpi, one, by))
            else:
                others.append(one.task_id)
        return Claimed(tuple(mine), tuple(others))

    return taken_again(mpi, take)


def _around(tx: Connection, row: TaskRow, everything: Wanted) -> Iterable[_Group]:
    """Return the group that a task is of, whichever is its first."""
    rows: dict[int, TaskRow] = {row.task_id: row}
    while True:
        persons = _persons_of(tx, list(rows.values()))
        asked = {one for number, some in persons.items() if not rows[number].is_sample for one in some}
        about = queue_store.tasks_about(tx, asked) - rows.keys()
        told = task_store.read_tasks(tx, about, with_protected=everything.protected == "among")
        fresh = [one for one in told if _is_shown(one, everything.now)]
        if not fresh:
            return _groups(tx, list(rows.values()), everything).values()
        rows |= {one.task_id: one for one in fresh}


# Putting off, handing on ---------------------------------------------------------------------------------------------


def defer_task(
    mpi: Mpi,
    task_id: int,
    by: Principal,
    *,
    until: datetime,
    reason: str,
    comment: str | None = None,
    if_match: int | None = None,
) -> Task:
    """Put a task off: until then, or until there is new evidence, it is not listed among the open ones nor given to anyone.

    It stays open all the same, and goes on binding whom it binds.

    Raises:
        Invalid: ``reason-unknown``, ``comment-missing``, ``until-range`` and as ``comment_task``.
        NotFound, Conflict: as ``claim_task``.
    """
    _check_reason(reason, DEFERRAL_REASONS, comment)
    now = mpi.clock.now()
    if not now < until <= now + LATEST:
        raise Invalid("until-range", field="until", detail="Later than now, and within a year.")

    def take(tx: Connection) -> Task:
        row = _held_open(tx, mpi, task_id, by, if_match)
        queue_store.undo_acts(tx, task_id, "deferred", by.id, now)
        queue_store.insert_act(tx, task_id, "deferred", by.id, now, reason=reason, until=until)
        _say(tx, task_id, by, comment, now)
        free = {"claimed_by": None, "claimed_until": None, "changed_at": now}
        return set_task(tx, mpi, row, by, "task-deferred", reason, deferred_until=until, **free)

    return taken_again(mpi, take)


def resume_task(mpi: Mpi, task_id: int, by: Principal, *, if_match: int | None = None) -> Task:
    """Take a deferral back.

    Raises:
        NotFound, Conflict: as ``claim_task``; ``task-not-deferred``.
    """

    def take(tx: Connection) -> Task:
        row = _held_open(tx, mpi, task_id, by, if_match)
        now = mpi.clock.now()
        if row.deferred_until is None or row.deferred_until <= now:
            raise Conflict("task-not-deferred", ids={"task_id": str(task_id)})
        queue_store.undo_acts(tx, task_id, "deferred", by.id, now)
        return set_task(tx, mpi, row, by, "task-resumed", deferred_until=None, changed_at=now)

    return taken_again(mpi, take)


def escalate_task(
    mpi: Mpi,
    task_id: int,
    by: Principal,
    *,
    to: str,
    reason: str,
    comment: str | None = None,
    if_match: int | None = None,
) -> Task:
    """Hand a task on to the regional team or a privacy officer, whatever organisation it was routed to.

    Raises:
        Invalid: ``team-unknown``, ``reason-unknown``, ``comment-missing`` and as ``comment_task``.
        NotFound, Conflict: as ``claim_task``; ``task-escalated`` to that team already.
    """
    if to not in TEAMS:
        raise Invalid("team-unknown", field="to")
    _check_reason(reason, ESCALATION_REASONS, comment)

    def take(tx: Connection) -> Task:
        row = _held_open(tx, mpi, task_id, by, if_match)
        now = mpi.clock.now()
        if row.escalated_to == to:
            raise Conflict("task-escalated", ids={"task_id": str(task_id)})
        queue_store.undo_acts(tx, task_id, "escalated", by.id, now)
        queue_store.insert_act(tx, task_id, "escalated", by.id, now, reason=reason, target=to)
        _say(tx, task_id, by, comment, now)
        moved = {"escalated_to": to, "routed_to": to, "deferred_until": None}
        free = {"claimed_by": None, "claimed_until": None, "changed_at": now}
        return set_task(tx, mpi, row, by, "task-escalated", reason, to, **moved, **free)

    return taken_again(mpi, take)


def give_back_task(
    mpi: Mpi, task_id: int, by: Principal, *, comment: str | None = None, if_match: int | None = None
) -> Task:
    """Take an escalation back: the task goes to whom it would have gone without it.

    Raises:
        Invalid: as ``comment_task``. Forbidden: ``scope-missing``.
        NotFound, Conflict: as ``claim_task``; ``task-not-escalated``.
    """
    check_comment(comment)

    def take(tx: Connection) -> Task:
        row = _held_open(tx, mpi, task_id, by, if_match)
        check_may_work(row, by)
        now = mpi.clock.now()
        if row.escalated_to is None:
            raise Conflict("task-not-escalated", ids={"task_id": str(task_id)})
        queue_store.undo_acts(tx, task_id, "escalated", by.id, now)
        _say(tx, task_id, by, comment, now)
        set_task(tx, mpi, row, by, "task-given-back", escalated_to=None, changed_at=now)
        place_tasks(tx, mpi.at(tx), [task_id], now)
        return read_back(tx, mpi, task_id, by)

    return taken_again(mpi, take)


def _check_reason(reason: str, known: Collection[str], comment: str | None) -> None:
    if reason not in known:
        raise Invalid("reason-unknown", field="reason")
    if reason == "other" and not (comment and comment.strip()):
        raise Invalid("comment-missing", field="comment")
    check_comment(comment)


def _held_open(tx: Connection, mpi: Mpi, task_id: int, by: Principal, if_match: int | None) -> TaskRow:
    held = task_store.lock_tasks(tx, [task_id], with_protected=sees_protected(by))
    if not held:
        raise NotFound("task-unknown", ids={"task_id": str(task_id)})
    check_free(held[0], mpi.clock.now(), by, if_match)
    return held[0]


def _say(tx: Connection, task_id: int, by: Principal, comment: str | None, now: datetime) -> None:
    if comment and comment.strip():
        task_store.insert_comment(tx, new_id(), task_id, by.id, comment, now)


# The worker's part ---------------------------------------------------------------------------------------------------


def tend_queue(mpi: Mpi, limit: int = 500) -> int:
    """Place tasks that wait for it and note leases that ran out; return how many tasks were placed.

    Without a readable match model tasks keep the place that they have.
    """
    now = mpi.clock.now()
    with mpi.db.read() as tx:
        is_due = queue_store.has_expired_leases(tx, now)
    if is_due:
        with mpi.db.write() as tx:
            queue_store.expire_leases(tx, now, limit)
    try:
        return place_waiting(mpi, limit)
    except Unavailable:
        return 0
