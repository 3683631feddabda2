"""Persons: their epochs, and the history of who belonged to whom."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from foundation.database import insert_ignore, upsert
from mpi.store.batch import within
from mpi.store.tables import membership_change, person


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """A record left one person (None: it was nobody's) for another (None: it is nobody's)."""

    change_id: int
    record_id: int
    from_person_id: int | None
    to_person_id: int | None
    cause: str
    decision_id: int | None
    changed_at: datetime


def read_epochs(tx: Connection, ids: Collection[int]) -> dict[int, int]:
    """Return the epochs of those of these persons that ever had one."""
    if not ids:
        return {}
    found = tx.execute(select(person.c.person_id, person.c.epoch).where(within(tx, person.c.person_id, ids)))
    return {row[0]: row[1] for row in found}


def write_epochs(tx: Connection, epochs: dict[int, int]) -> None:
    """Set epochs; a person not seen before gets its row."""
    rows = [{"person_id": number, "epoch": epoch} for number, epoch in sorted(epochs.items())]
    upsert(tx, person, rows, key=["person_id"], update=["epoch"])


def insert_persons(tx: Connection, ids: Collection[int], epoch: int) -> None:
    """Give persons not seen before their first epoch; the others keep theirs."""
    insert_ignore(
        tx, person, [{"person_id": number, "epoch": epoch} for number in sorted(ids)], ["person_id"]
    )


def insert_changes(tx: Connection, changes: Sequence[MembershipChange]) -> None:
    if changes:
        tx.execute(
            insert(membership_change),
            [
                {
                    "change_id": change.change_id,
                    "record_id": change.record_id,
                    "from_person_id": change.from_person_id,
                    "to_person_id": change.to_person_id,
                    "cause": change.cause,
                    "decision_id": change.decision_id,
                    "changed_at": change.changed_at,
                }
                for change in changes
            ],
        )


def read_changes(tx: Connection, record_ids: Collection[int]) -> list[MembershipChange]:
    """Return the history of these records, in order."""
    if not record_ids:
        return []
    statement = (
        select(membership_change)
        .where(within(tx, membership_change.c.record_id, record_ids))
        .order_by(membership_change.c.change_id)
    )
    return [MembershipChange(*row) for row in tx.execute(statement)]
