"""Persons as others ask for them: any id resolved, locks, epochs, and who is bound together by an open question."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import Connection

from foundation.database import LOCK_PERSON, lock
from mpi.store import local_changes as change_store
from mpi.store import persons as person_store
from mpi.store import records as record_store
from mpi.store import tasks as task_store
from mpi.store import withdrawals as withdrawal_store
from mpi.store.records import RecordRow

BINDING_LIMIT = 10
"""How many persons an open question may bind together; beyond it, an alarm."""


@dataclass(frozen=True, slots=True)
class PersonMember:
    """A record of a person. Whether it may be told is the release gate's to say."""

    record_id: int
    organisation: str
    system: str
    local_id: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Resolution:
    """What an id stands for now.

    ``current``: a person, ``person_id``, with its members and epoch; of a record that its source merged into another, that one's.
    ``unlinked``: the record arrived, and linking has not taken it yet. ``gone``: the record was erased or withdrawn; search again.
    ``unknown``: no record ever had this id. ``is_held``: a member has an update, or a merge, that reads like another person, so that
    what is shown needs an identity warning.
    """

    state: Literal["current", "gone", "unknown", "unlinked"]
    person_id: int | None = None
    members: tuple[PersonMember, ...] = ()
    epoch: int = 0
    restricted: bool = False
    held: bool = False

    @property
    def is_current(self) -> bool:
        return self.state == "current"

    @property
    def record_ids(self) -> tuple[int, ...]:
        return tuple(member.record_id for member in self.members)


UNKNOWN = Resolution("unknown")


def resolve_person(tx: Connection, number: int) -> Resolution:
    """Say which person an id stands for: a pure function of the tables, the same however the person came to be.

    Any record's id will do; the person's own id is that of its earliest record.
    """
    row = record_store.read_records(tx, [number]).get(number)
    if row is None:
        return UNKNOWN
    if row.state in ("merged", "renumbered"):
        # Taken back between two statements, it is read again.
        return resolve_person(tx, stands_for(tx, [number]).get(number, number))
    if row.state != "active":
        return Resolution("gone")
    if row.person_id is None:
        return Resolution("unlinked")
    members = record_store.read_members(tx, [row.person_id])
    return Resolution(
        state="current",
        person_id=row.person_id,
        members=tuple(
            PersonMember(one.record_id, one.key.organisation, one.key.system, one.key.local_id)
            for _, one in sorted(members.items())
        ),
        epoch=person_store.read_epochs(tx, [row.person_id]).get(row.person_id, 0),
        restricted=any(one.restricted for one in members.values()),
        held=any(one.is_held for one in members.values()),
    )


def doubted_organisations(tx: Connection, resolution: Resolution) -> frozenset[str]:
    """Return whose part of a person may be another's: all of it while an update is held, and the records whose numbers conflict."""
    if resolution.held:
        return frozenset(member.organisation for member in resolution.members)
    conflict = ("number-conflict", str(resolution.person_id))
    doubted = {
        number
        for task in task_store.read_subjects(tx, [conflict])
        if task.state == "open"
        for side in task.sides
        for number in side
    }
    return frozenset(member.organisation for member in resolution.members if member.record_id in doubted)


def resolve_record(tx: Connection, record_id: int) -> int | None:
    """Return the id of the person that holds a record; None while it is nobody's."""
    return resolve_records(tx, [record_id]).get(record_id)


def resolve_records(tx: Connection, record_ids: Collection[int]) -> dict[int, int | None]:
    """Return for each record that exists the person that holds it, in one statement unless their sources merged some of them."""
    rows = record_store.read_records(tx, record_ids)
    found = {number: row.person_id if row.state == "active" else None for number, row in sorted(rows.items())}
    if merged := [number for number, row in rows.items() if row.state in ("merged", "renumbered")]:
        heirs = stands_for(tx, merged)
        of_heirs = resolve_records(tx, heirs.values())
        found |= {number: of_heirs.get(heir) for number, heir in heirs.items()}
    return found


def bearer_of(tx: Connection, row: RecordRow | None, *, for_update: bool = False) -> RecordRow | None:
    """Return the record that a row is of: of an old local id the one that had it. Given back between two looks, it is found by its key."""
    while row is not None and row.state == "renumbered":
        number = stands_for(tx, [row.record_id]).get(row.record_id)
        if number is None:
            row = record_store.find_records(tx, [row.key], for_update=for_update).get(row.key)
            continue
        if for_update:
            record_store.lock_records(tx, [number])
        row = record_store.read_records(tx, [number]).get(number)
    return row


def stands_for(tx: Connection, record_ids: Collection[int]) -> dict[int, int]:
    """Return for each of these records that its source merged the one that stands for it, and for each old local id its record."""
    standing = withdrawal_store.standing_withdrawals(tx, record_ids)
    heirs = {number: row.into_record_id for number, row in standing.items() if row.into_record_id is not None}
    return heirs | change_store.bearers_of_old_ids(tx, set(record_ids) - heirs.keys())


def lock_persons(tx: Connection, ids: Collection[int], *, shared: bool, plan_once: bool = False) -> None:
    """Hold persons until the transaction ends: shared to decide or redeem, exclusive to change directives or membership.

    Resolve the persons again afterwards, in a later statement, and start over if one moved.

    Args:
        plan_once: what follows in the transaction is planned once a connection.
    """
    lock(tx, LOCK_PERSON, ids, shared=shared, plan_once=plan_once)


def hold_record(tx: Connection, record_id: int) -> None:
    """Hold a record that is nobody's yet until the transaction ends; resolve it again afterwards, in a later statement."""
    record_store.lock_records(tx, [record_id])


def raise_epochs(tx: Connection, ids: Collection[int]) -> dict[int, int]:
    """Raise the epochs of persons that one change touches to the greatest of them all plus one; return the new ones.

    The caller holds their locks exclusively. Nothing lowers an epoch, an undo neither.
    """
    if not ids:
        return {}
    fresh = max(person_store.read_epochs(tx, ids).values(), default=0) + 1
    raised = dict.fromkeys(sorted(ids), fresh)
    person_store.write_epochs(tx, raised)
    return raised


@dataclass(frozen=True, slots=True)
class Binding:
    """The persons that an objection on one of them binds, that one included. ``alarm``: there were more than may be, ``beyond``."""

    person_ids: tuple[int, ...]
    alarm: bool = False
    task_ids: tuple[int, ...] = ()
    beyond: tuple[int, ...] = ()


def bound_with(tx: Connection, person_id: int) -> Binding:
    """Return who is bound with a person while open tasks say that they may be one: one hop, and at most 10 persons.

    Possible matches, refused joins, held updates and splits that nobody has confirmed bind; verified numbers that differ and
    twins open no such task.
    """
    found = task_store.binding_persons(tx, person_id)
    others = list(dict.fromkeys(other for _, other in found))
    bound = [person_id, *others][:BINDING_LIMIT]
    return Binding(
        person_ids=tuple(sorted(bound)),
        alarm=len(others) + 1 > BINDING_LIMIT,
        task_ids=tuple(sorted({task_id for task_id, other in found if other in bound})),
        beyond=tuple(sorted(set(others).difference(bound))),
    )
