"""Persons: their epochs, and the history of who belonged to whom."""

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, insert, select

from foundation.database import insert_ignore, upsert
from mpi.records.past import MembershipChange
from mpi.store.batch import within
from mpi.store.tables import membership_change, person


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


def read_entrants(tx: Connection, person_ids: Collection[int]) -> set[int]:
    """Return every record that ever came to one of these persons, but for those whose own ids they bear."""
    if not person_ids:
        return set()
    statement = (
        select(membership_change.c.record_id)
        .where(
            within(tx, membership_change.c.to_person_id, person_ids),
            membership_change.c.to_person_id != membership_change.c.record_id,
        )
        .distinct()
    )
    return set(tx.scalars(statement))
