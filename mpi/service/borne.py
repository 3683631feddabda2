"""The usable NHS numbers that records bear, for those who ask others about them; and marks by which a number is known again."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from sqlalchemy import Connection

from mpi.matching import NormalisedRecord
from mpi.records import parse_nhs_number
from mpi.service.context import Mpi, Normalised
from mpi.service.fold import UNREAD
from mpi.service.lookup import NHS_NUMBER_SYSTEM, lookup_key
from mpi.store import records as record_store


def verified_number_keys(mpi: Mpi, members: Iterable[Normalised]) -> frozenset[int]:
    """Return marks of the verified NHS numbers that some records bear now: enough to know a number again, and not to say it."""
    forms = mpi.forms_of(members).values()
    return frozenset(number_key(form.number) for form in forms if form.number and form.number_state == "v")


def number_key(number: str) -> int:
    """Return the mark of an NHS number."""
    return lookup_key(NHS_NUMBER_SYSTEM, number)


@dataclass(frozen=True, slots=True)
class BorneNumber:
    """The usable NHS number of a record: the one that stands for what it bears, verified or claimed."""

    record_id: int
    number: str = field(repr=False)

    @property
    def key(self) -> int:
        return number_key(self.number)

    @property
    def is_reserved(self) -> bool:
        return parse_nhs_number(self.number).is_reserved


def hold_numbers(tx: Connection, after: int, limit: int) -> tuple[int, int, list[BorneNumber]]:
    """Hold the next records in order of arrival until the transaction ends, and return their usable NHS numbers.

    The first value is the last record that was looked at, 0 when there is none any more; the second how many were.
    """
    found = record_store.scan_records(tx, after, limit)
    if not found:
        return 0, 0, []
    return found[-1].record_id, len(found), numbers_of(tx, [row.record_id for row in found])


def numbers_of(tx: Connection, record_ids: Collection[int]) -> list[BorneNumber]:
    """Hold some records until the transaction ends, so that none is erased meanwhile, and return the usable NHS numbers that they bear."""
    record_store.lock_records(tx, record_ids)
    rows = record_store.read_records(tx, record_ids)
    borne = []
    for number in sorted(rows):
        row = rows[number]
        if row.state != "active" or row.model_revision == UNREAD:
            continue
        form = NormalisedRecord.from_payload(row.normalised)
        if form.number and form.number_state in ("v", "c"):
            borne.append(BorneNumber(number, form.number))
    return borne
