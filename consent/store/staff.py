"""Staff files: one for each employer, its staff as keyed digests."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from consent.facts.staff import Marks, StaffFile
from consent.store.tables import staff_file, staff_member


@dataclass(frozen=True, slots=True)
class Member:
    """One of an employer's staff: a mark of the user id, and of what may be compared."""

    user: bytes = field(repr=False)
    marks: Marks = field(repr=False)


def put_file(tx: Connection, file: StaffFile, members: Collection[Member]) -> StaffFile:
    """Put a file in the place of the one that its organisation had, and return it as it stands."""
    before = remove_file(tx, file.organisation)
    if before is not None:
        file = replace(file, stands_since=before.stands_since)
    tx.execute(
        insert(staff_file),
        {name: getattr(file, name) for name in StaffFile.__slots__} | {"compares": list(file.compares)},
    )
    if members:
        tx.execute(insert(staff_member), [_row(file.file_id, one) for one in members])
    return file


def remove_file(tx: Connection, organisation: str) -> StaffFile | None:
    """Take an organisation's file away; return what it was."""
    found = tx.execute(
        select(staff_file).where(staff_file.c.organisation == organisation).with_for_update()
    ).first()
    if found is None:
        return None
    tx.execute(delete(staff_member).where(staff_member.c.file_id == found.file_id))
    tx.execute(delete(staff_file).where(staff_file.c.file_id == found.file_id))
    return _file(found)


def read_files(tx: Connection, organisations: Collection[str] | None = None) -> list[StaffFile]:
    """Return the files of some organisations, of all for None, in order of their codes."""
    statement = select(staff_file).order_by(staff_file.c.organisation)
    if organisations is not None:
        statement = statement.where(staff_file.c.organisation.in_(sorted(organisations)))
    return [_file(row) for row in tx.execute(statement)]


def find_member(tx: Connection, file_id: int, user: bytes) -> Member | None:
    statement = select(staff_member).where(
        staff_member.c.file_id == file_id, staff_member.c.user_mark == user
    )
    row = tx.execute(statement).first()
    return None if row is None else _member(row)


def find_alike(tx: Connection, file_id: int, marks: Marks) -> list[Member]:
    """Return the staff who have a number, or a surname with a birth date, of somebody."""
    found = {}
    # One after the other, each by its index: of both at once SQLite reads the whole file.
    for column, wanted in (
        (staff_member.c.number_mark, marks.numbers),
        (staff_member.c.person_mark, marks.persons),
    ):
        if wanted:
            statement = select(staff_member).where(
                staff_member.c.file_id == file_id, column.in_(sorted(wanted))
            )
            found.update({row.user_mark: _member(row) for row in tx.execute(statement)})
    return list(found.values())


_COLUMNS = {
    "number_mark": "numbers",
    "surname_mark": "surnames",
    "person_mark": "persons",
    "address_mark": "addresses",
}


def _row(file_id: int, member: Member) -> dict[str, Any]:
    marks = {column: _one(getattr(member.marks, name)) for column, name in _COLUMNS.items()}
    return {"file_id": file_id, "user_mark": member.user} | marks


def _one(marks: Iterable[bytes]) -> bytes | None:
    return next(iter(marks), None)


def _member(row: Row[Any]) -> Member:
    told = {
        name: frozenset() if row._mapping[column] is None else frozenset({bytes(row._mapping[column])})
        for column, name in _COLUMNS.items()
    }
    return Member(bytes(row.user_mark), Marks(**told))


def _file(row: Row[Any]) -> StaffFile:
    return StaffFile(**{**row._mapping, "compares": tuple(row.compares)})
