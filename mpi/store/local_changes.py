"""Merges and renumberings inside a source: what was asked, what came of it, and the rows that keep old local ids."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, delete, exists, insert, or_, select, update

from foundation.database import insert_ignore
from mpi.records import RecordKey
from mpi.store.batch import within
from mpi.store.tables import link_decision, local_change, record_version, source_record, task


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """What a source said of a local id of its own, and what came of it; see the table."""

    change_id: int
    act: str
    record_id: int
    into_record_id: int | None
    local_id: str | None = field(repr=False)
    old_id: int | None
    version: int | None
    task_id: int | None
    decision_id: int | None
    state: str
    requested_by: str
    requested_at: datetime
    changed_by: str
    changed_at: datetime


def insert_change(tx: Connection, row: ChangeRow) -> None:
    tx.execute(insert(local_change), {name: getattr(row, name) for name in ChangeRow.__slots__})


def update_change(tx: Connection, change_id: int, **values: Any) -> None:
    tx.execute(update(local_change).where(local_change.c.change_id == change_id).values(**values))


def read_change(tx: Connection, change_id: int, *, for_update: bool = False) -> ChangeRow | None:
    statement = select(local_change).where(local_change.c.change_id == change_id)
    row = tx.execute(statement.with_for_update() if for_update else statement).first()
    return None if row is None else ChangeRow(*row)


def changes_of(tx: Connection, record_ids: Collection[int], states: Collection[str]) -> list[ChangeRow]:
    """Return the changes of these states of which any of these records is either side, in order."""
    mine = or_(
        within(tx, local_change.c.record_id, record_ids),
        within(tx, local_change.c.into_record_id, record_ids),
    )
    statement = select(local_change).where(mine, local_change.c.state.in_(sorted(states)))
    return [ChangeRow(*row) for row in tx.execute(statement.order_by(local_change.c.change_id))]


def list_changes(
    tx: Connection,
    organisations: Collection[str] | None,
    *,
    state: str | None,
    below: int | None,
    limit: int,
) -> list[tuple[ChangeRow, str, str]]:
    """Return changes with organisation and system, the newest first.

    Args:
        organisations: whose records; None for everybody's.
        below: only those with a lower id.
    """
    record = source_record.c
    statement = (
        select(*local_change.c, record.organisation, record.system)
        .join(source_record, record.record_id == local_change.c.record_id)
        .order_by(local_change.c.change_id.desc())
        .limit(limit)
    )
    if organisations is not None:
        statement = statement.where(record.organisation.in_(sorted(organisations)))
    if state is not None:
        statement = statement.where(local_change.c.state == state)
    if below is not None:
        statement = statement.where(local_change.c.change_id < below)
    return [(ChangeRow(*row[:-2]), row[-2], row[-1]) for row in tx.execute(statement)]


def unsettled_changes(tx: Connection, after: int, limit: int) -> list[int]:
    """Return, in order, the changes that need wait no longer, and those that stand as an answer had it that is another one by now.

    Until a question about it is answered, or a held update is decided, a change is left alone: nothing of it would come out otherwise.
    """
    answer = exists().where(
        link_decision.c.decision_id == local_change.c.decision_id, link_decision.c.state != "standing"
    )
    version = record_version.c
    ruled = exists().where(
        version.record_id == local_change.c.record_id,
        version.version == local_change.c.version,
        or_(
            and_(local_change.c.state == "done", version.state != "accepted"),
            and_(local_change.c.state == "rejected", version.state != "rejected"),
        ),
    )
    settled = local_change.c.state.in_(("done", "rejected"))
    is_asked = exists().where(task.c.task_id == local_change.c.task_id, task.c.state == "open")
    is_updated = exists().where(
        source_record.c.record_id.in_((local_change.c.record_id, local_change.c.into_record_id)),
        source_record.c.held_version.is_not(None),
    )
    is_held = exists().where(
        version.record_id == local_change.c.record_id,
        version.version == local_change.c.version,
        version.state == "held",
    )
    is_untold = and_(local_change.c.act == "merge", local_change.c.task_id.is_(None), is_updated)
    is_due = and_(local_change.c.state == "held", ~is_asked, ~is_untold, ~is_held)
    statement = select(local_change.c.change_id).where(
        local_change.c.change_id > after,
        or_(is_due, and_(settled, answer), and_(settled, ruled)),
    )
    return list(tx.scalars(statement.order_by(local_change.c.change_id).limit(limit)))


def waits_for(tx: Connection, task_id: int) -> bool:
    """Whether a change waits for the answer to a task."""
    waiting = select(local_change.c.change_id).where(
        local_change.c.task_id == task_id, local_change.c.state == "held"
    )
    return tx.scalar(waiting.limit(1)) is not None


def forget_changes(tx: Connection, record_id: int) -> None:
    """Forget what a source said of a record's local ids; that another was merged into it tells nothing of it."""
    tx.execute(delete(local_change).where(local_change.c.record_id == record_id))


def hold(tx: Connection, record_ids: Collection[int], change_id: int | None) -> None:
    """Mark records as waiting for a change to be looked at, or no longer."""
    tx.execute(
        update(source_record)
        .where(within(tx, source_record.c.record_id, record_ids))
        .values(held_change_id=change_id)
    )


# Old local ids -------------------------------------------------------------------------------------------------------


def bearers_of_old_ids(tx: Connection, old_ids: Collection[int]) -> dict[int, int]:
    """Return for each of these rows that keep an old local id the record that had it."""
    if not old_ids:
        return {}
    statement = select(local_change.c.old_id, local_change.c.record_id).where(
        within(tx, local_change.c.old_id, old_ids), local_change.c.state == "done"
    )
    return {row[0]: row[1] for row in tx.execute(statement)}


def old_ids_of(tx: Connection, record_id: int) -> list[tuple[int, str]]:
    """Return the rows that keep old local ids of a record, each with that id."""
    statement = (
        select(source_record.c.record_id, source_record.c.local_id)
        .join(local_change, local_change.c.old_id == source_record.c.record_id)
        .where(local_change.c.record_id == record_id, source_record.c.state == "renumbered")
        .order_by(source_record.c.record_id)
    )
    return [(row[0], row[1]) for row in tx.execute(statement)]


def keep_old_id(tx: Connection, old_id: int, key: RecordKey, at: datetime) -> None:
    """Keep a key that a record had, in a row that is no record: the same key cannot come as another one."""
    tx.execute(insert(source_record), _bare(old_id, key, "renumbered", "", at))


def insert_unseen(tx: Connection, record_id: int, key: RecordKey, no_form: str, at: datetime) -> bool:
    """Insert a merged record of which no version has come; False where its key is there already."""
    row = _bare(record_id, key, "merged", no_form, at)
    return insert_ignore(tx, source_record, [row], ["organisation", "system", "local_id"]) == 1


def _bare(record_id: int, key: RecordKey, state: str, normalised: str, at: datetime) -> dict[str, Any]:
    """Return a row with a key and nothing else."""
    return {
        "record_id": record_id,
        "organisation": key.organisation,
        "system": key.system,
        "local_id": key.local_id,
        "state": state,
        "version": 0,
        "current_version": 0,
        "linked_version": 0,  # it waits for nobody
        "normalised": normalised,
        "keys": b"",
        "model_revision": "",
        "restricted": False,
        "component_id": record_id,
        "search_complete": False,
        "received_at": at,
        "changed_at": at,
    }


def drop_old_id(tx: Connection, old_id: int) -> None:
    """Let a local id be free again."""
    tx.execute(
        delete(source_record).where(
            source_record.c.record_id == old_id, source_record.c.state == "renumbered"
        )
    )


def rename(tx: Connection, record_id: int, local_id: str, at: datetime) -> None:
    tx.execute(
        update(source_record)
        .where(source_record.c.record_id == record_id)
        .values(local_id=local_id, changed_at=at)
    )
