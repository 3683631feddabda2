"""Records held together with what is around them: the components first, as linking does, then the rows against new versions."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from foundation.database import LOCK_COMPONENT, lock
from mpi.service.link import Moved
from mpi.service.numbers import bearers_of, hold_news
from mpi.store import numbers as number_store
from mpi.store import purges as purge_store
from mpi.store import records as record_store
from mpi.store.purges import Traces
from mpi.store.records import RecordRow


@dataclass(frozen=True, slots=True)
class Around:
    """Some records with what names them.

    ``mates`` are the other records in force of their components; ``named`` all those that an edge, a task or a decision names with one of
    them; ``components`` those of all these.
    """

    rows: Mapping[int, RecordRow]
    traces: Mapping[int, Traces]
    mates: frozenset[int]
    components: frozenset[int]

    @property
    def named(self) -> frozenset[int]:
        return frozenset().union(*(one.named for one in self.traces.values())) - self.rows.keys()

    @property
    def seeds(self) -> frozenset[int]:
        """Every other record whose place these have a say in."""
        return self.mates | self.named


def hold_around(tx: Connection, record_ids: Collection[int], states: Collection[str]) -> Around:
    """Hold those of these records that are in one of these states.

    Raises:
        Moved: what was read before the locks is no longer so.
    """
    found = _around(tx, record_ids, states)
    lock(tx, LOCK_COMPONENT, found.components)
    record_store.lock_records(tx, found.rows)
    again = _around(tx, record_ids, states)
    if not again.components <= found.components or not again.mates <= found.seeds | found.rows.keys():
        raise Moved
    return again


def _around(tx: Connection, record_ids: Collection[int], states: Collection[str]) -> Around:
    rows = {
        number: row
        for number, row in sorted(record_store.read_records(tx, record_ids).items())
        if row.state in states
    }
    traces = {number: purge_store.read_traces(tx, number) for number in rows}
    components = {row.component_id for row in rows.values()}
    mates = frozenset(
        number
        for number, one in record_store.read_components(tx, components).items()
        if one.state == "active" and number not in rows
    )
    named = record_store.read_records(
        tx, {number for one in traces.values() for number in one.named} - rows.keys()
    )
    return Around(rows, traces, mates, frozenset(components | {one.component_id for one in named.values()}))


def active_among(tx: Connection, record_ids: Collection[int]) -> set[int]:
    """Return those of some records that are in force."""
    rows = record_store.read_records(tx, record_ids)
    return {number for number, row in rows.items() if row.state == "active"}


def bearers_beside(tx: Connection, record_ids: Collection[int]) -> set[int]:
    """Return the other records that are read by what these say of superseded numbers, which is held: it is to change."""
    said = {old for number in record_ids for old in number_store.read_said(tx, number)}
    hold_news(tx, said)
    return bearers_of(tx, said) - set(record_ids) if said else set()


def persons_bound(tx: Connection, row: RecordRow, sides: Collection[Collection[int]]) -> frozenset[int]:
    """Return the persons whom a task joined; the record itself is nobody's by now."""
    rows = record_store.read_records(tx, {number for side in sides for number in side})
    persons = {one.person_id for one in rows.values()} | {row.person_id}
    return frozenset(number for number in persons if number is not None)
