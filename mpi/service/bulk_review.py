"""One answer to several tasks: first shown what it would change, then given task by task, and taken back as one act."""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b

from sqlalchemy import Connection

from foundation.errors import Conflict, Invalid, NotFound, ServiceError, Unavailable
from foundation.ids import new_id
from foundation.principal import Principal
from mpi.matching.questions import Kind
from mpi.service import trail
from mpi.service.context import Mpi
from mpi.service.graph import settle, survey
from mpi.service.review import (
    TaskOutcome,
    Verdict,
    check_answer,
    check_kind,
    decide_task,
    holder_of,
    is_out_of_place,
    needs_second,
    protected_for,
    read_row,
    refuse_withdrawn,
    routes_for,
    sees_protected,
    undo_decision,
)
from mpi.store import activity as activity_store
from mpi.store import graph as graph_store
from mpi.store import queue as queue_store
from mpi.store import tasks as task_store
from mpi.store.graph import DecisionRow
from mpi.store.queue import BulkRow, BulkTaskRow
from mpi.store.tasks import TaskRow, Wanted

MOST_TASKS = 200
SAMPLE = 5
"""How many of the tasks are looked at one by one before all of them are answered."""

SAFE = {
    Kind.POSSIBLE.value: frozenset({"same", "different", "not-enough"}),
    Kind.DUPLICATE.value: frozenset({"same", "not-enough"}),
    Kind.NUMBERS.value: frozenset({"not-enough"}),
}
"""Which answers may be given to many tasks at once, by kind; all others are read one by one."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A task that would not be answered, and the code of why."""

    task_id: int
    code: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What one answer to some tasks would change.

    ``merged``: persons that would become one, a list each. ``split``: persons that would become several. ``touched``: how many persons the
    tasks are about. ``token`` stands for all of it, and for the tasks as they are now: who decides shows it. ``sample``: some of the tasks,
    drawn by lot, that are to be looked at first.
    """

    task_ids: tuple[int, ...]
    refused: tuple[Refused, ...]
    merged: tuple[tuple[int, ...], ...]
    split: tuple[int, ...]
    touched: int
    token: str
    versions: Mapping[int, int] = field(repr=False)

    @property
    def sample(self) -> tuple[int, ...]:
        """The same for the same preview, and nobody's choice: what is first by a digest of the token and the task."""
        lot = {one: blake2b(f"{self.token}:{one}".encode(), digest_size=16).digest() for one in self.task_ids}
        return tuple(sorted(self.task_ids, key=lot.__getitem__)[:SAMPLE])


@dataclass(frozen=True, slots=True)
class BulkOutcome:
    """What came of each task; ``bulk_id`` is what undo takes."""

    bulk_id: int
    tasks: tuple[BulkTaskRow, ...]
    undone_at: datetime | None = None

    @property
    def decided(self) -> int:
        return sum(one.refusal is None for one in self.tasks)


def preview_bulk(
    mpi: Mpi,
    by: Principal,
    *,
    verdict: Verdict,
    reason: str,
    comment: str | None = None,
    task_ids: Collection[int] | None = None,
    kind: str | None = None,
    for_whom: str | None = None,
    limit: int = MOST_TASKS,
) -> Preview:
    """Say what one answer to some tasks would change: those named, or the first of the queue that ``kind`` and ``for_whom`` choose.

    Nothing is written or held. What is found is exact for the index as it is: persons are worked out as if the answers stood.

    Raises:
        Invalid: as ``decide_task``; ``tasks-missing``, ``tasks-too-many``, ``task-kind-unknown``.
        Forbidden: ``organisation-not-yours``.
    """
    check_answer(verdict, reason, comment)
    check_kind(kind)
    if task_ids is not None and len(task_ids) > MOST_TASKS:
        raise Invalid("tasks-too-many", field="task_ids", detail=f"{MOST_TASKS} at most.")
    if task_ids is not None and not task_ids or not 0 < limit <= MOST_TASKS:
        raise Invalid("tasks-missing", field="task_ids")
    now = mpi.clock.now()
    with mpi.db.read() as tx:
        index = mpi.at(tx)
        if task_ids is None:
            wanted = Wanted(now, "open", kind, routes_for(by, for_whom), protected=protected_for(by))
            rows = task_store.list_tasks(tx, wanted, limit=limit)
            missing: list[int] = []
        else:
            rows = task_store.read_tasks(tx, task_ids, with_protected=sees_protected(by))
            missing = sorted(set(task_ids) - {row.task_id for row in rows})
        persons = _persons(tx, rows)
        fit, refused = [], [Refused(number, "task-unknown") for number in missing]
        met: set[int] = set()
        for row in sorted(rows, key=task_store.order_of):
            code = _why_not(tx, index, row, by, verdict, now)
            if code is None and not met.isdisjoint(persons[row.task_id]):
                # The first answer changes who the second is about: it is for a later round.
                code = "task-shares-person"
            if code is None:
                met |= persons[row.task_id]
                fit.append(row)
            else:
                refused.append(Refused(row.task_id, code))
        merged, split = _effect(tx, index, fit, persons, verdict)
    told = (
        [[row.task_id, row.version] for row in fit],
        [verdict, reason, comment],
        [list(group) for group in merged],
        list(split),
    )
    return Preview(
        task_ids=tuple(row.task_id for row in fit),
        refused=tuple(refused),
        merged=merged,
        split=split,
        touched=len(met),
        token=blake2b(json.dumps(told).encode(), digest_size=16).hexdigest(),
        versions={row.task_id: row.version for row in fit},
    )


@dataclass(frozen=True, slots=True)
class Effect:
    """What one answer to one task would change: see ``Preview``."""

    merged: tuple[tuple[int, ...], ...]
    split: tuple[int, ...]
    touched: int
    needs_second_reader: bool


def preview_answer(mpi: Mpi, task_id: int, by: Principal, *, verdict: Verdict) -> Effect:
    """Say what an answer to a task would change, for the index as it is. Nothing is written or held.

    Raises:
        Invalid: ``verdict-unknown``, ``verdict-not-applicable``.
        NotFound: ``task-unknown``.
        Conflict: ``task-not-open``; ``task-read-alone`` of a held update, which is about what a record says and not about persons;
            ``record-withdrawn`` while nobody whom it is about is in force.
    """
    check_answer(verdict, "source-confirmed", None)
    with mpi.db.read() as tx:
        index = mpi.at(tx)
        row = read_row(tx, task_id, by)
        if row.state != "open":
            raise Conflict("task-not-open", ids={"task_id": str(task_id)})
        if is_out_of_place(row, verdict):
            raise Invalid("verdict-not-applicable", field="verdict")
        if row.kind == Kind.OVERLAY.value:
            raise Conflict("task-read-alone", ids={"task_id": str(task_id)})
        refuse_withdrawn(tx, row)
        persons = _persons(tx, [row])
        merged, split = _effect(tx, index, [row], persons, verdict)
        is_second = not row.is_sample and needs_second(tx, index, row, verdict)
    return Effect(merged, split, len(persons[task_id]), is_second)


def _persons(tx: Connection, rows: Sequence[TaskRow]) -> dict[int, set[int]]:
    """Return whom each task is about, as its reader is told."""
    owners = activity_store.read_owners(tx, {number for row in rows for side in row.sides for number in side})
    return {
        row.task_id: {
            min(side) if row.is_sample else person
            for side in row.sides
            for number in side
            if number in owners and (person := owners[number].person_id) is not None
        }
        for row in rows
    }


def _why_not(
    tx: Connection, mpi: Mpi, row: TaskRow, by: Principal, verdict: Verdict, now: datetime
) -> str | None:
    if row.state != "open":
        return "task-not-open"
    if row.kind not in SAFE:
        return "task-read-alone"
    if verdict not in SAFE[row.kind] or is_out_of_place(row, verdict):
        return "verdict-not-applicable"
    if holder_of(row, now) not in (None, by.id):
        return "task-claimed"
    if row.escalated_to is not None:
        return "task-escalated"
    if row.is_sample:
        return None
    is_begun = any(one.state == "proposed" for one in graph_store.read_task_decisions(tx, row.task_id))
    return "second-reader-needed" if is_begun or needs_second(tx, mpi, row, verdict) else None


_SUPPOSED = 1 << 62
"""Later than any decision that was made: the last one on a pair stands."""


def _effect(
    tx: Connection, mpi: Mpi, rows: Sequence[TaskRow], persons: dict[int, set[int]], verdict: str
) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """Return which persons would become one, and which several, were these tasks answered so."""
    asked = [row for row in rows if not row.is_sample]
    # A sample changes nobody, and looks like one that does.
    merged = [tuple(sorted(persons[row.task_id])) for row in rows if row.is_sample and verdict == "same"]
    if verdict == "not-enough" or not asked:
        return tuple(sorted(merged)), ()
    supposed = [_supposed(row, verdict, _SUPPOSED + place) for place, row in enumerate(asked)]
    seeds = {number for row in asked for side in row.sides for number in side}
    found = survey(tx, mpi.model, seeds, {}, (), supposed=supposed)
    settled = settle(found, mpi.model, mpi.forms_of(found.members.values()), {}, ())
    into: dict[int, set[int]] = defaultdict(set)
    out_of: dict[int, set[int]] = defaultdict(set)
    for number, row in found.members.items():
        after = settled.person_of[number]
        if row.person_id is not None and after is not None:
            into[after].add(row.person_id)
            out_of[row.person_id].add(after)
    merged += [tuple(sorted(before)) for before in into.values() if len(before) > 1]
    return tuple(sorted(merged)), tuple(sorted(number for number, some in out_of.items() if len(some) > 1))


def _supposed(row: TaskRow, verdict: str, decision_id: int) -> DecisionRow:
    sides = (row.sides[0], row.sides[1] if len(row.sides) > 1 else frozenset[int]())
    return DecisionRow(
        decision_id=decision_id,
        task_id=row.task_id,
        kind=row.kind,
        verdict=verdict,
        state="standing",
        reason="",
        comment=None,
        decided_by="",
        decided_at=row.opened_at,
        seconded_by=None,
        undone_by=None,
        undone_at=None,
        evidence=[],
        sides=sides,
    )


def decide_bulk(
    mpi: Mpi,
    by: Principal,
    task_ids: Collection[int],
    *,
    verdict: Verdict,
    reason: str,
    comment: str | None = None,
    token: str,
    checked: Collection[int] | None = None,
) -> BulkOutcome:
    """Give one answer to tasks, as a preview showed it. Each is a transaction of its own: one that fails is told, and keeps no other.

    Args:
        checked: the tasks that somebody looked at, where that is asked of them: the whole sample must be among these.

    Raises:
        Invalid: ``sample-unread``.
        Conflict: ``preview-stale``: something changed since; look again. Others as ``preview_bulk``.
    """
    seen = preview_bulk(mpi, by, verdict=verdict, reason=reason, comment=comment, task_ids=task_ids)
    if seen.token != token:
        raise Conflict(
            "preview-stale", field="token", detail="Something changed since the preview: look again."
        )
    if checked is not None and not set(seen.sample) <= set(checked):
        raise Invalid("sample-unread", field="checked", detail="Look at each task of the sample first.")
    bulk_id, now = new_id(), mpi.clock.now()
    with mpi.db.write() as tx:
        queue_store.insert_bulk(tx, BulkRow(bulk_id, verdict, reason, by.id, now, None, None))
        for one in seen.refused:
            queue_store.insert_bulk_task(tx, bulk_id, BulkTaskRow(one.task_id, None, None, one.code))
        detail = {"bulk_id": str(bulk_id), "tasks": len(seen.task_ids)}
        trail.note(tx, by, now, "bulk-decision", verdict, reason, detail=detail)

    for task_id in seen.task_ids:

        def keep(tx: Connection, outcome: TaskOutcome, task_id: int = task_id) -> None:
            row = BulkTaskRow(task_id, outcome.decision_id, outcome.outcome, None)
            queue_store.insert_bulk_task(tx, bulk_id, row)

        try:
            decide_task(
                mpi,
                task_id,
                by,
                verdict=verdict,
                reason=reason,
                comment=comment,
                if_match=seen.versions[task_id],
                also=keep,
            )
        except ServiceError as fault:
            with mpi.db.write() as tx:
                queue_store.insert_bulk_task(tx, bulk_id, BulkTaskRow(task_id, None, None, fault.code))
    return read_bulk(mpi, bulk_id)


def read_bulk(mpi: Mpi, bulk_id: int) -> BulkOutcome:
    """Return what came of an answer to several tasks.

    Raises:
        NotFound: ``bulk-unknown``.
    """
    with mpi.db.read() as tx:
        row = queue_store.read_bulk(tx, bulk_id)
        if row is None:
            raise NotFound("bulk-unknown", ids={"bulk_id": str(bulk_id)})
        return BulkOutcome(bulk_id, tuple(queue_store.read_bulk_tasks(tx, bulk_id)), row.undone_at)


def undo_bulk(mpi: Mpi, bulk_id: int, by: Principal, *, comment: str | None = None) -> BulkOutcome:
    """Take back all that one answer to several tasks decided, the last first; what was decided anew since is left, and told.

    Raises:
        NotFound: ``bulk-unknown``. Conflict: ``bulk-undone``. Invalid: as ``undo_decision``.
    """
    found = read_bulk(mpi, bulk_id)
    if found.undone_at is not None:
        raise Conflict("bulk-undone", ids={"bulk_id": str(bulk_id)})
    told, is_over = [], True
    for one in sorted(
        (one for one in found.tasks if one.decision_id), key=lambda one: -(one.decision_id or 0)
    ):
        try:
            undo_decision(mpi, one.task_id, by, comment=comment, decision_id=one.decision_id)
            told.append(BulkTaskRow(one.task_id, one.decision_id, "undone", None))
        except ServiceError as fault:
            # Busy now: who asks again may find it free.
            is_over = is_over and not isinstance(fault, Unavailable)
            told.append(BulkTaskRow(one.task_id, one.decision_id, None, fault.code))
    now = mpi.clock.now()
    with mpi.db.write() as tx:
        if is_over:
            queue_store.close_bulk(tx, bulk_id, by.id, now)
        trail.note(tx, by, now, "bulk-decision-undone", detail={"bulk_id": str(bulk_id), "tasks": len(told)})
    return BulkOutcome(bulk_id, tuple(sorted(told, key=lambda one: one.task_id)), now if is_over else None)
