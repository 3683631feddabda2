"""Where open tasks stand in the queue, and who is asked: worked out where they change, and by the worker as people are looked at."""

from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from mpi.matching.harm import ERROR_PER_MILLE, decayed, harm_of, route_of, untold_harm
from mpi.service.context import Mpi
from mpi.store import activity as activity_store
from mpi.store import tasks as task_store
from mpi.store.activity import Activity
from mpi.store.tasks import TaskRow

UNTOLD = {kind: untold_harm(kind) for kind in ERROR_PER_MILLE}
"""The harm of each kind of task while nothing more may be told, or is known."""

PLACED_FOR = timedelta(days=1)
"""After this time a place is worked out again: what was looked at is looked at less."""


def place_tasks(tx: Connection, mpi: Mpi, task_ids: Collection[int], now: datetime) -> None:
    """Work out harm and route of open tasks from whom they are about now; what comes to the same is not written again."""
    if task_ids:
        _place(tx, mpi, task_ids, now, only_moved=True)


def placed(
    tx: Connection,
    mpi: Mpi,
    tasks: Sequence[TaskRow],
    organisation_of: Mapping[int, str],
    person_of: Mapping[int, int | None],
    protected: Container[int],
    now: datetime,
) -> tuple[TaskRow, ...]:
    """Give tasks that are about to be opened their harm and route: those that ``place_tasks`` would find them once they stand.

    Args:
        organisation_of: of every record on a side.
        person_of: who is whose afterwards, of every record of all persons whom the tasks are about.
        protected: those of the tasks that are about people whose location is protected.
    """
    about = {
        row.task_id: {
            person for side in row.sides for one in side if (person := person_of.get(one)) is not None
        }
        for row in tasks
    }
    asked = set().union(*(about[row.task_id] for row in tasks if row.task_id not in protected))
    counts: dict[int, list[Activity]] = defaultdict(list)
    records = [number for number, person in person_of.items() if person in asked]
    for number, count in activity_store.read_activity(tx, records).items():
        counts[person_of[number] or 0].append(count)
    even = mpi.model.thresholds.balanced
    return tuple(
        replace(
            row,
            harm=UNTOLD[row.kind]
            if row.task_id in protected
            else harm_of(
                row.kind,
                row.weight_millibits,
                even,
                [_sum(counts[person], now) for person in sorted(about[row.task_id])],
            ),
            routed_to=route_of(row.kind, row.sides, organisation_of),
        )
        for row in tasks
    )


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
        task_ids = task_store.stale_places(tx, now - PLACED_FOR, limit)
        _place(tx, mpi.at(tx), task_ids, now)
    return len(task_ids)


def _place(
    tx: Connection, mpi: Mpi, task_ids: Collection[int], now: datetime, *, only_moved: bool = False
) -> None:
    rows = task_store.read_standing(tx, task_ids)
    counts = activity_store.person_activity(tx, {person for row in rows for person in row.persons})
    even = mpi.model.thresholds.balanced
    places = {}
    for row in rows:
        if row.protected:
            harm = UNTOLD[row.kind]
        elif row.is_sample:
            harm = row.harm  # it stands where another task stood
        else:
            active = [_sum(counts.get(person, ()), now) for person in sorted(row.persons)]
            harm = harm_of(row.kind, row.weight_millibits, even, active)
        route = row.escalated_to or route_of(row.kind, row.sides, row.organisations)
        if not only_moved or not row.is_placed or (harm, route) != (row.harm, row.routed_to):
            places[row.task_id] = (harm, route)
    task_store.write_places(tx, places, now)


def _sum(counts: Iterable[Activity], now: datetime) -> int:
    return sum(decayed(one.milliviews, now - one.counted_at) for one in counts)
