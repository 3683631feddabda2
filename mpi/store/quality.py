"""Data quality: the records of one source page by page, what surrounds them, and the counts that are kept of a day."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, and_, func, or_, select, tuple_

from foundation.database import insert_ignore, upsert
from mpi.store.batch import within
from mpi.store.tables import quality_day, record_version, source_record, task, task_member
from mpi.store.tasks import about_protected


class Source(NamedTuple):
    """A system of an organisation."""

    organisation: str
    system: str


NOWHERE = Source("", "")
"""Before every source. Erased records, which have no key any more, lie here."""


@dataclass(frozen=True, slots=True)
class MeasuredRow:
    """What figures need of a record: what stands of it and what a trace found (JSON texts), and where the record is linked."""

    record_id: int
    local_id: str = field(repr=False)
    person_id: int | None
    is_waiting: bool
    payload: str = field(repr=False)
    finding: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class DayRow:
    """The counts of one source on one day."""

    source: Source
    measured_on: date
    measured_at: datetime
    counts: Mapping[str, int]


# Measuring -----------------------------------------------------------------------------------------------------------


def next_source(tx: Connection, after: Source, organisation: str | None = None) -> Source | None:
    """Return the first source after one, by the index of keys: nothing else is read."""
    return _next(tx, source_record, after, None if organisation is None else {organisation})


def page_of(tx: Connection, source: Source, after: str, limit: int) -> list[MeasuredRow]:
    """Return records of a source in order of local id, from the one after ``after``."""
    columns = (
        source_record.c.record_id,
        source_record.c.local_id,
        source_record.c.person_id,
        source_record.c.linked_version,
        record_version.c.payload,
        record_version.c.finding,
    )
    statement = (
        select(*columns)
        .join(
            record_version,
            and_(
                record_version.c.record_id == source_record.c.record_id,
                record_version.c.version == source_record.c.current_version,
            ),
        )
        .where(
            source_record.c.organisation == source.organisation,
            source_record.c.system == source.system,
            source_record.c.local_id > after,
            source_record.c.state == "active",
        )
        .order_by(source_record.c.local_id)
        .limit(limit)
    )
    return [MeasuredRow(row[0], row[1], row[2], row[3] is None, *row[4:]) for row in tx.execute(statement)]


def sources_of_persons(tx: Connection, person_ids: Collection[int]) -> dict[int, dict[Source, int]]:
    """Return the sources that have records of these persons, each with the id of its earliest."""
    columns = (source_record.c.person_id, source_record.c.organisation, source_record.c.system)
    statement = (
        select(*columns, func.min(source_record.c.record_id))
        .where(within(tx, source_record.c.person_id, person_ids), source_record.c.state == "active")
        .group_by(*columns)
    )
    found: dict[int, dict[Source, int]] = {}
    for person_id, organisation, system, first in tx.execute(statement):
        found.setdefault(person_id, {})[Source(organisation, system)] = first
    return found


def open_kinds(tx: Connection, record_ids: Collection[int], kinds: Iterable[str]) -> set[tuple[int, str]]:
    """Return which of these records open tasks of these kinds name; of an overlay, the record whose update is held.

    Tasks about people whose location is protected are in no queue that a reader of figures could compare with.
    """
    statement = (
        select(task_member.c.record_id, task.c.kind)
        .join(task, task.c.task_id == task_member.c.task_id)
        .where(
            within(tx, task_member.c.record_id, record_ids),
            task.c.state == "open",
            task.c.kind.in_(sorted(kinds)),
            or_(task.c.kind != "overlay", task_member.c.side == 0),
            ~about_protected(task.c.task_id),
        )
        .distinct()
    )
    return {(row[0], row[1]) for row in tx.execute(statement)}


def version_times(tx: Connection, record_ids: Collection[int]) -> list[tuple[int, str, datetime]]:
    """Return (record id, state, source time) of every version of these records, each record's in order of arrival."""
    statement = (
        select(record_version.c.record_id, record_version.c.state, record_version.c.source_at)
        .where(within(tx, record_version.c.record_id, record_ids))
        .order_by(record_version.c.record_id, record_version.c.version)
    )
    return [(row[0], row[1], row[2]) for row in tx.execute(statement)]


# Days ----------------------------------------------------------------------------------------------------------------


def has_day(tx: Connection, source: Source, measured_on: date) -> bool:
    statement = select(quality_day.c.measured_on).where(_is(source), quality_day.c.measured_on == measured_on)
    return tx.execute(statement).first() is not None


def insert_day(tx: Connection, row: DayRow) -> bool:
    """Keep the counts of a day, unless some are kept of it already; say whether these were."""
    return insert_ignore(tx, quality_day, [_values(row)], ["organisation", "system", "measured_on"]) == 1


def replace_day(tx: Connection, row: DayRow) -> None:
    """Keep the counts of a day in the place of those that were kept of it before."""
    upsert(
        tx,
        quality_day,
        [_values(row)],
        ["organisation", "system", "measured_on"],
        ["measured_at", "counts"],
    )


def measured_sources(
    tx: Connection, organisations: Collection[str] | None, after: Source, limit: int
) -> list[Source]:
    """Return sources of which a day is kept, in order, from the one after ``after``; None for those of every organisation."""
    found: list[Source] = []
    while len(found) < limit and (one := _next(tx, quality_day, after, organisations)) is not None:
        found.append(one)
        after = one
    return found


def latest_day(tx: Connection, source: Source) -> DayRow | None:
    statement = select(quality_day).where(_is(source)).order_by(quality_day.c.measured_on.desc()).limit(1)
    row = tx.execute(statement).first()
    return None if row is None else _day(row)


def latest_days(tx: Connection, organisations: Collection[str] | None) -> list[DayRow]:
    """Return what was last measured of every source, or of those of some organisations, in one statement."""
    last = select(
        quality_day.c.organisation, quality_day.c.system, func.max(quality_day.c.measured_on).label("last_on")
    ).group_by(quality_day.c.organisation, quality_day.c.system)
    if organisations is not None:
        last = last.where(quality_day.c.organisation.in_(sorted(organisations)))
    newest = last.subquery()
    statement = select(quality_day).join(
        newest,
        and_(
            quality_day.c.organisation == newest.c.organisation,
            quality_day.c.system == newest.c.system,
            quality_day.c.measured_on == newest.c.last_on,
        ),
    )
    return [_day(row) for row in tx.execute(statement)]


def days_between(tx: Connection, source: Source, first: date, last: date) -> list[DayRow]:
    """Return the days of a source from one to another, both counted in, the earliest first."""
    statement = (
        select(quality_day)
        .where(_is(source), quality_day.c.measured_on.between(first, last))
        .order_by(quality_day.c.measured_on)
    )
    return [_day(row) for row in tx.execute(statement)]


def _next(
    tx: Connection, table: Table, after: Source, organisations: Collection[str] | None
) -> Source | None:
    columns = (table.c.organisation, table.c.system)
    statement = select(*columns).order_by(*columns).limit(1)
    if organisations is None:
        row = tx.execute(statement.where(tuple_(*columns) > tuple_(*after))).first()
        return None if row is None else Source(row[0], row[1])
    # One organisation after the other: each is one look into the index, however many records lie between them.
    for organisation in sorted(one for one in organisations if one >= after.organisation):
        system = after.system if organisation == after.organisation else ""
        row = tx.execute(
            statement.where(table.c.organisation == organisation, table.c.system > system)
        ).first()
        if row is not None:
            return Source(row[0], row[1])
    return None


def _is(source: Source) -> ColumnElement[bool]:
    return and_(quality_day.c.organisation == source.organisation, quality_day.c.system == source.system)


def _values(row: DayRow) -> dict[str, object]:
    return {
        "organisation": row.source.organisation,
        "system": row.source.system,
        "measured_on": row.measured_on,
        "measured_at": row.measured_at,
        "counts": dict(row.counts),
    }


def _day(row: Sequence[object]) -> DayRow:
    organisation, system, measured_on, measured_at, counts = row
    return DayRow(Source(organisation, system), measured_on, measured_at, counts)  # type: ignore[arg-type]
