"""The erasure of one record, in one transaction: what it said goes, whoever it stood with is partitioned again, its id says "gone"."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import blake2b
from typing import Any

from sqlalchemy import Connection

from foundation import audit
from foundation.errors import NotFound
from foundation.outbox import emit
from foundation.principal import Principal
from mpi.records import RecordKey
from mpi.records.quoted import quotes_of
from mpi.service import trail
from mpi.service.context import Mpi
from mpi.service.fold import read_again, stored_record
from mpi.service.held import active_among, bearers_beside, hold_around, persons_bound
from mpi.service.holders import Erasure
from mpi.service.link import Change, Taken, repartition, stand_aside
from mpi.service.persons import lock_persons
from mpi.store import local_changes as change_store
from mpi.store import numbers as number_store
from mpi.store import persons as person_store
from mpi.store import purges as purge_store
from mpi.store import records as record_store
from mpi.store.purges import Cleared, Traces
from mpi.store.records import RecordRow
from mpi.store.tasks import protected_tasks
from mpi.store.withdrawals import OUT, forget_withdrawals

CAUSE = "record-erased"


@dataclass(frozen=True, slots=True)
class Effect:
    """What the erasure of a record changes, in numbers and ids: what two people are shown before, and what stands in the log after.

    Args:
        version: the record's newest version.
        person_id: whose it is; None while it is nobody's.
        persons: the persons that are left of it, by their ids afterwards.
        records_left: how many records are left of it.
        counts: what goes or changes, by name.
        old_keys: the keys that it had before, each by the id of the row that kept it.
    """

    record_id: int
    version: int
    person_id: int | None
    persons: tuple[int, ...]
    records_left: int
    counts: Mapping[str, int]
    key: RecordKey = field(repr=False)
    audit_rows: frozenset[int]
    old_keys: Mapping[int, RecordKey] = field(repr=False)

    @property
    def mark(self) -> int:
        """A number that differs where the effect does. What any look at the person adds to is left out."""
        counts = {name: count for name, count in self.counts.items() if name not in _PASSING}
        told = (
            self.record_id,
            self.version,
            self.person_id,
            self.persons,
            self.records_left,
            sorted(counts.items()),
        )
        return int.from_bytes(blake2b(json.dumps(told).encode(), digest_size=7).digest())


_PASSING = frozenset({"audit_rows", "answers", "tickets"})


def erase_record(tx: Connection, mpi: Mpi, record_id: int, by: Principal) -> Effect:
    """Erase a record and all that hangs on it, but for the audit log's rows and the tombstone, which are the caller's.

    Raises:
        NotFound: ``record-unknown``.
        Conflict: from a holder, such as ``directive-on-record-alone``.
        Unavailable: ``linking-busy``.
        Moved: what was read before the locks is no longer so.
    """
    mpi = mpi.at(tx)
    stand_aside(tx, mpi)
    around = hold_around(tx, [record_id], ("active", *OUT))
    if record_id not in around.rows:
        raise NotFound("record-unknown")
    row, traces = around.rows[record_id], around.traces[record_id]
    # One that its source merged before it came has none.
    versions = record_store.read_versions(tx, [record_id]).get(record_id, [])
    quotes = quotes_of(stored_record(one) for one in versions)
    kin = _kin(tx, row)
    now = mpi.clock.now()
    others = bearers_beside(tx, [record_id])
    said = len(number_store.read_said(tx, record_id))
    hidden = protected_tasks(tx, [one.task_id for one in traces.tasks])
    cleared = purge_store.clear_record(tx, row, traces, now)
    forget_withdrawals(tx, record_id)
    old_keys = _forget_changes(tx, row, now)
    mpi.forms.forget(record_id)
    reread = read_again(tx, mpi, others, by)
    linked = repartition(
        tx,
        mpi,
        active_among(tx, around.seeds),
        Change(CAUSE, by),
        taken=Taken(
            {} if row.person_id is None else {record_id: row.person_id},
            {record_id: row.key.organisation},
            tuple(
                persons_bound(tx, row, one.sides)
                for one in cleared.tasks
                if one.is_binding and one.state == "open"
            ),
            frozenset() if row.person_id is None or not row.restricted else frozenset({row.person_id}),
        ),
    )
    closed = {one.task_id: (one.kind, "closed") for one in cleared.tasks if one.state == "open"}
    trail.task_events(tx, closed, hidden & closed.keys())
    lock_persons(tx, {record_id} if row.person_id is None else {row.person_id}, shared=False)
    erasure = Erasure(record_id, _person_ids(tx, row), kin, row.key.local_id, quotes, now)
    held: dict[str, int] = {}
    audit_rows: set[int] = set()
    for holder in mpi.holders:
        gone = holder(tx, erasure)
        held |= gone.counts
        audit_rows |= set(gone.audit_rows)
    left = record_store.read_records(tx, kin)
    return Effect(
        record_id=record_id,
        version=row.version,
        person_id=row.person_id,
        persons=tuple(sorted({one.person_id for one in left.values() if one.person_id is not None})),
        records_left=len(kin),
        counts={
            **_counts(row, traces, cleared),
            **({"old_local_ids": len(old_keys)} if old_keys else {}),
            "numbers": said,
            "records_read_again": reread,
            "tasks_opened": linked.tasks_opened,
            "tasks_closed": linked.tasks_closed,
            **held,
            "audit_rows": len(audit_rows),
        },
        key=row.key,
        audit_rows=frozenset(audit_rows),
        old_keys=old_keys,
    )


def _forget_changes(tx: Connection, row: RecordRow, now: datetime) -> dict[int, RecordKey]:
    """Forget what a source said of a record's local ids, old ones too, and take back what waits for it; return the keys that it had."""
    for change in change_store.changes_of(tx, [row.record_id], ["held"]):
        change_store.hold(tx, {change.record_id, change.into_record_id or change.record_id}, None)
        change_store.update_change(tx, change.change_id, state="undone", changed_at=now)
    kept = change_store.old_ids_of(tx, row.record_id)
    for old_id, _ in kept:
        purge_store.leave_id(tx, old_id, now)
    change_store.forget_changes(tx, row.record_id)
    return {old_id: replace(row.key, local_id=local_id) for old_id, local_id in kept}


def _kin(tx: Connection, row: RecordRow) -> tuple[int, ...]:
    """Return the other records of the person whose a record is, the earliest first."""
    if row.person_id is None:
        return ()
    return tuple(sorted(record_store.read_members(tx, [row.person_id]).keys() - {row.record_id}))


def _person_ids(tx: Connection, row: RecordRow) -> frozenset[int]:
    found: set[int | None] = {row.record_id, row.person_id}
    for change in person_store.read_changes(tx, [row.record_id]):
        found |= {change.from_person_id, change.to_person_id}
    return frozenset(number for number in found if number is not None)


def _counts(row: RecordRow, traces: Traces, cleared: Cleared) -> dict[str, int]:
    return {
        "versions": traces.versions,
        "edges": len(traces.edges),
        "decisions": cleared.decisions,
        "tasks": len(cleared.tasks),
        "tasks_without_it": cleared.stripped,
        "comments": cleared.comments + sum(one.comment is not None for one in traces.decisions),
    }


def write_down(
    tx: Connection, mpi: Mpi, effect: Effect, by: Principal, purge_id: int, detail: Mapping[str, Any]
) -> None:
    """Leave the act in the log and the outbox, and take the personal parts out of the log's rows that quote the record."""
    now = mpi.clock.now()
    told = {"record_id": str(effect.record_id), "purge_id": str(purge_id)}
    audit.erase_rows(tx, audit.entry_by(by, now, audit.ERASING, detail=told), effect.audit_rows)
    trail.note(
        tx,
        by,
        now,
        "record-purged",
        person_id=effect.person_id,
        detail={**told, **detail, "version": effect.version, "changed": dict(effect.counts)},
    )
    emit(tx, "record.erased", effect.record_id, told, organisation=effect.key.organisation)
