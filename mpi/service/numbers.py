"""Superseded NHS numbers: what one record knows of a number holds for every record that still bears the old one."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import Connection

from foundation.database import LOCK_NUMBER, lock
from mpi.matching import NormalisedRecord, normalise
from mpi.records import SourceRecord, survivors
from mpi.records.superseded import LONGEST_CHAIN
from mpi.service.context import Mpi
from mpi.service.lookup import NHS_NUMBER_SYSTEM, lookup_key
from mpi.store import numbers as number_store
from mpi.store import records as record_store


def forms_of(tx: Connection, mpi: Mpi, records: Sequence[SourceRecord]) -> list[NormalisedRecord]:
    """Return the forms of records, read with the numbers that stand for theirs now."""
    known = survivors_of(tx, records)
    return [normalise(record, mpi.model, superseded=known) for record in records]


def form_of(tx: Connection, mpi: Mpi, record: SourceRecord) -> NormalisedRecord:
    return forms_of(tx, mpi, [record])[0]


def survivors_of(tx: Connection, records: Iterable[SourceRecord]) -> dict[str, str]:
    """Return of the NHS numbers of some records those that were superseded, each with the one that stands for it now."""
    return held_survivors(tx, {number for record in records for number in record.usable_numbers})


def survivors_of_numbers(
    tx: Connection, numbers: Collection[str], begun: Mapping[str, set[str]] | None = None
) -> dict[str, str]:
    """As ``survivors_of``; ``begun`` is what was read already of these numbers, one step far."""
    return survivors(numbers, _said_of(tx, numbers, begun))


def held_survivors(
    tx: Connection, numbers: Collection[str], begun: Mapping[str, set[str]] | None = None
) -> dict[str, str]:
    """As ``survivors_of_numbers``; nobody takes such news away, or brings other, until the transaction ends.

    Else a record could be kept as news has it that a transaction beside this one has just taken away, having looked for whoever is read
    by it, and not seen this one.
    """
    held: set[str] = set()
    while True:
        said = _said_of(tx, numbers, begun)
        if said.keys() <= held:
            return survivors(numbers, said)
        lock(tx, LOCK_NUMBER, map(int, said.keys() - held), shared=True)
        held |= said.keys()
        begun = None


def hold_news(tx: Connection, numbers: Collection[str]) -> None:
    """Hold what is said of these numbers alone, for whoever changes it and then looks for those that are read by it."""
    if numbers:
        lock(tx, LOCK_NUMBER, map(int, numbers))


def _said_of(
    tx: Connection, numbers: Collection[str], begun: Mapping[str, set[str]] | None
) -> dict[str, set[str]]:
    said: dict[str, set[str]] = {}
    fresh = set(numbers)
    for _ in range(LONGEST_CHAIN):
        found = number_store.read_superseded(tx, fresh) if begun is None else begun
        begun = None
        said |= found
        fresh = {new for news in found.values() for new in news} - said.keys()
        if not fresh:
            break
    return said


def bearers_of(tx: Connection, numbers: Collection[str]) -> set[int]:
    """Return the records that may bear one of these numbers, or one that was superseded by it in turn."""
    found, fresh = set(numbers), set(numbers)
    for _ in range(LONGEST_CHAIN):
        before = number_store.read_predecessors(tx, fresh)
        fresh = {old for olds in before.values() for old in olds} - found
        found |= fresh
        if not fresh:
            break
    keys = {lookup_key(NHS_NUMBER_SYSTEM, number) for number in found}
    return {one.record_id for one in record_store.search_all(tx, keys)}
