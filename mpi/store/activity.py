"""How much records are looked at, as counts that decay."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from foundation.database import upsert
from foundation.direct import Statement, told_instant
from mpi.store.batch import within
from mpi.store.tables import record_activity, source_record, task, task_member


@dataclass(frozen=True, slots=True)
class Activity:
    """A count as it stood at an instant, in thousandths of a view."""

    milliviews: int
    counted_at: datetime


_OF_RECORDS = Statement.alike(
    "SELECT record_id, milliviews, counted_at FROM record_activity WHERE record_id {among}"
)


def read_activity(tx: Connection, record_ids: Collection[int]) -> dict[int, Activity]:
    return {row[0]: _activity(row) for row in _OF_RECORDS.rows(tx, record_ids)} if record_ids else {}


def _activity(row: Sequence[Any]) -> Activity:
    at = row[2]
    return Activity(row[1], told_instant(at) if isinstance(at, str) else at)


_ACTIVITY = Statement.alike(
    "SELECT r.person_id, a.milliviews, a.counted_at FROM source_record r JOIN record_activity a ON a.record_id = r.record_id "
    "WHERE r.person_id {among}"
)


def person_activity(tx: Connection, person_ids: Collection[int]) -> dict[int, list[Activity]]:
    """Return the counts of each person's records: so they go with a record from person to person."""
    if not person_ids:
        return {}
    found: dict[int, list[Activity]] = {}
    for row in _ACTIVITY.rows(tx, person_ids):
        found.setdefault(row[0], []).append(_activity(row))
    return found


def write_activity(tx: Connection, counts: Mapping[int, Activity]) -> None:
    upsert(
        tx,
        record_activity,
        [
            {"record_id": record_id, "milliviews": one.milliviews, "counted_at": one.counted_at}
            for record_id, one in sorted(counts.items())
        ],
        key=["record_id"],
        update=["milliviews", "counted_at"],
    )


@dataclass(frozen=True, slots=True)
class Owned:
    """Whose a record is: the organisation that sent it, and the person that holds it."""

    organisation: str
    person_id: int | None


def read_owners(tx: Connection, record_ids: Collection[int]) -> dict[int, Owned]:
    """Return whose these records are, of those that are there."""
    if not record_ids:
        return {}
    statement = select(
        source_record.c.record_id, source_record.c.organisation, source_record.c.person_id
    ).where(within(tx, source_record.c.record_id, record_ids), source_record.c.state == "active")
    return {row[0]: Owned(row[1], row[2]) for row in tx.execute(statement)}


def mark_stale(tx: Connection, record_ids: Collection[int]) -> None:
    """Let the open tasks about the persons that hold these records be placed again."""
    if not record_ids:
        return
    other = source_record.alias("other")
    persons = select(source_record.c.person_id).where(within(tx, source_record.c.record_id, record_ids))
    named = (
        select(task_member.c.task_id)
        .join(other, other.c.record_id == task_member.c.record_id)
        .where(other.c.person_id.in_(persons))
    )
    tx.execute(update(task).where(task.c.task_id.in_(named), task.c.state == "open").values(placed_at=None))
