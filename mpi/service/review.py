"""The review queue: tasks are listed, claimed for a while, decided with a reason, and every decision can be undone."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection

from foundation.auth.roles import OWN_QUEUE_ROLES, PRIVACY_ROLES
from foundation.comments import check_comment
from foundation.errors import Conflict, Forbidden, Invalid, NotFound
from foundation.ids import new_id
from foundation.principal import Principal
from mpi.matching import veto
from mpi.matching.explain import REASONS as WORDS_OF
from mpi.matching.harm import PRIVACY_OFFICER, REGIONAL_TEAM, TEAMS
from mpi.matching.questions import WHETHER_ONE, WHETHER_TWO, Kind
from mpi.service import samples, trail
from mpi.service.context import Mpi
from mpi.service.evidence import Pair, edge_row, weigh_pair
from mpi.service.fold import (
    keep_numbers,
    note_demographics,
    protects,
    put_current,
    read_unread,
    standing_record,
    traced_columns,
)
from mpi.service.link import Change, Linked, Moved, link_in, repartition, taken_again
from mpi.service.numbers import form_of
from mpi.store import graph as graph_store
from mpi.store import queue as queue_store
from mpi.store import records as record_store
from mpi.store import tasks as task_store
from mpi.store.graph import DecisionRow, EdgeRow
from mpi.store.records import RecordRow
from mpi.store.tasks import CommentRow, TaskRow, Wanted

Verdict = Literal["same", "different", "not-enough"]
VERDICTS: tuple[Verdict, ...] = ("same", "different", "not-enough")

LEASE = timedelta(minutes=30)

REASONS = (
    "source-confirmed",
    "patient-confirmed",
    "documents-seen",
    "number-wrong",
    "clerical-error",
    "name-changed",
    "moved-home",
    "twins",
    "relatives",
    "same-name-only",
    "insufficient-evidence",
    "other",
)
"""Why someone decided as they did; ``other`` needs a comment."""


@dataclass(frozen=True, slots=True)
class FieldReason:
    """What an edge says of one field: agree, close, differ or missing, never a value."""

    field: str
    reason: str
    weight_millibits: int | None


@dataclass(frozen=True, slots=True)
class TaskEdge:
    """One pair of records behind a task. Where a location is protected, neither weight nor reasons know of it.

    Of a possible match no weight is told, nor whether the pair would link: see ``Task``.
    """

    low_id: int
    high_id: int
    weight_millibits: int | None
    may_link: bool | None
    conflict: str | None
    reasons: tuple[FieldReason, ...]


@dataclass(frozen=True, slots=True)
class TaskSide:
    """The records of one side and the persons that hold them now."""

    record_ids: tuple[int, ...]
    person_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Comment:
    author: str
    comment: str = field(repr=False)
    written_at: datetime


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision as its readers see it."""

    decision_id: int
    verdict: str
    state: str
    reason: str
    comment: str | None = field(repr=False)
    decided_by: str
    decided_at: datetime
    seconded_by: str | None
    undone_by: str | None
    undone_at: datetime | None


@dataclass(frozen=True, slots=True)
class Task:
    """A question for people.

    ``version`` is the ETag. ``weight_millibits`` is None where it would tell of a protected location, and of every possible match: what the
    model thinks is not told to who is asked. ``expected_harm`` is its place within its kind, in thousandths of a wrong view to come.
    ``routed_to`` is a team, or an organisation that the reader may act for; None is another one, whose name would tell who knows someone.
    """

    task_id: int
    kind: str
    state: str
    version: int
    reason: str
    weight_millibits: int | None
    is_binding: bool
    opened_at: datetime
    changed_at: datetime
    claimed_by: str | None
    claimed_until: datetime | None
    sides: tuple[tuple[int, ...], ...]
    expected_harm: int
    routed_to: str | None
    escalated_to: str | None
    deferred_until: datetime | None


@dataclass(frozen=True, slots=True)
class Act:
    """What was done with a task beside deciding it: ``deferred`` until when, ``escalated`` to whom, or a lease that ran out."""

    act: str
    reason: str | None
    until: datetime | None
    target: str | None
    done_by: str
    done_at: datetime
    undone_by: str | None
    undone_at: datetime | None


@dataclass(frozen=True, slots=True)
class TaskDetail:
    """A task with what a reader needs: sides, edges field by field, comments and decisions."""

    task: Task
    sides: tuple[TaskSide, ...]
    edges: tuple[TaskEdge, ...]
    comments: tuple[Comment, ...]
    decisions: tuple[Decided, ...]
    acts: tuple[Act, ...]
    needs_second_reader: bool


Cursor = task_store.Place


@dataclass(frozen=True, slots=True)
class TaskPage:
    """A page of the queue; ``next`` is where the following one starts, None at the end."""

    tasks: tuple[Task, ...]
    next: Cursor | None


@dataclass(frozen=True, slots=True)
class TaskOutcome:
    """What a decision or its undoing came to.

    ``decided``: it stands. ``second-reader``: another reader must say *same* too. ``disagreed``: the second one did not, and the task
    stays open. ``refused``: it stands, but a veto still keeps the sides apart. ``undone``: what stood without it stands again.
    """

    task: Task
    outcome: Literal["decided", "second-reader", "disagreed", "refused", "undone"]
    decision_id: int


# Reading -------------------------------------------------------------------------------------------------------------


EVERYTHING, OWN = "*", "own"
"""Said in place of an organisation or a team: the whole queue, and what the reader's own organisations can mend."""


def begins_with(by: Principal) -> str:
    """Return whose tasks a reader begins with, where they do not say.

    Those who look after one organisation's records: what it can mend. Privacy officers: what was handed on to them. All others: all.
    """
    if by.role in OWN_QUEUE_ROLES:
        return OWN
    return PRIVACY_OFFICER if by.role in PRIVACY_ROLES else EVERYTHING


def routes_for(by: Principal, asked: str | None) -> frozenset[str] | None:
    """Return the routes of the queue that a reader asks for; None is all of them.

    The whole queue and a team's tasks are anyone's to see. But by an organisation that a reader may not act for nobody may sort: it would
    tell whom that one knows.

    Raises:
        Forbidden: ``organisation-not-yours``.
    """
    if asked in (None, EVERYTHING):
        return None
    if asked == OWN:
        return frozenset({by.organisation, *by.organisations}) - {EVERYTHING}
    if asked not in TEAMS and not by.may_act_for(asked):
        raise Forbidden("organisation-not-yours", field="for")
    return frozenset({asked})


SEES_PROTECTED = "restricted:read"


def sees_protected(by: Principal) -> bool:
    """Whether someone is told of tasks about people whose location is protected. To all others they are not there."""
    return SEES_PROTECTED in by.scopes


def protected_for(by: Principal, *, only: bool = False) -> Literal["among", "none", "only"]:
    """Return which tasks about people whose location is protected a reader is told of.

    Args:
        only: whether the reader asks for these alone.

    Raises:
        Forbidden: ``scope-missing``.
    """
    if only and not sees_protected(by):
        raise Forbidden("scope-missing", ids={"scope": SEES_PROTECTED})
    return "only" if only else "among" if sees_protected(by) else "none"


def check_kind(kind: str | None) -> None:
    if kind is not None and kind not in {one.value for one in Kind}:
        raise Invalid("task-kind-unknown", field="kind")


def list_tasks(
    mpi: Mpi,
    by: Principal,
    *,
    limit: int = 50,
    after: Cursor | None = None,
    kind: str | None = None,
    view: str = "open",
    for_whom: str | None = None,
    only_protected: bool = False,
    only_mine: bool = False,
    older_than: timedelta | None = None,
    sort: str = "worst",
) -> TaskPage:
    """Return a page of the queue: worst type first, then by expected harm, then the oldest; or sorted otherwise.

    Tasks about people whose location is protected are listed to who has the scope for it alone.

    Args:
        view: ``open`` leaves out what is put off until later; ``deferred`` is that; ``escalated``, ``decided``, ``closed``.
        for_whom: as ``routes_for``.
        only_protected: those about people whose location is protected, and no other.
        only_mine: those that the reader holds.
        older_than: those that have been open for longer.
        sort: ``worst`` is the queue's own order; ``oldest``, ``newest``; ``harm`` is by expected harm whatever the type.

    Raises:
        Invalid: ``task-kind-unknown``, ``sort-unknown``. Forbidden: ``organisation-not-yours``, ``scope-missing``.
    """
    if sort not in task_store.SORTS:
        raise Invalid("sort-unknown", field="sort")
    now = mpi.clock.now()
    wanted = _wanted(now, by, view, kind, for_whom, only_protected, only_mine, older_than)
    with mpi.db.read() as tx:
        rows = task_store.list_tasks(tx, wanted, limit=limit + 1, after=after, sort=sort)
        page = rows[:limit]
        tasks = tell_tasks(tx, page, now, by)
    last = page[-1] if len(rows) > limit else None
    return TaskPage(tasks, task_store.place_of(last) if last is not None else None)


def count_tasks(
    mpi: Mpi,
    by: Principal,
    *,
    kind: str | None = None,
    view: str = "open",
    for_whom: str | None = None,
    only_protected: bool = False,
    only_mine: bool = False,
    older_than: timedelta | None = None,
) -> Mapping[str, int]:
    """Return how many tasks a list has, by kind; arguments and errors as of ``list_tasks``."""
    wanted = _wanted(mpi.clock.now(), by, view, kind, for_whom, only_protected, only_mine, older_than)
    with mpi.db.read() as tx:
        return task_store.count_tasks(tx, wanted)


def _wanted(
    now: datetime,
    by: Principal,
    view: str,
    kind: str | None,
    for_whom: str | None,
    only_protected: bool,
    only_mine: bool,
    older_than: timedelta | None,
) -> Wanted:
    check_kind(kind)
    return Wanted(
        now,
        view,
        kind,
        routes_for(by, for_whom),
        protected=protected_for(by, only=only_protected),
        held_by=by.id if only_mine else None,
        opened_before=None if older_than is None else now - older_than,
    )


def tell_tasks(tx: Connection, rows: Sequence[TaskRow], now: datetime, by: Principal) -> tuple[Task, ...]:
    """Return tasks as this reader may be told of them."""
    protected = _protected(tx, rows)
    return tuple(_task(row, now, protected, by) for row in rows)


def get_task(mpi: Mpi, task_id: int, by: Principal) -> TaskDetail:
    """Return a task with its evidence.

    While it waits for a second reader, all others but the first are shown nothing of what that one said: they read it for themselves.

    Raises:
        NotFound: ``task-unknown``.
    """
    with mpi.db.read() as tx:
        mpi = mpi.at(tx)
        row = read_row(tx, task_id, by)
        members = sorted({number for side in row.sides for number in side})
        records = record_store.read_records(tx, members)
        edges = graph_store.read_edges(tx, members)
        comments = task_store.read_comments(tx, task_id)
        every_decision = _read_decisions(tx, row)
        acts = queue_store.read_acts(tx, task_id)
        protected = _protected(tx, [row])
        if row.is_sample:
            edges = samples.edge_of(tx, mpi, row, records)
    decisions, comments = _blind(row, every_decision, comments, by)
    inside = set(members)
    edges = {pair: edge for pair, edge in edges.items() if inside.issuperset(pair)}
    if not row.is_sample:
        edges = without_location(mpi, edges, records, protected)
    is_weighed = row.kind != Kind.POSSIBLE.value
    return TaskDetail(
        task=_task(row, mpi.clock.now(), protected, by),
        sides=tuple(_side(row, side, records) for side in row.sides),
        edges=tuple(_edge(pair, edge, is_weighed) for pair, edge in sorted(edges.items())),
        comments=tuple(Comment(one.author, one.comment, one.written_at) for one in comments),
        decisions=tuple(_decided(one) for one in decisions),
        acts=tuple(
            Act(
                one.act,
                one.reason,
                one.until,
                one.target,
                one.done_by,
                one.done_at,
                one.undone_by,
                one.undone_at,
            )
            for one in acts
        ),
        needs_second_reader=any(one.state == "proposed" for one in every_decision),
    )


def _blind(
    row: TaskRow, decisions: list[DecisionRow], comments: list[CommentRow], by: Principal
) -> tuple[list[DecisionRow], list[CommentRow]]:
    """Leave out what the first reader said, for everyone else, while a second one is waited for; not why somebody asked by hand."""
    first = next((one.decided_by for one in decisions if one.state == "proposed"), None)
    if first in (None, by.id):
        return decisions, comments
    asked = comments[:1] if row.kind == Kind.ASKED.value else []
    kept = [one for place, one in enumerate(comments) if one.author != first or (asked and not place)]
    return [one for one in decisions if one.state != "proposed"], kept


def _edge(pair: Pair, edge: EdgeRow, is_weighed: bool) -> TaskEdge:
    reasons = field_reasons(edge.parts)
    if is_weighed:
        return TaskEdge(*pair, edge.weight_millibits, edge.may_link, edge.conflict, reasons)
    blind = tuple(replace(one, weight_millibits=None) for one in reasons)
    return TaskEdge(*pair, None, None, edge.conflict, blind)


def read_row(tx: Connection, task_id: int, by: Principal | None = None) -> TaskRow:
    """Return a task.

    Args:
        by: who wants to be told of it; None to go on with one that this act was begun with.

    Raises:
        NotFound: ``task-unknown``, for one about people whose location is protected as well, where the reader may not see those.
    """
    row = task_store.read_task(tx, task_id, with_protected=by is None or sees_protected(by))
    if row is None:
        raise NotFound("task-unknown", ids={"task_id": str(task_id)})
    return row


def _protected(tx: Connection, rows: Sequence[TaskRow]) -> frozenset[int]:
    """Return the records that these tasks name and whose location nobody is told, not even by what a likeness weighs."""
    return record_store.protected_records(
        tx, {number for row in rows for side in row.sides for number in side}
    )


def read_back(tx: Connection, mpi: Mpi, task_id: int, by: Principal) -> Task:
    (task,) = tell_tasks(tx, [read_row(tx, task_id)], mpi.clock.now(), by)
    return task


def holder_of(row: TaskRow, now: datetime) -> str | None:
    """Return whose a task is by a lease that has not run out."""
    return row.claimed_by if row.claimed_until is not None and row.claimed_until > now else None


def _task(row: TaskRow, now: datetime, protected: frozenset[int], by: Principal) -> Task:
    is_hidden = any(not protected.isdisjoint(side) for side in row.sides)
    is_claimed = holder_of(row, now) is not None
    may_see_route = row.routed_to in TEAMS or by.may_act_for(row.routed_to)
    is_deferred = row.deferred_until is not None and row.deferred_until > now
    return Task(
        task_id=row.task_id,
        kind=row.kind,
        state=row.state,
        version=row.version,
        reason=row.reason,
        weight_millibits=None if is_hidden or row.kind == Kind.POSSIBLE.value else row.weight_millibits,
        is_binding=row.is_binding or row.is_sample,
        opened_at=row.opened_at,
        changed_at=row.changed_at,
        claimed_by=row.claimed_by if is_claimed else None,
        claimed_until=row.claimed_until if is_claimed else None,
        sides=tuple(tuple(sorted(side)) for side in row.sides),
        expected_harm=row.harm,
        routed_to=row.routed_to if may_see_route else None,
        escalated_to=row.escalated_to,
        deferred_until=row.deferred_until if is_deferred else None,
    )


def _side(row: TaskRow, side: Collection[int], records: Mapping[int, RecordRow]) -> TaskSide:
    if row.is_sample:
        # The id that each side would bear, were they two persons; any id of a record leads to its person.
        return TaskSide(tuple(sorted(side)), (min(side),))
    persons = {records[number].person_id for number in side if number in records}
    return TaskSide(tuple(sorted(side)), tuple(sorted(person for person in persons if person is not None)))


_REASON_OF = {level: reason for reason, levels in WORDS_OF.items() for level in levels}


def field_reasons(parts: str) -> tuple[FieldReason, ...]:
    """Read an edge's parts as reasons; the prior and the frequency of names stay inside."""
    return tuple(
        FieldReason(name, _REASON_OF[level], weight)
        for name, level, weight in json.loads(parts)
        if level in _REASON_OF
    )


def without_location(
    mpi: Mpi, edges: Mapping[Pair, EdgeRow], rows: Mapping[int, RecordRow], protected: Collection[int]
) -> dict[Pair, EdgeRow]:
    """Return edges as they may be told: one at a protected record is weighed again as if neither side had told where anyone lives.

    Leaving parts out of the stored weight would not do: where two people live also decides which rival explanation it is against.
    """
    told = dict(edges)
    for pair in edges:
        if (pair[0] in protected or pair[1] in protected) and pair[0] in rows and pair[1] in rows:
            one, other = (mpi.forms.of(rows[number]).without_location() for number in pair)
            told[pair] = edge_row(pair, weigh_pair(one, other, mpi.model), mpi.model)
    return told


def _read_decisions(tx: Connection, row: TaskRow) -> list[DecisionRow]:
    """Return what was decided on a task, what was undone too."""
    if row.is_sample:
        return samples.read_answers(tx, row)
    return graph_store.read_task_decisions(tx, row.task_id)


def _decided(row: DecisionRow) -> Decided:
    return Decided(
        row.decision_id,
        row.verdict,
        row.state,
        row.reason,
        row.comment,
        row.decided_by,
        row.decided_at,
        row.seconded_by,
        row.undone_by,
        row.undone_at,
    )


# Claims --------------------------------------------------------------------------------------------------------------


def claim_task(mpi: Mpi, task_id: int, by: Principal, *, if_match: int | None = None) -> Task:
    """Take a task for half an hour, so that two people do not read the same one. The holder renews the half hour by taking it again.

    Raises:
        NotFound: ``task-unknown``.
        Conflict: ``task-stale``, ``task-not-open``, or ``task-claimed`` by someone else.
    """

    def take(tx: Connection) -> Task:
        return take_claim(tx, mpi, _open(tx, mpi, task_id, by, if_match), by)

    return taken_again(mpi, take)


def take_claim(tx: Connection, mpi: Mpi, row: TaskRow, by: Principal) -> Task:
    """Let a reader hold a task whose row this transaction holds; a lease of another that ran out is noted."""
    now = mpi.clock.now()
    if row.claimed_by is not None and row.claimed_by != by.id:
        queue_store.insert_act(tx, row.task_id, "lease-expired", row.claimed_by, row.claimed_until or now)
    return set_task(
        tx, mpi, row, by, "task-claimed", claimed_by=by.id, claimed_until=now + LEASE, changed_at=now
    )


def release_task(mpi: Mpi, task_id: int, by: Principal, *, if_match: int | None = None) -> Task:
    """Give a claimed task back.

    Raises:
        NotFound, Conflict: as ``claim_task``; ``task-not-claimed`` where there is nothing to give back.
    """

    def take(tx: Connection) -> Task:
        row = _open(tx, mpi, task_id, by, if_match)
        now = mpi.clock.now()
        if holder_of(row, now) is None:
            raise Conflict("task-not-claimed", ids={"task_id": str(task_id)})
        return set_task(
            tx, mpi, row, by, "task-released", claimed_by=None, claimed_until=None, changed_at=now
        )

    return taken_again(mpi, take)


def comment_task(mpi: Mpi, task_id: int, by: Principal, comment: str) -> None:
    """Leave a comment on a task.

    Raises:
        Invalid: ``comment-empty``, ``text-too-long`` or ``control-character``.
        NotFound: ``task-unknown``. Forbidden: ``scope-missing``.
    """
    if not comment.strip():
        raise Invalid("comment-empty", field="comment")
    check_comment(comment)
    with mpi.db.write() as tx:
        check_may_work(read_row(tx, task_id, by), by)
        task_store.insert_comment(tx, new_id(), task_id, by.id, comment, mpi.clock.now())
        trail.note(tx, by, mpi.clock.now(), "task-commented", detail={"task_id": str(task_id)})


def check_may_work(row: TaskRow, by: Principal) -> None:
    """See that someone may say something of a task: who works the queue, and a privacy officer of what was handed on to them.

    Raises:
        Forbidden: ``scope-missing``.
    """
    is_advice = row.escalated_to == PRIVACY_OFFICER and "tasks:advise" in by.scopes
    if "tasks:work" not in by.scopes and not is_advice:
        raise Forbidden("scope-missing", detail="Needs the scope tasks:work.")


def _open(tx: Connection, mpi: Mpi, task_id: int, by: Principal, if_match: int | None) -> TaskRow:
    row = task_store.read_task(tx, task_id, for_update=True, with_protected=sees_protected(by))
    if row is None:
        raise NotFound("task-unknown", ids={"task_id": str(task_id)})
    check_free(row, mpi.clock.now(), by, if_match)
    return row


def check_free(row: TaskRow, now: datetime, by: Principal, if_match: int | None) -> None:
    ids = {"task_id": str(row.task_id), "version": str(row.version)}
    if if_match is not None and row.version != if_match:
        raise Conflict("task-stale", ids=ids)
    if row.state != "open":
        raise Conflict("task-not-open", ids=ids)
    holder = holder_of(row, now)
    if holder is not None and holder != by.id:
        raise Conflict("task-claimed", ids=ids)


def hold_row(tx: Connection, row: TaskRow) -> None:
    """Hold a task's row; what was read before must still be so.

    Raises:
        Moved: someone else changed the task meanwhile.
    """
    held = task_store.read_task(tx, row.task_id, for_update=True)
    if held is None or held.version != row.version:
        raise Moved


def set_task(
    tx: Connection, mpi: Mpi, row: TaskRow, by: Principal, kind: str, *reasons: str, **values: Any
) -> Task:
    """Set columns of a task whose row this transaction holds, with an audit row of this kind."""
    task_store.update_task(tx, row.task_id, {**values, "version": row.version + 1})
    trail.note(tx, by, mpi.clock.now(), kind, *reasons, detail={"task_id": str(row.task_id)})
    return read_back(tx, mpi, row.task_id, by)


# Decisions -----------------------------------------------------------------------------------------------------------


def decide_task(
    mpi: Mpi,
    task_id: int,
    by: Principal,
    *,
    verdict: Verdict,
    reason: str,
    comment: str | None = None,
    if_match: int | None = None,
    also: Callable[[Connection, TaskOutcome], None] = lambda _tx, _outcome: None,
) -> TaskOutcome:
    """Answer a task: *same* joins its sides, *different* keeps every cross pair apart, *not-enough* asks again only with new evidence.

    Of a held update, *same* lets it stand and *different* rejects it. What ``needs_second`` names waits for a second reader; two who
    disagree hand the task on to the regional team. An answer to a sample changes nothing in the index.

    Args:
        also: what is to be written in the same transaction.

    Raises:
        Invalid: ``verdict-unknown``, ``verdict-not-applicable``, ``reason-unknown``, ``comment-missing``, ``text-too-long``,
            ``control-character``.
        NotFound: ``task-unknown``.
        Conflict: ``task-stale``, ``task-not-open``, ``task-claimed``, ``record-withdrawn``, or ``second-reader-same`` for the first
            reader's own second.
        Forbidden: ``reader-not-a-person`` where two readers are needed.
    """
    check_answer(verdict, reason, comment)

    def take(tx: Connection) -> TaskOutcome:
        outcome = decide(tx)
        also(tx, outcome)
        return outcome

    def decide(tx: Connection) -> TaskOutcome:
        index = mpi.at(tx)
        row = read_row(tx, task_id, by)
        check_free(row, mpi.clock.now(), by, if_match)
        refuse_withdrawn(tx, row)
        if is_out_of_place(row, verdict):
            raise Invalid("verdict-not-applicable", field="verdict")
        if row.is_sample:
            hold_row(tx, row)
            decision_id = samples.answer(tx, index, row, by, verdict, reason, comment)
            return TaskOutcome(read_back(tx, mpi, task_id, by), "decided", decision_id)
        proposal = next(
            (one for one in graph_store.read_task_decisions(tx, task_id) if one.state == "proposed"), None
        )
        if proposal is not None:
            return _second(tx, index, row, proposal, by, verdict, comment)
        is_first = needs_second(tx, index, row, verdict)
        if is_first:
            _check_reader(by)
        state = "proposed" if is_first else "standing"
        decision_id = _insert(tx, mpi, row, by, verdict, reason, comment, state)
        if is_first:
            hold_row(tx, row)
            task = set_task(
                tx,
                mpi,
                row,
                by,
                "task-proposed",
                claimed_by=None,
                claimed_until=None,
                changed_at=mpi.clock.now(),
            )
            return TaskOutcome(task, "second-reader", decision_id)
        return _apply(tx, index, row, by, decision_id, verdict)

    outcome = taken_again(mpi, take)
    mpi.bell.ring("outbox")
    return outcome


def undo_decision(
    mpi: Mpi,
    task_id: int,
    by: Principal,
    *,
    comment: str | None = None,
    if_match: int | None = None,
    decision_id: int | None = None,
) -> TaskOutcome:
    """Take back the decision on a task: groups, tasks and id resolution stand as they would without it. Epochs still rise.

    Args:
        decision_id: only this one.

    Raises:
        NotFound: ``task-unknown``.
        Conflict: ``task-stale``, ``task-not-decided`` where no decision stands, ``task-decided-since`` where it is another one,
            ``record-withdrawn``.
    """
    check_comment(comment)

    def take(tx: Connection) -> TaskOutcome:
        index = mpi.at(tx)
        row = read_row(tx, task_id, by)
        if if_match is not None and row.version != if_match:
            raise Conflict("task-stale", ids={"task_id": str(task_id), "version": str(row.version)})
        live = [one for one in _read_decisions(tx, row) if one.state in ("standing", "proposed")]
        if not live:
            raise Conflict("task-not-decided", ids={"task_id": str(task_id)})
        if decision_id not in (None, live[-1].decision_id):
            raise Conflict("task-decided-since", ids={"task_id": str(task_id)})
        if row.is_sample:
            hold_row(tx, row)
            answer_id = samples.take_back(tx, index, row, by, comment)
            return TaskOutcome(read_back(tx, mpi, task_id, by), "undone", answer_id)
        decision = live[-1]
        refuse_withdrawn(tx, row)
        now = mpi.clock.now()
        graph_store.update_decision(tx, decision.decision_id, state="undone", undone_by=by.id, undone_at=now)
        if comment:
            task_store.insert_comment(tx, new_id(), task_id, by.id, comment, now)
        _audit(tx, mpi, by, "decision-undone", row, decision.decision_id, decision.verdict)
        if decision.state == "standing":
            change = Change("decision-undone", by, decision.decision_id, row, answers=False)
            if row.kind == Kind.OVERLAY.value:
                _hold_again(tx, index, decision, by)
            _repartition(tx, index, row, change)
            task = read_back(tx, mpi, task_id, by)
        else:
            hold_row(tx, row)
            values = {"state": "closed"} if samples.is_moot(tx, row) else {}
            task = set_task(tx, mpi, row, by, "task-proposal-undone", changed_at=now, **values)
            if values:
                trail.task_events(tx, {task_id: (row.kind, "closed")})
        return TaskOutcome(task, "undone", decision.decision_id)

    outcome = taken_again(mpi, take)
    mpi.bell.ring("outbox")
    return outcome


def check_answer(verdict: str, reason: str, comment: str | None) -> None:
    if verdict not in VERDICTS:
        raise Invalid("verdict-unknown", field="verdict")
    if reason not in REASONS:
        raise Invalid("reason-unknown", field="reason")
    if reason == "other" and not (comment and comment.strip()):
        raise Invalid("comment-missing", field="comment")
    check_comment(comment)


def _check_reader(by: Principal) -> None:
    """Two readers are two people: a system's word is that of whoever is behind it, who may be the other reader."""
    if by.kind != "person":
        raise Forbidden("reader-not-a-person")


def refuse_withdrawn(tx: Connection, row: TaskRow) -> None:
    """See that there is a record in force for an answer to take effect on: of a held update its own, else any that the task names.

    Raises:
        Conflict: ``record-withdrawn``: it can be answered when the record is restored.
    """
    named = {min(row.sides[0])} if row.kind == Kind.OVERLAY.value else frozenset().union(*row.sides)
    if all(one.state != "active" for one in record_store.read_records(tx, named).values()):
        raise Conflict("record-withdrawn", ids={"task_id": str(row.task_id)})


def answers_to(task: TaskRow | Task) -> tuple[Verdict, ...]:
    """Return the answers that a task takes."""
    return tuple(verdict for verdict in VERDICTS if not is_out_of_place(task, verdict))


def is_out_of_place(row: TaskRow | Task, verdict: Verdict) -> bool:
    """One group cannot be told apart from itself; and a held update stays a question until someone can answer it."""
    if row.kind == Kind.OVERLAY.value:
        return verdict == "not-enough"
    return verdict == "different" and len(row.sides) < 2


def _second(
    tx: Connection,
    mpi: Mpi,
    row: TaskRow,
    proposal: DecisionRow,
    by: Principal,
    verdict: Verdict,
    comment: str | None,
) -> TaskOutcome:
    """Take the second reader's word on what the first one proposed."""
    now = mpi.clock.now()
    if proposal.decided_by == by.id:
        raise Conflict("second-reader-same", ids={"task_id": str(row.task_id)})
    _check_reader(by)
    if comment:
        task_store.insert_comment(tx, new_id(), row.task_id, by.id, comment, now)
    if verdict != proposal.verdict:
        hold_row(tx, row)
        graph_store.update_decision(
            tx, proposal.decision_id, state="declined", undone_by=by.id, undone_at=now
        )
        queue_store.insert_act(
            tx, row.task_id, "escalated", by.id, now, reason="readers-disagree", target=REGIONAL_TEAM
        )
        task = set_task(
            tx,
            mpi,
            row,
            by,
            "task-disagreed",
            claimed_by=None,
            claimed_until=None,
            changed_at=now,
            escalated_to=REGIONAL_TEAM,
            routed_to=REGIONAL_TEAM,
        )
        return TaskOutcome(task, "disagreed", proposal.decision_id)
    graph_store.update_decision(tx, proposal.decision_id, state="standing", seconded_by=by.id)
    return _apply(tx, mpi, row, by, proposal.decision_id, verdict)


SECOND_READER: Mapping[str, frozenset[str]] = {
    Kind.IN_DOUBT.value: frozenset({"same", "different"}),
}
"""The answers that need two readers, by kind; beside them every *same* over verified numbers or birth orders that differ."""


_AS_ASKED: Mapping[str, Verdict] = {WHETHER_ONE: "same", WHETHER_TWO: "different"}
"""The answer that changes persons as somebody asked by hand, where the evidence does not."""


def needs_second(tx: Connection, mpi: Mpi, row: TaskRow, verdict: str) -> bool:
    """Whether an answer to a task stands only once a second person gives it too."""
    if verdict in SECOND_READER.get(row.kind, ()) or verdict == _AS_ASKED.get(row.reason):
        return True
    return verdict == "same" and _is_over_veto(tx, mpi, row)


def _is_over_veto(tx: Connection, mpi: Mpi, row: TaskRow) -> bool:
    """Whether verified numbers or birth orders stand between the sides of a task."""
    if len(row.sides) < 2 or row.kind == Kind.OVERLAY.value:
        return False
    records = record_store.read_records(tx, [number for side in row.sides for number in side])
    forms = mpi.forms_of(records.values())
    return any(
        veto(forms[left], forms[right], mpi.model) is not None
        for left in row.sides[0]
        for right in row.sides[1]
        if left in forms and right in forms
    )


def _insert(
    tx: Connection,
    mpi: Mpi,
    row: TaskRow,
    by: Principal,
    verdict: Verdict,
    reason: str,
    comment: str | None,
    state: str,
) -> int:
    decision_id = new_id()
    is_overlay = row.kind == Kind.OVERLAY.value
    evidence: Sequence[Any] = row.evidence
    if is_overlay:
        evidence = [["held", one.record_id, one.version] for one in _held_versions(tx, min(row.sides[0]))]
    left = row.sides[0]
    right = row.sides[1] if len(row.sides) > 1 and not is_overlay else frozenset()
    graph_store.insert_decision(
        tx,
        {
            "decision_id": decision_id,
            "task_id": row.task_id,
            "kind": row.kind,
            "verdict": verdict,
            "state": state,
            "reason": reason,
            "comment": comment,
            "decided_by": by.id,
            "decided_at": mpi.clock.now(),
            "evidence": evidence,
        },
        (left, right),
    )
    return decision_id


def _apply(
    tx: Connection, mpi: Mpi, row: TaskRow, by: Principal, decision_id: int, verdict: Verdict
) -> TaskOutcome:
    """Let a decision take effect: partition what it names again, close its task, leave an audit row."""
    if row.kind == Kind.OVERLAY.value and verdict != "not-enough":
        _let_go(tx, mpi, min(row.sides[0]), by, "accepted" if verdict == "same" else "rejected")
    change = Change("task-decided", by, decision_id, row, answers=True)
    _repartition(tx, mpi, row, change)
    _audit(tx, mpi, by, "task-decided", row, decision_id, verdict)
    task = read_back(tx, mpi, row.task_id, by)
    return TaskOutcome(task, "decided" if task.state == "decided" else "refused", decision_id)


def _repartition(tx: Connection, mpi: Mpi, row: TaskRow, change: Change) -> Linked:
    seeds = frozenset().union(*row.sides)
    if row.kind != Kind.OVERLAY.value:
        return repartition(tx, mpi, seeds, change)
    record_id = min(row.sides[0])
    return link_in(tx, mpi, record_store.read_records(tx, [record_id]), change)


def _audit(
    tx: Connection, mpi: Mpi, by: Principal, kind: str, row: TaskRow, decision_id: int, verdict: str
) -> None:
    detail = {"task_id": str(row.task_id), "decision_id": str(decision_id), "task_kind": row.kind}
    trail.note(tx, by, mpi.clock.now(), kind, verdict, detail=detail)


# Held updates --------------------------------------------------------------------------------------------------------


def _held_versions(tx: Connection, record_id: int) -> list[Any]:
    return [one for one in record_store.read_versions(tx, [record_id])[record_id] if one.state == "held"]


def _let_go(
    tx: Connection, mpi: Mpi, record_id: int, by: Principal, state: Literal["accepted", "rejected"]
) -> None:
    """Accept or reject what is held of a record, and fold its versions again."""
    read_unread(tx, mpi, [record_id])
    held = _held_versions(tx, record_id)
    record_store.set_version_states(tx, record_id, [one.version for one in held], state)
    _fold(tx, mpi, record_id, by, held_version=None)


def _hold_again(tx: Connection, mpi: Mpi, decision: DecisionRow, by: Principal) -> None:
    versions = [item[2] for item in decision.evidence if item[0] == "held"]
    record_id = min(decision.sides[0])
    if decision.verdict == "not-enough" or not versions:
        return
    record_store.set_version_states(tx, record_id, versions, "held")
    held = max(one.version for one in _held_versions(tx, record_id))
    _fold(tx, mpi, record_id, by, held_version=held)


def _fold(tx: Connection, mpi: Mpi, record_id: int, by: Principal, held_version: int | None) -> None:
    """Let the accepted version with the latest source time stand; ties by arrival."""
    record_store.lock_records(tx, [record_id])
    row = record_store.read_records(tx, [record_id])[record_id]
    versions = record_store.read_versions(tx, [record_id])[record_id]
    accepted = [one for one in versions if one.state == "accepted"]
    latest = max(accepted, key=lambda one: (one.source_at, one.version))
    record = standing_record(latest, is_protected=protects(versions))
    keep_numbers(tx, mpi, record_id, versions, by)
    form = form_of(tx, mpi, record)
    stood = next(one for one in versions if one.version == row.current_version)
    note_demographics(tx, row, stood, latest, is_protected=record.restricted is True)
    traced = traced_columns(latest)
    put_current(tx, mpi, row, latest.version, record, form, by, held_version=held_version, **traced)
