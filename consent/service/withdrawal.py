"""What becomes of consent when a source record is withdrawn or merged by its source: no objection is lost while it is away."""

from dataclasses import replace

from sqlalchemy import Connection

from consent.service.celebrities import share_entries
from consent.service.context import Consent
from consent.service.directives import FORM_SYSTEM
from consent.store import erasure as erasure_store
from consent.store import withdrawal as store
from consent.store.directives import StandingDirective, may_bind, read_directives_of
from foundation.ids import format_id
from foundation.principal import SYSTEM_ITSELF
from mpi.records import RecordKey, SourceRecord
from mpi.service.holders import Handed, Keeper, Leave
from mpi.service.persons import resolve_records
from mpi.service.receive import store_record
from mpi.service.withdraw import standing_content

_KEEPER = replace(SYSTEM_ITSELF, organisations=frozenset({"*"}))


def keeper_of(consent: Consent) -> Keeper:
    """Return what the index asks when a record leaves it, and tells when it comes back."""

    def leave(tx: Connection, left: Leave) -> Handed:
        return _leave(tx, consent, left)

    return Keeper("consent", leave, _come_back)


def _leave(tx: Connection, consent: Consent, left: Leave) -> Handed:
    """Let directives that hung on a record bind whoever it stood with, and whoever stands for it now; and know its person by a form.

    A directive that no record in force bears any more would sleep, and not wake when the person comes back by another source: it is
    anchored to a form made of what the record said, which links like any other.
    """
    heirs = {*left.kin, *(() if left.into is None else (left.into,))}
    handed: list[str] = []
    alone: list[StandingDirective] = []
    for one in read_directives_of(tx, [left.record_id]):
        if missing := _missing(one, left):
            erasure_store.add_anchors(tx, one.row.directive_id, missing)
            handed.append(format_id(one.row.directive_id))
        elif not heirs and may_bind(one, left.at) and not _is_in_force(tx, one, left.record_id):
            alone.append(one)
    forms = [_know_by_form(tx, consent, one, left) for one in alone]
    share_entries(tx, left.record_id, heirs)
    if left.into is None:
        return {"directives": handed, "forms": forms}
    moved = store.move_care(tx, left.record_id, left.into)
    return {"directives": handed, "forms": forms, **moved}


def _missing(one: StandingDirective, left: Leave) -> set[int]:
    """Return the records that a directive is to be anchored to: all that stay of the person if it has none of them, and the heir."""
    missing = set() if not one.anchors.isdisjoint(left.kin) else set(left.kin)
    if left.into is not None and left.into not in one.anchors:
        missing.add(left.into)
    return missing


def _is_in_force(tx: Connection, one: StandingDirective, record_id: int) -> bool:
    """Whether another record bears a directive that is somebody's."""
    held = resolve_records(tx, one.anchors - {record_id})
    return any(person is not None for person in held.values())


def _know_by_form(tx: Connection, consent: Consent, one: StandingDirective, left: Leave) -> str:
    record: SourceRecord = standing_content(tx, left.record_id)
    key = RecordKey(one.row.received_by, FORM_SYSTEM, format_id(one.row.directive_id))
    form = store_record(tx, consent.mpi, replace(record, key=key, updated_at=None), _KEEPER)
    if form.record_id not in one.anchors:
        erasure_store.add_anchors(tx, one.row.directive_id, [form.record_id])
    return format_id(form.record_id)


def _come_back(tx: Connection, record_id: int, handed: Handed) -> None:
    """Give a record its relationships and emergency access back. Directives stay where they are: an objection is taken from nobody."""
    store.take_care_back(tx, record_id, {name: handed.get(name, []) for name in store.CARE})
