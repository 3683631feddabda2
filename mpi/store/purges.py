"""Lawful erasure: what a record leaves in the index's tables, taken away; what two people do about it; and the tombstones that stay."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, union, update

from mpi.store import graph as graph_store
from mpi.store import numbers as number_store
from mpi.store import records as record_store
from mpi.store import tasks as task_store
from mpi.store import traces as trace_store
from mpi.store.batch import within
from mpi.store.graph import DecisionRow
from mpi.store.records import RecordRow
from mpi.store.tables import (
    edge,
    link_decision,
    link_decision_member,
    purge,
    record_activity,
    record_version,
    source_record,
    task,
    task_act,
    task_answer,
    task_comment,
    task_member,
    task_sample,
    tombstone,
)
from mpi.store.tasks import TaskRow

ALL_STATES = ("proposed", "standing", "declined", "undone")
_OVERLAY = "overlay"


# What a record leaves ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Traces:
    """What the index holds of one record beside its own row.

    ``tasks`` and ``decisions`` are those that name it, and those of the same tasks: what was written about one may quote it.
    """

    record_id: int
    versions: int
    edges: frozenset[int]
    tasks: tuple[TaskRow, ...]
    decisions: tuple[DecisionRow, ...]

    @property
    def named(self) -> frozenset[int]:
        """Every other record that an edge, a task or a decision names together with this one."""
        tasks = (number for row in self.tasks for side in row.sides for number in side)
        decisions = (number for row in self.decisions for side in row.sides for number in side)
        return frozenset((*self.edges, *tasks, *decisions)) - {self.record_id}


def read_traces(tx: Connection, record_id: int) -> Traces:
    edges = tx.scalars(
        union(
            select(edge.c.high_id).where(edge.c.low_id == record_id),
            select(edge.c.low_id).where(edge.c.high_id == record_id),
        )
    )
    named = graph_store.read_decisions(tx, [record_id], ALL_STATES)
    tasks = {row.task_id: row for row in task_store.read_tasks_of(tx, [record_id], with_samples=True)}
    for decision in named:
        if decision.task_id is not None and decision.task_id not in tasks:
            row = task_store.read_task(tx, decision.task_id)
            if row is not None:
                tasks[row.task_id] = row
    decisions = {row.decision_id: row for row in named}
    for task_id in tasks:
        decisions |= {row.decision_id: row for row in graph_store.read_task_decisions(tx, task_id)}
    versions = record_store.read_versions(tx, [record_id]).get(record_id, [])
    return Traces(
        record_id,
        len(versions),
        frozenset(edges),
        tuple(row for _, row in sorted(tasks.items())),
        tuple(row for _, row in sorted(decisions.items())),
    )


@dataclass(frozen=True, slots=True)
class Cleared:
    """What became of a record's traces: comments that went, decisions and tasks that went, and tasks that stand without it."""

    comments: int
    decisions: int
    tasks: tuple[TaskRow, ...]
    stripped: int


def clear_record(tx: Connection, row: RecordRow, traces: Traces, now: datetime) -> Cleared:
    """Take a record out of the index: its versions, keys, edges and news of numbers, and its part in tasks and decisions.

    A decision or a task of which one side was this record alone asks or says nothing any more, and goes. Of its row the id is left.
    """
    number = row.record_id
    tx.execute(delete(edge).where(edge.c.low_id == number))
    tx.execute(delete(edge).where(edge.c.high_id == number))
    record_store.replace_keys(tx, [(key, number) for key in row.keys], ())
    number_store.forget_said(tx, number)
    decided = _clear_decisions(tx, number, traces.decisions)
    cleared = _clear_tasks(tx, number, traces, decided, now)
    tx.execute(delete(record_version).where(record_version.c.record_id == number))
    tx.execute(delete(record_activity).where(record_activity.c.record_id == number))
    trace_store.forget_traces(tx, number)
    leave_id(tx, number, now)
    return cleared


def _clear_decisions(
    tx: Connection, number: int, decisions: Sequence[DecisionRow]
) -> dict[int, DecisionRow | None]:
    """Take a record out of decisions; return what is left of each, None where nothing is."""
    left: dict[int, DecisionRow | None] = {}
    for row in decisions:
        sides = tuple(side - {number} for side in row.sides)
        is_empty = any(before and not after for before, after in zip(row.sides, sides, strict=True))
        left[row.decision_id] = None if is_empty else replace(row, sides=sides)  # type: ignore[arg-type]
    named = [row.decision_id for row in decisions if any(number in side for side in row.sides)]
    tx.execute(
        delete(link_decision_member).where(
            within(tx, link_decision_member.c.decision_id, named), link_decision_member.c.record_id == number
        )
    )
    gone = [decision_id for decision_id, row in left.items() if row is None]
    tx.execute(delete(link_decision_member).where(within(tx, link_decision_member.c.decision_id, gone)))
    tx.execute(delete(link_decision).where(within(tx, link_decision.c.decision_id, gone)))
    for decision in left.values():
        if decision is not None:
            graph_store.update_decision(
                tx,
                decision.decision_id,
                comment=None,
                evidence=_without(number, decision.evidence),
            )
    return left


def _clear_tasks(
    tx: Connection, number: int, traces: Traces, decided: Mapping[int, DecisionRow | None], now: datetime
) -> Cleared:
    ids = [row.task_id for row in traces.tasks]
    # A comment that is being written refers to the task's row: held, it comes before or after.
    tx.execute(
        select(task.c.task_id)
        .where(within(tx, task.c.task_id, ids))
        .order_by(task.c.task_id)
        .with_for_update()
    ).all()
    comments = tx.execute(delete(task_comment).where(within(tx, task_comment.c.task_id, ids))).rowcount
    gone: list[TaskRow] = []
    kept: list[TaskRow] = []
    for row in traces.tasks:
        sides = _sides_without(number, row)
        if sides == row.sides:
            continue
        standing = [one for one in decided.values() if one is not None and one.task_id == row.task_id]
        if sides is None and standing:
            # Nothing is asked any more, but what was decided can still be taken back.
            sides = tuple(side for side in standing[-1].sides if side)
            row = replace(row, state="closed" if row.state == "open" else row.state)
        if sides is None:
            gone.append(row)
        else:
            evidence = _without(number, row.evidence)
            kept.append(replace(row, sides=sides, evidence=evidence, version=row.version + 1, changed_at=now))
    lost = [row.task_id for row in gone]
    for table in (task_act, task_answer, task_sample):
        tx.execute(delete(table).where(within(tx, table.c.task_id, lost)))
    tx.execute(delete(task_member).where(within(tx, task_member.c.task_id, lost)))
    tx.execute(delete(task).where(within(tx, task.c.task_id, lost)))
    task_store.replace_tasks(tx, kept)
    decisions = sum(row is None for row in decided.values())
    return Cleared(comments, decisions, tuple(gone), len(kept))


def _sides_without(number: int, row: TaskRow) -> tuple[frozenset[int], ...] | None:
    """Return a task's sides without a record; None where nobody is left to ask about."""
    sides = tuple(side - {number} for side in row.sides)
    if row.kind == _OVERLAY:
        # Its second side is whom the held update reads like, and may be nobody.
        return tuple(side for side in sides if side) if sides[0] else None
    return sides if all(sides) else None


def _without(number: int, evidence: Any) -> Any:
    return [item for item in evidence if number not in item]


def leave_id(tx: Connection, number: int, now: datetime) -> None:
    """Leave nothing of a record's row but its id."""
    tx.execute(
        update(source_record)
        .where(source_record.c.record_id == number)
        .values(
            organisation="",
            system="",
            local_id=str(number),
            state="erased",
            version=0,
            current_version=0,
            linked_version=0,  # it waits for nobody
            held_version=None,
            normalised="",
            keys=b"",
            model_revision="",
            restricted=False,
            component_id=number,
            person_id=None,
            search_complete=False,
            received_at=now,
            changed_at=now,
            trace_id=None,
            conflict_trace_id=None,
            held_change_id=None,
            unread_from=None,
        )
    )


# What two people do --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PurgeRow:
    """A proposal, and what became of it."""

    purge_id: int
    act: str
    record_id: int
    organisation: str
    state: str
    reason: str
    legal_basis: str
    seen: int
    proposed_by: str
    proposed_at: datetime
    closed_by: str | None
    closed_at: datetime | None


def insert_purge(tx: Connection, row: PurgeRow) -> None:
    tx.execute(insert(purge), {name: getattr(row, name) for name in PurgeRow.__slots__})


def read_purge(tx: Connection, purge_id: int, *, for_update: bool = False) -> PurgeRow | None:
    statement = select(purge).where(purge.c.purge_id == purge_id)
    row = tx.execute(statement.with_for_update() if for_update else statement).first()
    return None if row is None else PurgeRow(*row)


def open_purge_of(tx: Connection, record_id: int) -> int | None:
    """Return the proposal about a record that waits for a second person."""
    statement = select(purge.c.purge_id).where(purge.c.record_id == record_id, purge.c.state == "proposed")
    return tx.execute(statement).scalar()


def list_purges(
    tx: Connection, organisations: Collection[str] | None, *, state: str | None, below: int | None, limit: int
) -> list[PurgeRow]:
    """Return proposals and acts, the newest first; ``organisations`` None means all."""
    statement = select(purge).order_by(purge.c.purge_id.desc()).limit(limit)
    if organisations is not None:
        statement = statement.where(purge.c.organisation.in_(sorted(organisations)))
    if state is not None:
        statement = statement.where(purge.c.state == state)
    if below is not None:
        statement = statement.where(purge.c.purge_id < below)
    return [PurgeRow(*row) for row in tx.execute(statement)]


def close_purge(tx: Connection, purge_id: int, state: str, by: str, at: datetime) -> None:
    tx.execute(
        update(purge).where(purge.c.purge_id == purge_id).values(state=state, closed_by=by, closed_at=at)
    )


# Tombstones ----------------------------------------------------------------------------------------------------------


def insert_tombstone(tx: Connection, record_id: int, key_digest: bytes, purge_id: int, at: datetime) -> None:
    tx.execute(
        insert(tombstone),
        {"record_id": record_id, "key_digest": key_digest, "purge_id": purge_id, "erased_at": at},
    )


def standing_tombstones(tx: Connection, digests: Collection[bytes]) -> dict[bytes, int]:
    """Return those of these digests of keys under which a tombstone stands, each with the id of the record that was erased."""
    if not digests:
        return {}
    statement = select(tombstone.c.key_digest, tombstone.c.record_id).where(
        tombstone.c.key_digest.in_(sorted(digests)), tombstone.c.lift_id.is_(None)
    )
    return {bytes(row[0]): row[1] for row in tx.execute(statement)}


def standing_tombstone(tx: Connection, record_id: int) -> tuple[int, str] | None:
    """Return an erased record whose tombstone stands, and whose it was."""
    statement = (
        select(tombstone.c.record_id, purge.c.organisation)
        .join(purge, purge.c.purge_id == tombstone.c.purge_id)
        .where(tombstone.c.record_id == record_id, tombstone.c.lift_id.is_(None))
    )
    row = tx.execute(statement).first()
    return None if row is None else (row.record_id, row.organisation)


def lock_tombstone(tx: Connection, record_id: int) -> bool:
    """Hold a record's tombstone until the transaction ends; say whether it stands."""
    statement = select(tombstone.c.lift_id).where(tombstone.c.record_id == record_id).with_for_update()
    row = tx.execute(statement).first()
    return row is not None and row.lift_id is None


def lift_tombstone(tx: Connection, record_id: int, lift_id: int, at: datetime) -> None:
    tx.execute(
        update(tombstone).where(tombstone.c.record_id == record_id).values(lift_id=lift_id, lifted_at=at)
    )
