"""What stands beside the tasks of the review queue: acts of readers, samples and the answers to them, answers given in bulk."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, exists, func, insert, or_, select, tuple_, update

from foundation.ids import new_id
from mpi.store.batch import within
from mpi.store.graph import DecisionRow
from mpi.store.tables import (
    bulk_act,
    bulk_act_task,
    edge,
    link_decision,
    link_decision_member,
    membership_change,
    source_record,
    task,
    task_act,
    task_answer,
    task_member,
    task_sample,
)
from mpi.store.tasks import about_protected

# Acts ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ActRow:
    act_id: int
    task_id: int
    act: str
    reason: str | None
    until: datetime | None
    target: str | None
    done_by: str
    done_at: datetime
    undone_by: str | None
    undone_at: datetime | None


def insert_act(
    tx: Connection,
    task_id: int,
    act: str,
    by: str,
    at: datetime,
    *,
    reason: str | None = None,
    until: datetime | None = None,
    target: str | None = None,
) -> None:
    row = {"act_id": new_id(), "task_id": task_id, "act": act, "reason": reason, "until": until}
    tx.execute(insert(task_act), {**row, "target": target, "done_by": by, "done_at": at})


def read_acts(tx: Connection, task_id: int) -> list[ActRow]:
    """Return what was done with a task, in order."""
    statement = select(task_act).where(task_act.c.task_id == task_id).order_by(task_act.c.act_id)
    return [ActRow(*row) for row in tx.execute(statement)]


def undo_acts(tx: Connection, task_id: int, act: str, by: str, at: datetime) -> None:
    """Mark acts of this sort that still stand as taken back."""
    tx.execute(
        update(task_act)
        .where(task_act.c.task_id == task_id, task_act.c.act == act, task_act.c.undone_by.is_(None))
        .values(undone_by=by, undone_at=at)
    )


def expire_leases(tx: Connection, now: datetime, limit: int) -> int:
    """Note leases that have run out, and take the names off their tasks; return how many. Nobody is told anything new by it."""
    statement = (
        select(task.c.task_id, task.c.claimed_by, task.c.claimed_until)
        .where(task.c.claimed_by.is_not(None), task.c.claimed_until <= now)
        .order_by(task.c.task_id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = tx.execute(statement).all()
    for task_id, reader, until in found:
        insert_act(tx, task_id, "lease-expired", reader, until)
    if found:
        tx.execute(
            update(task)
            .where(within(tx, task.c.task_id, [row.task_id for row in found]))
            .values(claimed_by=None, claimed_until=None)
        )
    return len(found)


def has_expired_leases(tx: Connection, now: datetime) -> bool:
    statement = select(task.c.task_id).where(task.c.claimed_by.is_not(None), task.c.claimed_until <= now)
    return tx.scalar(statement.limit(1)) is not None


# Samples -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SampleRow:
    """A task that the index does not ask, and why a reader is. ``expected`` is the answer that is known."""

    task_id: int
    purpose: str
    low_id: int
    high_id: int
    expected: str | None
    stratum: str | None
    reader: str | None
    drawn_by: str
    drawn_at: datetime
    review_id: int | None


def insert_samples(tx: Connection, rows: Sequence[SampleRow]) -> None:
    if rows:
        tx.execute(
            insert(task_sample),
            [{name: getattr(row, name) for name in SampleRow.__slots__} for row in rows],
        )


def read_sample(tx: Connection, task_id: int) -> SampleRow:
    return SampleRow(*tx.execute(select(task_sample).where(task_sample.c.task_id == task_id)).one())


def set_review(tx: Connection, task_id: int, review_id: int | None) -> None:
    tx.execute(update(task_sample).where(task_sample.c.task_id == task_id).values(review_id=review_id))


def called_wrong(tx: Connection, sides: Sequence[Collection[int]]) -> bool:
    """Whether the answer stands that a link drawn by lot, between records of these two sides, is wrong."""
    pairs = sorted(
        {(min(left, right), max(left, right)) for left in sides[0] for right in sides[1]}
        if len(sides) > 1
        else ()
    )
    statement = (
        select(task_answer.c.answer_id)
        .join(task_sample, task_sample.c.task_id == task_answer.c.task_id)
        .where(
            task_sample.c.purpose == "blind",
            tuple_(task_sample.c.low_id, task_sample.c.high_id).in_(pairs),
            task_answer.c.state == "standing",
            task_answer.c.verdict == "different",
        )
        .limit(1)
    )
    return bool(pairs) and tx.execute(statement).first() is not None


def sampled_pairs(tx: Connection, purpose: str, reader: str | None = None) -> set[tuple[int, int]]:
    """Return the pairs that were drawn for a purpose, and for a reader where one is named."""
    statement = select(task_sample.c.low_id, task_sample.c.high_id).where(task_sample.c.purpose == purpose)
    if reader is not None:
        statement = statement.where(task_sample.c.reader == reader)
    return {(row[0], row[1]) for row in tx.execute(statement)}


def moot_samples(tx: Connection) -> list[int]:
    """Return open samples whose records do not stand to each other any more as they did when they were drawn.

    Nor do they where one of them is nobody's.
    """
    low, high = source_record.alias("low"), source_record.alias("high")
    is_together = low.c.person_id == high.c.person_id
    statement = (
        select(task_sample.c.task_id)
        .join(task, and_(task.c.task_id == task_sample.c.task_id, task.c.state == "open"))
        .join(low, low.c.record_id == task_sample.c.low_id)
        .join(high, high.c.record_id == task_sample.c.high_id)
        .where(
            or_(
                low.c.person_id.is_(None),
                high.c.person_id.is_(None),
                and_(task_sample.c.expected == "different", is_together),
                and_(func.coalesce(task_sample.c.expected, "same") == "same", ~is_together),
            )
        )
    )
    return list(tx.scalars(statement))


@dataclass(frozen=True, slots=True)
class LinkRow:
    """Two records that an edge of enough weight made one person; ``organisation`` is that of the later one."""

    low_id: int
    high_id: int
    weight_millibits: int
    organisation: str


def live_links(tx: Connection, live_millibits: int) -> Iterator[LinkRow]:
    """Yield the links that a model made by itself, in order, a few at a time; those of nobody who is protected or asked about."""
    low, high, other = source_record.alias("low"), source_record.alias("high"), source_record.alias("other")
    asked = source_record.alias("asked")
    is_protected = exists().where(other.c.person_id == low.c.person_id, other.c.restricted)
    is_asked_about = (
        exists()
        .where(asked.c.person_id == low.c.person_id)
        .where(task_member.c.record_id == asked.c.record_id)
        .where(task.c.task_id == task_member.c.task_id, task.c.state == "open")
    )
    statement = (
        select(edge.c.low_id, edge.c.high_id, edge.c.weight, high.c.organisation)
        .join(low, low.c.record_id == edge.c.low_id)
        .join(high, high.c.record_id == edge.c.high_id)
        .where(
            edge.c.may_link,
            edge.c.weight >= live_millibits,
            low.c.person_id == high.c.person_id,
            ~is_protected,
            ~is_asked_about,
        )
        .order_by(edge.c.low_id, edge.c.high_id)
        .execution_options(yield_per=1_000)
    )
    for row in tx.execute(statement):
        yield LinkRow(*row)


def places_of_kind(tx: Connection, kind: str, limit: int = 1_000) -> list[tuple[int, datetime]]:
    """Return harm and time of opening of open tasks that the index asks, the newest first."""
    statement = (
        select(task.c.harm, task.c.opened_at)
        .where(task.c.state == "open", task.c.kind == kind, task.c.is_sample.is_(False))
        .order_by(task.c.task_id.desc())
        .limit(limit)
    )
    return [(row[0], row[1]) for row in tx.execute(statement)]


def seconded_decisions(tx: Connection, limit: int) -> list[int]:
    """Return the newest decisions between persons that two readers made and that stand."""
    statement = (
        select(link_decision.c.decision_id)
        .where(
            link_decision.c.state == "standing",
            link_decision.c.seconded_by.is_not(None),
            link_decision.c.verdict.in_(("same", "different")),
            link_decision.c.kind != "overlay",
        )
        .order_by(link_decision.c.decision_id.desc())
        .limit(limit)
    )
    return list(tx.scalars(statement))


# Answers to samples --------------------------------------------------------------------------------------------------


def insert_answer(tx: Connection, values: Mapping[str, Any]) -> None:
    tx.execute(insert(task_answer), dict(values))


def read_answers(
    tx: Connection, task_id: int, kind: str, sides: tuple[frozenset[int], frozenset[int]]
) -> list[DecisionRow]:
    """Return the answers to a sample in the shape of decisions."""
    statement = select(task_answer).where(task_answer.c.task_id == task_id).order_by(task_answer.c.answer_id)
    return [
        DecisionRow(
            decision_id=row.answer_id,
            task_id=row.task_id,
            kind=kind,
            verdict=row.verdict,
            state=row.state,
            reason=row.reason,
            comment=row.comment,
            decided_by=row.decided_by,
            decided_at=row.decided_at,
            seconded_by=None,
            undone_by=row.undone_by,
            undone_at=row.undone_at,
            evidence=[],
            sides=sides,
        )
        for row in tx.execute(statement)
    ]


def undo_answer(tx: Connection, answer_id: int, by: str, at: datetime) -> None:
    tx.execute(
        update(task_answer)
        .where(task_answer.c.answer_id == answer_id)
        .values(state="undone", undone_by=by, undone_at=at)
    )


# Answers in bulk -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BulkRow:
    bulk_id: int
    verdict: str
    reason: str
    done_by: str
    done_at: datetime
    undone_by: str | None
    undone_at: datetime | None


@dataclass(frozen=True, slots=True)
class BulkTaskRow:
    """What came of one answer to one task: a decision, or the code of why there is none."""

    task_id: int
    decision_id: int | None
    outcome: str | None
    refusal: str | None


def insert_bulk(tx: Connection, row: BulkRow) -> None:
    tx.execute(insert(bulk_act), {name: getattr(row, name) for name in BulkRow.__slots__})


def insert_bulk_task(tx: Connection, bulk_id: int, row: BulkTaskRow) -> None:
    told = {name: getattr(row, name) for name in BulkTaskRow.__slots__}
    tx.execute(insert(bulk_act_task), {"bulk_id": bulk_id, **told})


def read_bulk(tx: Connection, bulk_id: int, *, for_update: bool = False) -> BulkRow | None:
    statement = select(bulk_act).where(bulk_act.c.bulk_id == bulk_id)
    row = tx.execute(statement.with_for_update() if for_update else statement).first()
    return None if row is None else BulkRow(*row)


def read_bulk_tasks(tx: Connection, bulk_id: int) -> list[BulkTaskRow]:
    columns = [bulk_act_task.c[name] for name in BulkTaskRow.__slots__]
    statement = select(*columns).where(bulk_act_task.c.bulk_id == bulk_id).order_by(bulk_act_task.c.task_id)
    return [BulkTaskRow(*row) for row in tx.execute(statement)]


def close_bulk(tx: Connection, bulk_id: int, by: str, at: datetime) -> None:
    tx.execute(update(bulk_act).where(bulk_act.c.bulk_id == bulk_id).values(undone_by=by, undone_at=at))


# Around a task -------------------------------------------------------------------------------------------------------


def tasks_about(tx: Connection, person_ids: Collection[int]) -> set[int]:
    """Return the open tasks of the index that name any record of these persons."""
    if not person_ids:
        return set()
    statement = (
        select(task.c.task_id)
        .join(task_member, task_member.c.task_id == task.c.task_id)
        .join(source_record, source_record.c.record_id == task_member.c.record_id)
        .where(
            within(tx, source_record.c.person_id, person_ids),
            task.c.state == "open",
            task.c.is_sample.is_(False),
        )
        .distinct()
    )
    return set(tx.scalars(statement))


# Figures -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenRow:
    """What figures need of an open task."""

    kind: str
    routed_to: str
    opened_at: datetime
    is_deferred: bool
    is_escalated: bool


def open_rows(tx: Connection, now: datetime, *, with_protected: bool) -> Iterator[OpenRow]:
    """Yield every open task, a few at a time.

    Args:
        with_protected: those about people whose location is protected too.
    """
    columns = (task.c.kind, task.c.routed_to, task.c.opened_at, task.c.deferred_until, task.c.escalated_to)
    statement = select(*columns).where(task.c.state == "open").execution_options(yield_per=2_000)
    if not with_protected:
        statement = statement.where(~about_protected(task.c.task_id))
    for kind, routed_to, opened_at, until, escalated_to in tx.execute(statement):
        yield OpenRow(kind, routed_to, opened_at, until is not None and until > now, escalated_to is not None)


def count_open(tx: Connection) -> tuple[dict[str, int], datetime | None]:
    """Return how many tasks are open, by kind, and when the oldest was opened; none about people whose location is protected."""
    statement = (
        select(task.c.kind, func.count(), func.min(task.c.opened_at))
        .where(task.c.state == "open", ~about_protected(task.c.task_id))
        .group_by(task.c.kind)
    )
    rows = tx.execute(statement).all()
    return {row[0]: row[1] for row in rows}, min((row[2] for row in rows), default=None)


@dataclass(frozen=True, slots=True)
class MadeRow:
    """A decision, or an answer to a sample, as figures count it.

    ``has_changed``: it moved a record from person to person, or let go of a held update.
    """

    kind: str
    verdict: str
    state: str
    decided_by: str
    decided_at: datetime
    seconded_by: str | None
    undone_by: str | None
    has_changed: bool


def decisions_since(tx: Connection, since: datetime, *, with_protected: bool) -> list[MadeRow]:
    """Return the decisions made since an instant, undone and declined ones too, in order; as ``open_rows`` those about protected people."""
    moved = exists().where(
        link_decision_member.c.decision_id == link_decision.c.decision_id,
        membership_change.c.record_id == link_decision_member.c.record_id,
        membership_change.c.decision_id == link_decision.c.decision_id,
    )
    statement = (
        select(
            link_decision.c.kind,
            link_decision.c.verdict,
            link_decision.c.state,
            link_decision.c.decided_by,
            link_decision.c.decided_at,
            link_decision.c.seconded_by,
            link_decision.c.undone_by,
            or_(moved, and_(link_decision.c.kind == "overlay", link_decision.c.verdict != "not-enough")),
        )
        .where(link_decision.c.decided_at >= since)
        .order_by(link_decision.c.decision_id)
    )
    if not with_protected:
        statement = statement.where(~about_protected(link_decision.c.task_id))
    return [MadeRow(*(*row[:7], bool(row[7]))) for row in tx.execute(statement)]


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """An answer to a sample; ``review`` is what two readers made of the question that it opened, if they have."""

    purpose: str
    expected: str | None
    stratum: str | None
    verdict: str
    state: str
    decided_by: str
    decided_at: datetime
    review: str | None


def answers_since(tx: Connection, since: datetime, *, with_protected: bool) -> list[AnswerRow]:
    """Return the answers to samples since an instant, in order; as ``open_rows`` those about protected people."""
    review = (
        select(link_decision.c.verdict)
        .where(
            link_decision.c.task_id == task_sample.c.review_id,
            link_decision.c.state == "standing",
            link_decision.c.seconded_by.is_not(None),
        )
        .order_by(link_decision.c.decision_id.desc())
        .limit(1)
        .scalar_subquery()
    )
    statement = (
        select(
            task_sample.c.purpose,
            task_sample.c.expected,
            task_sample.c.stratum,
            task_answer.c.verdict,
            task_answer.c.state,
            task_answer.c.decided_by,
            task_answer.c.decided_at,
            review,
        )
        .join(task_answer, task_answer.c.task_id == task_sample.c.task_id)
        .where(task_answer.c.decided_at >= since)
        .order_by(task_answer.c.answer_id)
    )
    if not with_protected:
        statement = statement.where(~about_protected(task_answer.c.task_id))
    return [AnswerRow(*row) for row in tx.execute(statement)]


def count_acts(tx: Connection, since: datetime, *, with_protected: bool) -> dict[str, int]:
    """Count acts since an instant that were not taken back; as ``open_rows`` those about protected people."""
    statement = (
        select(task_act.c.act, func.count())
        .where(task_act.c.done_at >= since, task_act.c.undone_by.is_(None))
        .group_by(task_act.c.act)
    )
    if not with_protected:
        statement = statement.where(~about_protected(task_act.c.task_id))
    return {row[0]: row[1] for row in tx.execute(statement)}
