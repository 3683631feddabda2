"""Persons that came apart: read from the history of their records, for whoever must say what was seen of them while they were one."""

from collections.abc import Collection

from sqlalchemy import Connection

from mpi.records.past import UndoneMerge, undone_merges
from mpi.store import persons as person_store
from mpi.store import records as record_store


def read_undone_merges(tx: Connection, person_id: int) -> list[UndoneMerge]:
    """Return how often the person of an id came apart, in order; the same whenever it is asked, unless records were erased."""
    members = records_of_id(tx, person_id)
    changes = person_store.read_changes(tx, members)
    if not any(one.from_person_id == person_id for one in changes):
        return []
    borne = {number for one in changes for number in (one.from_person_id, one.to_person_id)} - {None}
    persons = {number for number in borne if number is not None}
    entrants = members | persons | person_store.read_entrants(tx, persons)
    return undone_merges(person_store.read_changes(tx, entrants), person_id)


def records_of_id(tx: Connection, person_id: int) -> set[int]:
    """Return the records that ever were in the person of an id."""
    return {person_id, *person_store.read_entrants(tx, [person_id])}


def organisations_of(tx: Connection, record_ids: Collection[int]) -> dict[int, str]:
    """Return of which organisation each of these records is, withdrawn ones too; one that was erased is nobody's."""
    rows = record_store.read_records(tx, record_ids)
    return {number: row.key.organisation for number, row in sorted(rows.items()) if row.state != "erased"}


def persons_ever_left(tx: Connection) -> set[int]:
    """Return every id whose person a record ever left. It reads the whole history: after a bulk switch, which tells of no person."""
    return person_store.read_left(tx)
