"""What was asked of a national service about records, and which records are still to be asked about."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, update

from mpi.store.batch import within
from mpi.store.tables import number_trace, past_finding, record_version, source_record


@dataclass(frozen=True, slots=True)
class TraceRow:
    """One question about one version of a record. ``request_id`` is the same for every try; ``outcome`` None until it is answered."""

    trace_id: int
    record_id: int
    version: int
    service: str
    request_id: str
    state: str
    asked_by: str
    asked_at: datetime
    attempts: int
    outcome: str | None = None
    answered_at: datetime | None = None


def due_records(
    tx: Connection,
    limit: int,
    after: int,
    *,
    systems_without: Collection[str],
    organisations: Collection[str] | None = None,
    before: datetime | None = None,
) -> list[int]:
    """Return records of whose version that stands nothing was found yet, oldest first, from the one after ``after``.

    Only those whose number is claimed or not usable are looked at: the caller sees which. Forms are lists whose first two items are the
    number and its worth, so that nothing needs to be parsed to leave out the many that are verified.

    Args:
        systems_without: systems whose records are forms, of which none is asked about.
        organisations: whose records; None for everybody's.
        before: those found out before this instant as well.
    """
    record, version = source_record.c, record_version.c
    claimed, without = '["__________","c",%', '["","",%'
    is_due: ColumnElement[bool] = and_(
        version.finding.is_(None), or_(record.normalised.like(claimed), record.normalised.like(without))
    )
    if before is not None:
        last = select(func.max(number_trace.c.answered_at)).where(
            number_trace.c.record_id == record.record_id, number_trace.c.state == "answered"
        )
        is_due = or_(is_due, and_(version.finding.is_not(None), last.scalar_subquery() < before))
    statement = (
        select(record.record_id)
        .join(
            record_version,
            and_(version.record_id == record.record_id, version.version == record.current_version),
        )
        .where(
            record.record_id > after,
            version.record_id > after,  # else a page would read the versions of all records before it
            record.state == "active",
            record.system.not_in(sorted(systems_without)),
            is_due,
        )
        .order_by(record.record_id)
        .limit(limit)
    )
    if organisations is not None:
        statement = statement.where(record.organisation.in_(sorted(organisations)))
    return list(tx.scalars(statement))


def open_trace(tx: Connection, record_id: int) -> TraceRow | None:
    """Return the question about a record that has no answer yet."""
    statement = select(number_trace).where(
        number_trace.c.record_id == record_id, number_trace.c.state == "asked"
    )
    row = tx.execute(statement).first()
    return None if row is None else TraceRow(*row)


def traces_of(tx: Connection, record_id: int) -> list[TraceRow]:
    """Return every question about a record, in order of asking."""
    statement = (
        select(number_trace).where(number_trace.c.record_id == record_id).order_by(number_trace.c.trace_id)
    )
    return [TraceRow(*row) for row in tx.execute(statement)]


def insert_trace(tx: Connection, row: TraceRow) -> None:
    tx.execute(insert(number_trace), {name: getattr(row, name) for name in TraceRow.__slots__})


def ask_again(tx: Connection, trace_id: int, attempts: int) -> None:
    tx.execute(update(number_trace).where(number_trace.c.trace_id == trace_id).values(attempts=attempts))


def close_trace(tx: Connection, trace_id: int, state: str, outcome: str | None, at: datetime) -> None:
    tx.execute(
        update(number_trace)
        .where(number_trace.c.trace_id == trace_id)
        .values(state=state, outcome=outcome, answered_at=at)
    )


def keep_past_finding(tx: Connection, record_id: int, version: int, trace_id: int, finding: str) -> None:
    """Keep a finding in whose place another is put."""
    row = {"record_id": record_id, "version": version, "trace_id": trace_id, "finding": finding}
    tx.execute(insert(past_finding), row)


def read_past_findings(tx: Connection, record_ids: Collection[int]) -> dict[tuple[int, int], list[str]]:
    """Return the findings of these records in whose place others were put, by record and version."""
    found: dict[tuple[int, int], list[str]] = {}
    if record_ids:
        statement = select(past_finding).where(within(tx, past_finding.c.record_id, record_ids))
        for record_id, version, _, finding in tx.execute(statement):
            found.setdefault((record_id, version), []).append(finding)
    return found


def forget_traces(tx: Connection, record_id: int) -> None:
    """Forget what was asked of a record, and what was found once."""
    for table in (number_trace, past_finding):
        tx.execute(delete(table).where(table.c.record_id == record_id))


def count_traces(tx: Connection) -> dict[str, int]:
    """Count questions by what came of them; those without an answer under ``asked``."""
    what = func.coalesce(number_trace.c.outcome, number_trace.c.state)
    return {row[0]: row[1] for row in tx.execute(select(what, func.count()).group_by(what))}
