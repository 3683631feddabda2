"""The golden view of a person: what its records say at their best, each value with its origin, as far as the release gate lets it leave."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from foundation.directory import settings_of
from foundation.principal import Principal
from mpi.matching import NormalisedRecord, normalise
from mpi.records import SourceRecord
from mpi.records.golden import Because, Golden, Member, Shown, default_rules, golden_view
from mpi.service.context import Mpi
from mpi.service.fold import UNREAD, standing_record
from mpi.service.gate import GateRequest, tells_place
from mpi.service.history import person_then, refuse_future, visible_records
from mpi.service.numbers import survivors_of
from mpi.service.past import accepted_then, survivors_then
from mpi.service.people import current_person, permitted_members
from mpi.service.persons import Resolution
from mpi.store import records as record_store
from mpi.store.records import RecordRow, VersionRow


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
    """A value as it may be told; see ``Shown``.

    ``origin`` is None where its organisation may not be named, or where it is a place, and the location protected.
    """

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


@dataclass(frozen=True, slots=True)
class GoldenThen:
    """A person at an instant as its records made it then, from those that the gate lets leave today; see ``PersonThen``."""

    as_at: datetime
    person_id: int | None
    has_identity_warning: bool
    is_restricted: bool
    has_erased_records: bool
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
        return golden_of(tx, mpi.at(tx), current_person(tx, number), by, purpose=purpose)


def golden_of(
    tx: Connection,
    mpi: Mpi,
    found: Resolution,
    by: Principal,
    *,
    purpose: str | None = None,
    named: Collection[int] | None = None,
) -> GoldenView:
    """Return the golden view of a person who is there, inside the caller's transaction, with which the gate's decisions commit.

    Args:
        named: the records that may be named, where the caller has asked the gate already.
    """
    assert found.person_id is not None
    rows, masks_location = _permitted(tx, mpi, found, by, purpose)
    if named is None:
        origins = [one for one in found.members if one.record_id in rows]
        members_named = permitted_members(tx, mpi, found, by, "origins", purpose, origins) if origins else ()
        named = frozenset(one.record_id for one in members_named)
    versions = record_store.read_versions(tx, rows)
    stood = {
        number: next(one for one in versions[number] if one.version == row.current_version)
        for number, row in rows.items()
    }
    members = _members(tx, mpi, rows, stood)
    survivors = survivors_of(tx, [one.record for one in members])
    golden = golden_view(
        [_as_told(one, by, is_protected=found.restricted, masks_location=masks_location) for one in members],
        default_rules(),
        survivors=survivors,
    )
    return GoldenView(
        found.person_id,
        found.epoch,
        found.held,
        found.restricted,
        golden.rules_version,
        golden.number_state,
        _told_values(golden, members, by, frozenset(rows) if found.restricted else frozenset(), named),
    )


def get_golden_then(
    mpi: Mpi, number: int, as_at: datetime, by: Principal, *, purpose: str | None = None
) -> GoldenThen:
    """Return the golden view of the person that an id stood for at an instant; what happened at that very instant counts.

    Its records are those that it had then, by the versions that stood then, with what was known of their numbers then. The rules that
    choose, what is a placeholder, and the setting of an organisation are of today. What may be told is decided as for the present: each
    record by the gate's answer of today for the person whose it is today, and by the protection that it has today.

    Raises:
        Invalid: ``as-at-future``.
        NotFound: ``person-unknown``; ``person-unknown-then`` where it was nobody's id yet.
        Gone: ``person-gone``: the record was erased, and no instant tells of it.
        Unavailable: ``match-model-unreadable``, where a version that no longer stands must be read.
    """
    refuse_future(mpi, as_at)
    with mpi.db.write() as tx:  # the gate's decisions are audited with the answer
        mpi = mpi.at(tx)
        found, held, today = person_then(tx, number, as_at)
        rows, masked = visible_records(tx, mpi, [one.record_id for one in held], by, "demographics", purpose)
        accepted = accepted_then(tx, rows, as_at)
        stood = {record_id: versions[-1] for record_id, versions in accepted.items() if versions}
        members = _members(tx, mpi, {record_id: rows[record_id] for record_id in stood}, stood)
        survivors = survivors_then(tx, [one.record for one in members], as_at)
        named, _ = visible_records(tx, mpi, rows, by, "origins", purpose)
        protected = frozenset(rows) if found.is_restricted else record_store.protected_records(tx, rows)
    golden = golden_view(
        [
            _as_told(
                one,
                by,
                is_protected=one.record_id in protected,
                masks_location=one.record_id in masked,
            )
            for one in members
        ],
        default_rules(),
        survivors=survivors,
    )
    return GoldenThen(
        as_at,
        found.person_id if found.person_id in (number, today, *rows) else None,
        found.has_identity_warning,
        found.is_restricted,
        found.has_erased_records,
        golden.rules_version,
        golden.number_state,
        _told_values(golden, members, by, protected, named),
    )


def _told_values(
    golden: Golden,
    members: Iterable[Member],
    by: Principal,
    protected: Collection[int],
    named: Collection[int],
) -> tuple[ToldValue, ...]:
    whose = {one.record_id: one for one in members}
    return tuple(
        _told(
            one,
            whose[one.origin.record_id],
            by,
            is_protected=one.origin.record_id in protected,
            is_named=one.origin.record_id in named,
        )
        for one in golden.shown
    )


def _is_own(member: Member, by: Principal) -> bool:
    return member.record.key.organisation in {by.organisation, *by.organisations}


def _told(one: Shown, member: Member, by: Principal, *, is_protected: bool, is_named: bool) -> ToldValue:
    key = member.record.key
    is_quiet = is_protected and not _is_own(member, by)
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
        None if not is_named or (is_quiet and tells_place(member.setting)) else origin,
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
    tx: Connection, mpi: Mpi, rows: Mapping[int, RecordRow], stood: Mapping[int, VersionRow]
) -> list[Member]:
    """Return records as they say it by the versions that stood for them."""
    settings = settings_of(tx, {row.key.organisation for row in rows.values()})
    found = []
    for number, row in sorted(rows.items()):
        version = stood[number]
        record = standing_record(version, is_protected=row.restricted)
        found.append(
            Member(
                number,
                version.version,
                version.source_at,
                record,
                settings.get(row.key.organisation),
                _placeholders(mpi, row, version, record),
            )
        )
    return found


def _placeholders(mpi: Mpi, row: RecordRow, version: VersionRow, record: SourceRecord) -> frozenset[str]:
    if row.model_revision == UNREAD:
        # What came while no match model could be read has no form yet: nothing is known to be a placeholder.
        return frozenset()
    stands = version.version == row.current_version
    return placeholders_of(mpi.forms.of(row) if stands else normalise(record, mpi.model))


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


def _as_told(member: Member, by: Principal, *, is_protected: bool, masks_location: bool) -> Member:
    """Return a member without its location where that stays behind; and of protected people without its time, which may be of a move."""
    if not is_protected and (_is_own(member, by) or not masks_location):
        return member
    bare = replace(member.record, addresses=(), telecoms=(), gp_practice=None)
    return replace(member, record=bare, source_at=_NO_TIME if is_protected else member.source_at)


_NO_TIME = datetime.fromtimestamp(0, UTC)
