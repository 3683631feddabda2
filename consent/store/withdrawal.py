"""What the consent wing holds of a record that its source merges into another: facts of care follow it, and come back with it."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, Table, select, update

from consent.store.tables import emergency_grant, relationship
from foundation.ids import format_id, parse_id

CARE: Mapping[str, tuple[Table, str]] = {
    "relationships": (relationship, "relationship_id"),
    "emergency_grants": (emergency_grant, "grant_id"),
}
"""What follows a record, by name: its table, and what its rows are known by."""


def move_care(tx: Connection, record_id: int, to: int) -> dict[str, list[str]]:
    """Let another record bear the relationships and the emergency access of one; return the ids of both."""
    moved = {}
    for name, (table, number) in CARE.items():
        ours = table.c.record_id == record_id
        moved[name] = [format_id(one) for one in tx.scalars(select(table.c[number]).where(ours))]
        tx.execute(update(table).where(ours).values(record_id=to))
    return moved


def take_care_back(tx: Connection, record_id: int, moved: Mapping[str, Sequence[str]]) -> None:
    """Let a record bear again what had followed it."""
    for name, ids in moved.items():
        table, number = CARE[name]
        numbers = [parse_id(one) for one in ids]
        for start in range(0, len(numbers), 500):
            some = table.c[number].in_(numbers[start : start + 500])
            tx.execute(update(table).where(some).values(record_id=record_id))
