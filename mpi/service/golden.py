"""The golden view of a person: what its records say at their best, each value with its origin, as far as the release gate lets it leave."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from foundation.directory import settings_of
from foundation.principal import Principal
from mpi.matching import NormalisedRecord
from mpi.records.golden import Because, Member, Shown, default_rules, golden_view
from mpi.service.context import Mpi
from mpi.service.fold import UNREAD, standing_record
from mpi.service.gate import GateRequest, tells_place
from mpi.service.numbers import survivors_of
from mpi.service.people import current_person
from mpi.service.persons import Resolution
from mpi.store import records as record_store
from mpi.store.records import RecordRow


@dataclass(frozen=True, slots=True)
class ToldOrigin:
    """Where a value comes from. ``version`` and ``source_at`` are None where they would tell when somebody protected moved."""

    record_id: int
    organisation: str
    system: str
    version: int | None
    source_at: datetime | None


@dataclass(frozen=True, slots=True)
class ToldValue:
    """A value as it may be told; see ``Shown``. ``origin`` is None where the source itself is a place, and the location protected."""

    name: str
    value: Any = field(repr=False)
    origin: ToldOrigin | None
    is_verified: bool
    because: Because
    agree: int
    differ: int
    is_replaced: bool


@dataclass(frozen=True, slots=True)
class GoldenView:
    """A person as its records make it, from those that the gate let leave; nothing says how many stayed behind."""

    person_id: int
    epoch: int
    has_identity_warning: bool
    is_restricted: bool
    rules_version: int
    number_state: str | None
    values: tuple[ToldValue, ...]


def get_golden(mpi: Mpi, number: int, by: Principal, *, purpose: str | None = None) -> GoldenView:
    """Return the golden view of the person that an id stands for now; any record's id will do.

    Of people whose location is protected none is told to anyone. Of others the location is told of the caller's own records, and of all
    where the gate lets it leave.

    Raises:
        NotFound: ``person-unknown``, for an id that is nobody's yet as well.
        Gone: ``person-gone``: the record was erased; search again.
    """
    with mpi.db.write() as tx:  # the gate's decision is audited with the answer
        mpi = mpi.at(tx)
        found = current_person(tx, number)
        assert found.person_id is not None
        rows, masks_location = _permitted(tx, mpi, found, by, purpose)
        settings = settings_of(tx, {row.key.organisation for row in rows.values()})
        members = _members(tx, mpi, rows, settings)
        survivors = survivors_of(tx, [one.record for one in members])
        own = frozenset({by.organisation, *by.organisations})
        golden = golden_view(
            [_as_told(one, own, found, masks_location) for one in members],
            default_rules(),
            survivors=survivors,
        )
        stood = {one.record_id: one for one in members}
    return GoldenView(
        found.person_id,
        found.epoch,
        found.held,
        found.restricted,
        golden.rules_version,
        golden.number_state,
        tuple(_told(one, stood[one.origin.record_id], own, found) for one in golden.shown),
    )


def _told(one: Shown, member: Member, own: Collection[str], found: Resolution) -> ToldValue:
    key = member.record.key
    is_quiet = found.restricted and key.organisation not in own
    origin = ToldOrigin(
        member.record_id,
        key.organisation,
        key.system,
        None if is_quiet else member.version,
        None if is_quiet else member.source_at,
    )
    return ToldValue(
        one.name,
        one.value,
        None if is_quiet and tells_place(member.setting) else origin,
        one.is_verified,
        one.because,
        one.agree,
        one.differ,
        one.is_replaced,
    )


def _permitted(
    tx: Connection, mpi: Mpi, found: Resolution, by: Principal, purpose: str | None
) -> tuple[dict[int, RecordRow], bool]:
    """Return the records whose organisations' demographics may leave, and whether others' locations stay behind."""
    assert found.person_id is not None
    sources = tuple(sorted({one.organisation for one in found.members}))
    request = GateRequest(by, found.person_id, found.epoch, "demographics", sources, purpose)
    answer = mpi.release_gate(tx, request)
    rows = record_store.read_records(tx, found.record_ids)
    return {
        number: row for number, row in rows.items() if row.key.organisation in answer.sources
    }, answer.masks_location


def _members(
    tx: Connection, mpi: Mpi, rows: Mapping[int, RecordRow], settings: Mapping[str, str]
) -> list[Member]:
    versions = record_store.read_versions(tx, rows)
    found = []
    for number, row in sorted(rows.items()):
        version = next(one for one in versions[number] if one.version == row.current_version)
        found.append(
            Member(
                number,
                version.version,
                version.source_at,
                standing_record(version, is_protected=row.restricted),
                settings.get(row.key.organisation),
                # What came while no match model could be read has no form yet: nothing is known to be a placeholder.
                frozenset() if row.model_revision == UNREAD else placeholders_of(mpi.forms.of(row)),
            )
        )
    return found


def placeholders_of(form: NormalisedRecord) -> frozenset[str]:
    """Return the fields of which a record says nothing that can be used: what normalising made nothing of."""
    has = {
        "name": bool(form.given or form.family) and not form.is_placeholder,
        "birth_date": form.birth[0] > 0,
        "address": bool(form.places),
        "phone": bool(form.phones),
        "email": bool(form.emails),
        "gp_practice": bool(form.practice),
    }
    return frozenset(name for name, is_there in has.items() if not is_there)


def _as_told(member: Member, own: Collection[str], found: Resolution, masks_location: bool) -> Member:
    """Return a member without its location where that stays behind; and of protected people without its time, which may be of a move."""
    if not found.restricted and (member.record.key.organisation in own or not masks_location):
        return member
    bare = replace(member.record, addresses=(), telecoms=(), gp_practice=None)
    return replace(member, record=bare, source_at=_NO_TIME if found.restricted else member.source_at)


_NO_TIME = datetime.fromtimestamp(0, UTC)
