"""Persons: their epochs, and the history of who belonged to whom."""

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, select

from foundation.database import insert_ignore
from foundation.direct import Statement, Writes, write_rows
from mpi.records.past import MembershipChange
from mpi.store.batch import within
from mpi.store.tables import membership_change, person

_EPOCHS = Statement.alike("SELECT person_id, epoch FROM person WHERE person_id {among}")
_RAISE = Statement(
    "WITH wanted AS (SELECT * FROM unnest(%s::bigint[], %s::integer[]) AS w (person_id, place)), "
    "fresh AS (SELECT place, coalesce(max(p.epoch), 0) + 1 AS epoch "
    "FROM wanted LEFT JOIN LATERAL (SELECT epoch FROM person WHERE person_id = wanted.person_id) p ON true GROUP BY place) "
    "INSERT INTO person (person_id, epoch) SELECT person_id, epoch FROM wanted JOIN fresh USING (place) "
    "ON CONFLICT (person_id) DO UPDATE SET epoch = excluded.epoch RETURNING person_id, epoch",
    "",
)


def read_epochs(tx: Connection, ids: Collection[int]) -> dict[int, int]:
    """Return the epochs of those of these persons that ever had one."""
    return {row[0]: row[1] for row in _EPOCHS.rows(tx, ids)} if ids else {}


def raise_epochs(tx: Connection, groups: Sequence[Sequence[int]]) -> dict[int, int]:
    """Raise each group of persons to the greatest of its own epochs plus one, and return the new ones. A person stands in one group.

    The caller holds all of them exclusively.
    """
    if not groups:
        return {}
    if tx.dialect.name != "sqlite":
        wanted = sorted((number, place) for place, group in enumerate(groups) for number in group)
        rows = _RAISE.rows(tx, [number for number, _ in wanted], [place for _, place in wanted])
        return {row[0]: row[1] for row in rows}
    before = read_epochs(tx, [number for group in groups for number in group])
    raised: dict[int, int] = {}
    for group in groups:
        raised.update(dict.fromkeys(group, max(before.get(number, 0) for number in group) + 1))
    write_epochs(tx, raised)
    return raised


def write_epochs(tx: Connection, epochs: dict[int, int]) -> None:
    """Set epochs; a person not seen before gets its row."""
    rows = [{"person_id": number, "epoch": epoch} for number, epoch in sorted(epochs.items())]
    write_rows(tx, lambda writes: writes.upsert(person, rows, ("person_id",), ("epoch",)))


def insert_persons(tx: Connection, ids: Collection[int], epoch: int) -> None:
    """Give persons not seen before their first epoch; the others keep theirs."""
    insert_ignore(
        tx, person, [{"person_id": number, "epoch": epoch} for number in sorted(ids)], ["person_id"]
    )


def insert_changes(tx: Connection, changes: Sequence[MembershipChange]) -> None:
    write_rows(tx, lambda writes: put_changes(writes, changes))


def put_changes(writes: Writes, changes: Sequence[MembershipChange]) -> None:
    """As ``insert_changes``, with other writes."""
    writes.insert(
        membership_change,
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


def read_left(tx: Connection) -> set[int]:
    """Return every person that a record ever left."""
    left = membership_change.c.from_person_id
    return set(tx.scalars(select(left).where(left.is_not(None)).distinct()))
