"""A person as those who decide need it, read by one statement under its lock, of which most decisions need no other."""

from dataclasses import dataclass, field

from sqlalchemy import Connection

from mpi.service.persons import (
    UNKNOWN,
    Binding,
    PersonMember,
    Resolution,
    bound_with,
    doubted_organisations,
    resolve_person,
    stands_for,
)
from mpi.store.whole import MemberRow, read_whole


@dataclass(frozen=True, slots=True)
class WholePerson:
    """What an id stands for, and what else of the person is asked before anything of it is shown.

    ``is_bound``: an open task joins it to others; ``is_doubted``: another says that its numbers conflict. ``is_readable``: False where all
    but the resolution could not be read, or what depends on it, so that nothing may be shown.
    """

    resolution: Resolution
    members: tuple[MemberRow, ...] = field(default=(), repr=False)
    is_bound: bool = False
    is_doubted: bool = False
    is_readable: bool = True


def read_whole_person(tx: Connection, number: int) -> WholePerson:
    """Say which person an id stands for, as ``resolve_person`` does."""
    row = read_whole(tx, number)
    if row is None:
        return WholePerson(UNKNOWN)
    if row.state in ("merged", "renumbered"):
        # Taken back between two statements, it is read again.
        return read_whole_person(tx, stands_for(tx, [number]).get(number, number))
    if row.state != "active":
        return WholePerson(Resolution("gone"))
    if row.person_id is None:
        return WholePerson(Resolution("unlinked"))
    resolution = Resolution(
        state="current",
        person_id=row.person_id,
        members=tuple(
            PersonMember(one.record_id, one.organisation, one.system, one.local_id) for one in row.members
        ),
        epoch=row.epoch,
        restricted=any(one.restricted for one in row.members),
        held=any(one.is_held for one in row.members),
    )
    return WholePerson(resolution, row.members, row.is_bound, row.is_doubted)


def binding_of(tx: Connection, whole: WholePerson) -> Binding:
    """As ``bound_with``."""
    person_id = whole.resolution.person_id
    if person_id is None or not whole.is_bound:
        return Binding(() if person_id is None else (person_id,))
    return bound_with(tx, person_id)


def far_records(tx: Connection, whole: WholePerson, binding: Binding) -> frozenset[int]:
    """Return the records of the others whom open tasks bind to a person."""
    others = [other for other in binding.person_ids if other != whole.resolution.person_id]
    return frozenset(number for other in others for number in resolve_person(tx, other).record_ids)


def doubted_of(tx: Connection, whole: WholePerson) -> frozenset[str]:
    """As ``doubted_organisations``."""
    if not whole.resolution.held and not whole.is_doubted:
        return frozenset()
    return doubted_organisations(tx, whole.resolution)
