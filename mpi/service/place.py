"""Where open tasks stand in the queue, and who is asked: worked out where they change, and by the worker as people are looked at."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from sqlalchemy import Connection

from mpi.matching.harm import ERROR_PER_MILLE, decayed, harm_of, route_of, untold_harm
from mpi.service.context import Mpi
from mpi.store import activity as activity_store
from mpi.store import records as record_store
from mpi.store import tasks as task_store
from mpi.store.activity import Activity
from mpi.store.tasks import TaskRow

UNTOLD = {kind: untold_harm(kind) for kind in ERROR_PER_MILLE}
"""The harm of each kind of task while nothing more may be told, or is known."""

PLACED_FOR = timedelta(days=1)
"""After this time a place is worked out again: what was looked at is looked at less."""


def place_tasks(tx: Connection, mpi: Mpi, task_ids: Collection[int], now: datetime) -> None:
    """Work out harm and route of open tasks from whom they are about now."""
    if task_ids:
        _place(tx, mpi, [row for row in task_store.read_tasks(tx, task_ids) if row.state == "open"], now)


def place_waiting(mpi: Mpi, limit: int = 500) -> int:
    """Place open tasks that wait for it, or were placed long ago; return how many.

    Raises:
        Unavailable: ``match-model-unreadable``.
    """
    now = mpi.clock.now()
    with mpi.db.read() as tx:
        if not task_store.has_stale_places(tx, now - PLACED_FOR):
            return 0
    with mpi.db.write() as tx:
        rows = task_store.stale_places(tx, now - PLACED_FOR, limit)
        _place(tx, mpi.at(tx), rows, now)
    return len(rows)


def _place(tx: Connection, mpi: Mpi, rows: Collection[TaskRow], now: datetime) -> None:
    named = {number for row in rows for side in row.sides for number in side}
    owners = activity_store.read_owners(tx, named)
    organisations = {number: one.organisation for number, one in owners.items()}
    protected = record_store.protected_records(tx, named)
    persons_of = {
        row.task_id: {
            person
            for side in row.sides
            for number in side
            if number in owners and (person := owners[number].person_id) is not None
        }
        for row in rows
    }
    counts = activity_store.person_activity(tx, {one for some in persons_of.values() for one in some})
    even = mpi.model.thresholds.balanced
    places = {}
    for row in rows:
        if any(not protected.isdisjoint(side) for side in row.sides):
            harm = UNTOLD[row.kind]
        elif row.is_sample:
            harm = row.harm  # it stands where another task stood
        else:
            active = [_sum(counts.get(person, ()), now) for person in sorted(persons_of[row.task_id])]
            harm = harm_of(row.kind, row.weight_millibits, even, active)
        places[row.task_id] = (harm, row.escalated_to or route_of(row.kind, row.sides, organisations))
    task_store.write_places(tx, places, now)


def _sum(counts: Iterable[Activity], now: datetime) -> int:
    return sum(decayed(one.milliviews, now - one.counted_at) for one in counts)
