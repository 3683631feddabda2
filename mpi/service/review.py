"""The review queue: tasks are listed, claimed for a while, decided with a reason, and every decision can be undone."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection

from foundation.errors import Conflict, Forbidden, Invalid, NotFound
from foundation.ids import new_id
from foundation.principal import Principal
from mpi.matching import veto
from mpi.matching.explain import REASONS as WORDS_OF
from mpi.matching.questions import Kind
from mpi.service import trail
from mpi.service.context import Mpi
from mpi.service.evidence import Pair, edge_row, weigh_pair
from mpi.service.fold import (
    keep_numbers,
    note_demographics,
    protects,
    put_current,
    read_unread,
    standing_record,
)
from mpi.service.link import Change, Linked, Moved, link_in, repartition, taken_again
from mpi.service.numbers import form_of
from mpi.store import graph as graph_store
from mpi.store import records as record_store
from mpi.store import tasks as task_store
from mpi.store.graph import DecisionRow, EdgeRow
from mpi.store.records import RecordRow
from mpi.store.tasks import TaskRow

Verdict = Literal["same", "different", "not-enough"]
VERDICTS: tuple[Verdict, ...] = ("same", "different", "not-enough")

LEASE = timedelta(minutes=30)
MAX_COMMENT = 2_000

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
    weight_millibits: int


@dataclass(frozen=True, slots=True)
class TaskEdge:
    """One pair of records behind a task. Where a location is protected, neither weight nor reasons know of it."""

    low_id: int
    high_id: int
    weight_millibits: int
    may_link: bool
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
    """A question for people. ``version`` is the ETag. ``weight_millibits`` is None as well where the weight would tell of a protected
    location."""

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


@dataclass(frozen=True, slots=True)
class TaskDetail:
    """A task with what a reader needs: sides, edges field by field, comments and decisions."""

    task: Task
    sides: tuple[TaskSide, ...]
    edges: tuple[TaskEdge, ...]
    comments: tuple[Comment, ...]
    decisions: tuple[Decided, ...]
    needs_second_reader: bool


Cursor = tuple[int, datetime, int]


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


def list_tasks(
    mpi: Mpi,
    by: Principal,
    *,
    limit: int = 50,
    after: Cursor | None = None,
    kind: str | None = None,
    states: Collection[str] = ("open",),
) -> TaskPage:
    """Return a page of the queue, worst type first, then the oldest.

    Raises:
        Invalid: ``task-kind-unknown``.
    """
    if kind is not None and kind not in {one.value for one in Kind}:
        raise Invalid("task-kind-unknown", field="kind")
    with mpi.db.read() as tx:
        rows = task_store.list_tasks(tx, limit=limit + 1, after=after, states=states, kind=kind)
        page = rows[:limit]
        protected = _protected(tx, page)
    last = page[-1] if len(rows) > limit else None
    now = mpi.clock.now()
    return TaskPage(
        tuple(_task(row, now, protected) for row in page),
        (last.rank, last.opened_at, last.task_id) if last is not None else None,
    )


def get_task(mpi: Mpi, task_id: int, by: Principal) -> TaskDetail:
    """Return a task with its evidence.

    Raises:
        NotFound: ``task-unknown``.
    """
    with mpi.db.read() as tx:
        mpi = mpi.at(tx)
        row = _read(tx, task_id)
        members = sorted({number for side in row.sides for number in side})
        records = record_store.read_records(tx, members)
        edges = graph_store.read_edges(tx, members)
        comments = task_store.read_comments(tx, task_id)
        decisions = graph_store.read_task_decisions(tx, task_id)
        protected = _protected(tx, [row])
    inside = set(members)
    edges = {pair: edge for pair, edge in edges.items() if inside.issuperset(pair)}
    return TaskDetail(
        task=_task(row, mpi.clock.now(), protected),
        sides=tuple(_side(side, records) for side in row.sides),
        edges=tuple(
            TaskEdge(
                low, high, edge.weight_millibits, edge.may_link, edge.conflict, field_reasons(edge.parts)
            )
            for (low, high), edge in sorted(without_location(mpi, edges, records, protected).items())
        ),
        comments=tuple(Comment(one.author, one.comment, one.written_at) for one in comments),
        decisions=tuple(_decided(one) for one in decisions),
        needs_second_reader=any(one.state == "proposed" for one in decisions),
    )


def _read(tx: Connection, task_id: int) -> TaskRow:
    row = task_store.read_task(tx, task_id)
    if row is None:
        raise NotFound("task-unknown", ids={"task_id": str(task_id)})
    return row


def _protected(tx: Connection, rows: Sequence[TaskRow]) -> frozenset[int]:
    """Return the records that these tasks name and whose location nobody is told, not even by what a likeness weighs."""
    return record_store.protected_records(
        tx, {number for row in rows for side in row.sides for number in side}
    )


def _read_back(tx: Connection, mpi: Mpi, task_id: int) -> Task:
    row = _read(tx, task_id)
    return _task(row, mpi.clock.now(), _protected(tx, [row]))


def _task(row: TaskRow, now: datetime, protected: frozenset[int] = frozenset()) -> Task:
    is_hidden = any(not protected.isdisjoint(side) for side in row.sides)
    is_claimed = row.claimed_until is not None and row.claimed_until > now
    return Task(
        task_id=row.task_id,
        kind=row.kind,
        state=row.state,
        version=row.version,
        reason=row.reason,
        weight_millibits=None if is_hidden else row.weight_millibits,
        is_binding=row.is_binding,
        opened_at=row.opened_at,
        changed_at=row.changed_at,
        claimed_by=row.claimed_by if is_claimed else None,
        claimed_until=row.claimed_until if is_claimed else None,
        sides=tuple(tuple(sorted(side)) for side in row.sides),
    )


def _side(side: Collection[int], records: dict[int, RecordRow]) -> TaskSide:
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
    """Take a task for half an hour, so that two people do not read the same one; the holder may take it again.

    Raises:
        NotFound: ``task-unknown``.
        Conflict: ``task-stale``, ``task-not-open``, or ``task-claimed`` by someone else.
    """

    def take(tx: Connection) -> Task:
        row = _open(tx, mpi, task_id, by, if_match)
        now = mpi.clock.now()
        return _set(
            tx, mpi, row, by, "task-claimed", claimed_by=by.id, claimed_until=now + LEASE, changed_at=now
        )

    return taken_again(mpi, take)


def release_task(mpi: Mpi, task_id: int, by: Principal, *, if_match: int | None = None) -> Task:
    """Give a claimed task back.

    Raises:
        NotFound, Conflict: as ``claim_task``; ``task-not-claimed`` where there is nothing to give back.
    """

    def take(tx: Connection) -> Task:
        row = _open(tx, mpi, task_id, by, if_match)
        now = mpi.clock.now()
        if _task(row, now).claimed_by is None:
            raise Conflict("task-not-claimed", ids={"task_id": str(task_id)})
        return _set(tx, mpi, row, by, "task-released", claimed_by=None, claimed_until=None, changed_at=now)

    return taken_again(mpi, take)


def comment_task(mpi: Mpi, task_id: int, by: Principal, comment: str) -> None:
    """Leave a comment on a task.

    Raises:
        Invalid: ``comment-empty``, ``text-too-long`` or ``control-character``.
        NotFound: ``task-unknown``.
    """
    if not comment.strip():
        raise Invalid("comment-empty", field="comment")
    _check_comment(comment)
    with mpi.db.write() as tx:
        _read(tx, task_id)
        task_store.insert_comment(tx, new_id(), task_id, by.id, comment, mpi.clock.now())
        trail.note(tx, by, mpi.clock.now(), "task-commented", detail={"task_id": str(task_id)})


def _open(tx: Connection, mpi: Mpi, task_id: int, by: Principal, if_match: int | None) -> TaskRow:
    row = task_store.read_task(tx, task_id, for_update=True)
    if row is None:
        raise NotFound("task-unknown", ids={"task_id": str(task_id)})
    _check(row, mpi.clock.now(), by, if_match)
    return row


def _check(row: TaskRow, now: datetime, by: Principal, if_match: int | None) -> None:
    ids = {"task_id": str(row.task_id), "version": str(row.version)}
    if if_match is not None and row.version != if_match:
        raise Conflict("task-stale", ids=ids)
    if row.state != "open":
        raise Conflict("task-not-open", ids=ids)
    holder = _task(row, now).claimed_by
    if holder is not None and holder != by.id:
        raise Conflict("task-claimed", ids=ids)


def _hold(tx: Connection, row: TaskRow) -> None:
    """Hold a task's row; what was read before must still be so.

    Raises:
        Moved: someone else changed the task meanwhile.
    """
    held = task_store.read_task(tx, row.task_id, for_update=True)
    if held is None or held.version != row.version:
        raise Moved


def _set(tx: Connection, mpi: Mpi, row: TaskRow, by: Principal, kind: str, **values: Any) -> Task:
    task_store.update_task(tx, row.task_id, {**values, "version": row.version + 1})
    trail.note(tx, by, mpi.clock.now(), kind, detail={"task_id": str(row.task_id)})
    return _read_back(tx, mpi, row.task_id)


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
) -> TaskOutcome:
    """Answer a task: *same* joins its sides, *different* keeps every cross pair apart, *not-enough* asks again only with new evidence.

    Of a held update, *same* lets it stand and *different* rejects it. A *same* between sides whose verified numbers or birth orders
    differ waits for a second reader.

    Raises:
        Invalid: ``verdict-unknown``, ``verdict-not-applicable``, ``reason-unknown``, ``comment-missing``, ``text-too-long``,
            ``control-character``.
        NotFound: ``task-unknown``.
        Conflict: ``task-stale``, ``task-not-open``, ``task-claimed``, or ``second-reader-same`` for the first reader's own second.
        Forbidden: ``reader-not-a-person`` where two readers are needed.
    """
    _check_answer(by, verdict, reason, comment)

    def take(tx: Connection) -> TaskOutcome:
        index = mpi.at(tx)
        row = _read(tx, task_id)
        _check(row, mpi.clock.now(), by, if_match)
        if _is_out_of_place(row, verdict):
            raise Invalid("verdict-not-applicable", field="verdict")
        proposal = next(
            (one for one in graph_store.read_task_decisions(tx, task_id) if one.state == "proposed"), None
        )
        if proposal is not None:
            return _second(tx, index, row, proposal, by, verdict, comment)
        needs_second = verdict == "same" and _is_over_veto(tx, index, row)
        if needs_second:
            _check_reader(by)
        state = "proposed" if needs_second else "standing"
        decision_id = _insert(tx, mpi, row, by, verdict, reason, comment, state)
        if needs_second:
            _hold(tx, row)
            task = _set(
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
    mpi: Mpi, task_id: int, by: Principal, *, comment: str | None = None, if_match: int | None = None
) -> TaskOutcome:
    """Take back the decision on a task: groups, tasks and id resolution stand as they would without it. Epochs still rise.

    Raises:
        NotFound: ``task-unknown``.
        Conflict: ``task-stale``, or ``task-not-decided`` where no decision stands.
    """
    _check_comment(comment)

    def take(tx: Connection) -> TaskOutcome:
        index = mpi.at(tx)
        row = _read(tx, task_id)
        if if_match is not None and row.version != if_match:
            raise Conflict("task-stale", ids={"task_id": str(task_id), "version": str(row.version)})
        standing = [
            one
            for one in graph_store.read_task_decisions(tx, task_id)
            if one.state in ("standing", "proposed")
        ]
        if not standing:
            raise Conflict("task-not-decided", ids={"task_id": str(task_id)})
        decision = standing[-1]
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
            task = _read_back(tx, mpi, task_id)
        else:
            _hold(tx, row)
            task = _set(tx, mpi, row, by, "task-proposal-undone", changed_at=now)
        return TaskOutcome(task, "undone", decision.decision_id)

    outcome = taken_again(mpi, take)
    mpi.bell.ring("outbox")
    return outcome


def _check_answer(by: Principal, verdict: str, reason: str, comment: str | None) -> None:
    if verdict not in VERDICTS:
        raise Invalid("verdict-unknown", field="verdict")
    if reason not in REASONS:
        raise Invalid("reason-unknown", field="reason")
    if reason == "other" and not (comment and comment.strip()):
        raise Invalid("comment-missing", field="comment")
    _check_comment(comment)


def _check_comment(comment: str | None) -> None:
    if comment is None:
        return
    if len(comment) > MAX_COMMENT:
        raise Invalid("text-too-long", field="comment")
    if any(not character.isprintable() and character not in "\n\t" for character in comment):
        raise Invalid("control-character", field="comment")


def _check_reader(by: Principal) -> None:
    """Two readers are two people: a system's word is that of whoever is behind it, who may be the other reader."""
    if by.kind != "person":
        raise Forbidden("reader-not-a-person")


def _is_out_of_place(row: TaskRow, verdict: Verdict) -> bool:
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
    """Take the second reader's word on a proposed *same*."""
    now = mpi.clock.now()
    if proposal.decided_by == by.id:
        raise Conflict("second-reader-same", ids={"task_id": str(row.task_id)})
    _check_reader(by)
    if comment:
        task_store.insert_comment(tx, new_id(), row.task_id, by.id, comment, now)
    if verdict != "same":
        _hold(tx, row)
        graph_store.update_decision(
            tx, proposal.decision_id, state="declined", undone_by=by.id, undone_at=now
        )
        task = _set(tx, mpi, row, by, "task-disagreed", claimed_by=None, claimed_until=None, changed_at=now)
        return TaskOutcome(task, "disagreed", proposal.decision_id)
    graph_store.update_decision(tx, proposal.decision_id, state="standing", seconded_by=by.id)
    return _apply(tx, mpi, row, by, proposal.decision_id, verdict)


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
    task = _read_back(tx, mpi, row.task_id)
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
    put_current(tx, mpi, row, latest.version, record, form, by, held_version=held_version)
