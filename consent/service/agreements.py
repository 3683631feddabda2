"""Sharing agreements: recorded, replaced by a newer version, loaded from a file; every code in them is a known one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Literal

from sqlalchemy import Connection

from consent.facts import Agreement, codes
from consent.service import trail
from consent.service.context import Consent
from consent.store import agreements as agreement_store
from consent.store.agreements import EVERYONE, AgreementRow
from foundation.directory import find_organisation, names_of
from foundation.errors import Conflict, Invalid, NotFound
from foundation.ids import format_id, new_id
from foundation.principal import Principal


@dataclass(frozen=True, slots=True)
class NewAgreement:
    """An agreement as it is handed in; its name is its key."""

    name: str
    providers: frozenset[str]
    consumers: frozenset[str]
    role_classes: frozenset[str]
    purposes: frozenset[str]
    categories: frozenset[str]
    legal_basis: str
    starts_at: datetime
    ends_at: datetime | None = None
    approved_by: str | None = None


_OPTIONAL = ("ends_at", "approved_by")
_LONGEST_APPROVER = 200
READ_AT_ONCE = 500
MOST_IN_MATRIX = 2_000
"""Agreements that a matrix reads: more of them, and it says that it is not whole."""


@dataclass(frozen=True, slots=True)
class Recorded:
    agreement: AgreementRow
    state: Literal["new", "changed", "unchanged"]


def record_agreement(
    consent: Consent, new: NewAgreement, by: Principal, *, if_version: int | None = None
) -> Recorded:
    """Record an agreement, or a new version of the one that has its name. The same content again changes nothing.

    Args:
        if_version: the newest version that the asker has seen, 0 for an agreement that is new.

    Raises:
        Invalid: ``agreement-code-unknown`` or ``organisation-unknown``, ``end-before-start``, naming the field.
        Conflict: ``agreement-changed``: another version is the newest.
    """
    with consent.db.write() as tx:
        _check_version(tx, new.name, if_version)
        check_agreement(tx, _role_classes(tx, consent), new)
        return _record(tx, consent, new, by)


def record_agreements(consent: Consent, new: Sequence[NewAgreement], by: Principal) -> list[Recorded]:
    """Record several agreements, all or none. ``Invalid`` names the row (from 1) at fault."""
    with consent.db.write() as tx:
        recorded = []
        role_classes = _role_classes(tx, consent)
        for place, one in enumerate(new, start=1):
            try:
                check_agreement(tx, role_classes, one)
            except Invalid as error:
                raise Invalid(error.code, field=error.field, row=place) from None
            recorded.append(_record(tx, consent, one, by))
        return recorded


def end_agreement(
    consent: Consent,
    agreement_id: int,
    ends_at: datetime,
    by: Principal,
    *,
    approved_by: str | None = None,
    if_version: int | None = None,
) -> Recorded:
    """Let an agreement end at an instant: a new version of it with that end.

    Raises:
        NotFound: ``agreement-unknown``. Conflict: ``agreement-changed``.
        Invalid: ``end-before-start``; ``end-in-past``: what was decided under it stands; ``agreement-ended``.
    """
    with consent.db.write() as tx:
        row = _newest(tx, agreement_id)
        _check_version(tx, row.name, if_version)
        _check_end(consent, row, ends_at)
        return _record(tx, consent, _again(row, ends_at=ends_at, approved_by=approved_by), by)


def plan_change(
    consent: Consent,
    agreement_id: int,
    new: NewAgreement,
    by: Principal,
    *,
    if_version: int | None = None,
) -> tuple[Recorded, Recorded]:
    """Plan a change: the agreement ends when ``new``, under a name of its own, begins; return both. Nothing changes before that.

    Raises:
        As ``record_agreement`` and ``end_agreement``. Invalid: ``agreement-name-taken``.
    """
    with consent.db.write() as tx:
        row = _newest(tx, agreement_id)
        _check_version(tx, row.name, if_version)
        _check_end(consent, row, new.starts_at, field="starts_at")
        check_agreement(tx, _role_classes(tx, consent), new)
        if agreement_store.find_agreement(tx, new.name) is not None:
            raise Invalid("agreement-name-taken", field="name")
        ended = _record(tx, consent, _again(row, ends_at=new.starts_at, approved_by=new.approved_by), by)
        return ended, _record(tx, consent, new, by)


def _role_classes(tx: Connection, consent: Consent) -> frozenset[str]:
    return frozenset(consent.policies.at(tx).role_classes.values())


def _newest(tx: Connection, agreement_id: int) -> AgreementRow:
    found = agreement_store.read_history(tx, agreement_id)
    if not found:
        raise NotFound("agreement-unknown")
    return found[0]


def _check_version(tx: Connection, name: str, if_version: int | None) -> None:
    if if_version is None:
        return
    # Held, so that of two who saw the same version one is told of the other's.
    found = agreement_store.find_agreement(tx, name, is_held=True)
    if (found.fact.version if found is not None else 0) != if_version:
        raise Conflict("agreement-changed")


def _check_end(consent: Consent, row: AgreementRow, ends_at: datetime, field: str = "ends_at") -> None:
    now = consent.clock.now()
    if row.fact.ends_at is not None and row.fact.ends_at <= now:
        raise Invalid("agreement-ended", field=field)
    if ends_at < now - _MOMENT:
        raise Invalid("end-in-past", field=field)
    if ends_at <= row.fact.starts_at:
        raise Invalid("end-before-start", field=field)


SOON = timedelta(days=60)
"""How long before its end an agreement is told to end soon."""

_MOMENT = timedelta(minutes=5)
"""How long the word "now" of somebody's page may be under way."""


def _again(row: AgreementRow, **changes: Any) -> NewAgreement:
    fact = row.fact
    names = (
        "providers",
        "consumers",
        "role_classes",
        "purposes",
        "categories",
        "legal_basis",
        "starts_at",
        "ends_at",
    )
    told = {name: getattr(fact, name) for name in names} | {"approved_by": row.approved_by}
    return NewAgreement(name=row.name, **{**told, **{k: v for k, v in changes.items() if v is not None}})


def get_agreement(consent: Consent, agreement_id: int) -> list[AgreementRow]:
    """Return every version of an agreement, the newest first.

    Raises:
        NotFound: ``agreement-unknown``.
    """
    with consent.db.read() as tx:
        found = agreement_store.read_history(tx, agreement_id)
    if not found:
        raise NotFound("agreement-unknown")
    return found


# The matrix ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pair:
    """What one provider gives one consumer: agreements in force at the instant, categories that they name together, and what comes."""

    in_force: tuple[AgreementRow, ...] = ()
    coming: tuple[AgreementRow, ...] = ()
    past: tuple[AgreementRow, ...] = ()

    @property
    def categories(self) -> frozenset[str]:
        return frozenset[str]().union(*(one.fact.categories for one in self.in_force))


@dataclass(frozen=True, slots=True)
class Matrix:
    """Who gives what to whom: a page of providers beside a page of consumers, each as it is named in agreements (``*`` for every one).

    ``providers_after`` and ``consumers_after``: where the next page begins, None at the end.
    """

    at: datetime
    providers: tuple[str, ...]
    consumers: tuple[str, ...]
    names: Mapping[str, str]
    pairs: Mapping[tuple[str, str], Pair]
    providers_after: str | None
    consumers_after: str | None
    is_whole: bool


def read_matrix(
    consent: Consent,
    at: datetime,
    *,
    category: str | None = None,
    purpose: str | None = None,
    providers_after: str = "",
    consumers_after: str = "",
    providers: int = 15,
    consumers: int = 8,
) -> Matrix:
    """Lay agreements out as provider by consumer, as they are at an instant.

    Args:
        category, purpose: only agreements that name them.
    """
    with consent.db.read() as tx:
        rows = agreement_store.list_agreements(tx, after=0, limit=MOST_IN_MATRIX + 1)
        is_whole = len(rows) <= MOST_IN_MATRIX
        rows = [
            row
            for row in rows[:MOST_IN_MATRIX]
            if (category is None or category in row.fact.categories)
            and (purpose is None or purpose in row.fact.purposes)
        ]
        down, down_next = _axis((row.fact.providers for row in rows), providers_after, providers)
        across, across_next = _axis((row.fact.consumers for row in rows), consumers_after, consumers)
        names = names_of(tx, {*down, *across} - {EVERYONE})
    pairs = {
        (provider, consumer): pair
        for provider in down
        for consumer in across
        if (pair := _pair(rows, provider, consumer, at)) is not None
    }
    return Matrix(at, down, across, names, pairs, down_next, across_next, is_whole)


def _axis(sets: Iterable[frozenset[str]], after: str, limit: int) -> tuple[tuple[str, ...], str | None]:
    found = [code for code in sorted(frozenset[str]().union(*sets)) if code > after]
    return tuple(found[:limit]), found[limit - 1] if len(found) > limit else None


def _pair(rows: Iterable[AgreementRow], provider: str, consumer: str, at: datetime) -> Pair | None:
    named = [
        row
        for row in rows
        if not row.fact.providers.isdisjoint((provider, EVERYONE))
        and not row.fact.consumers.isdisjoint((consumer, EVERYONE))
    ]
    if not named:
        return None
    coming = tuple(row for row in named if row.fact.starts_at > at)
    in_force = tuple(row for row in named if row.fact.is_in_force(at))
    past = tuple(row for row in named if row not in coming and row not in in_force)
    return Pair(in_force, coming, past)


def list_agreements(
    consent: Consent,
    *,
    after: int = 0,
    limit: int = 100,
    provider: str | None = None,
    consumer: str | None = None,
    is_ending: bool = False,
) -> list[AgreementRow]:
    """Return the newest version of each agreement, in order of id, from the one after ``after``.

    Args:
        provider, consumer: only those that let this one give, or receive, by name or as every organisation.
        is_ending: only those that end soon.
    """
    now = consent.clock.now()
    with consent.db.read() as tx:
        if provider is None and consumer is None and not is_ending:
            return agreement_store.list_agreements(tx, after=after, limit=limit)
        fitting = (
            row
            for row in _each(tx, after)
            if (not is_ending or (row.fact.ends_at is not None and now <= row.fact.ends_at < now + SOON))
            and (provider is None or not row.fact.providers.isdisjoint((provider, EVERYONE)))
            and (consumer is None or not row.fact.consumers.isdisjoint((consumer, EVERYONE)))
        )
        return list(islice(fitting, limit))


def _each(tx: Connection, after: int) -> Iterator[AgreementRow]:
    """Yield the newest version of every agreement, in order of id."""
    while rows := agreement_store.list_agreements(tx, after=after, limit=READ_AT_ONCE):
        yield from rows
        after = rows[-1].fact.agreement_id


def count_ending(consent: Consent) -> int:
    """Return how many agreements end soon."""
    now = consent.clock.now()
    with consent.db.read() as tx:
        return agreement_store.count_ending(tx, now, now + SOON)


def check_new(consent: Consent, new: NewAgreement) -> None:
    """See that an agreement can be recorded, without recording it.

    Raises:
        Invalid: as ``record_agreement``.
    """
    with consent.db.read() as tx:
        check_agreement(tx, _role_classes(tx, consent), new)


def role_classes_of(consent: Consent) -> frozenset[str]:
    """Return the classes of roles that the policy in force knows."""
    with consent.db.read() as tx:
        return _role_classes(tx, consent)


def agreement_from_payload(payload: Mapping[str, Any], row: int | None = None) -> NewAgreement:
    """Read one agreement of a file.

    Raises:
        Invalid: ``field-unknown``, ``field-missing`` or ``field-type``, naming field and row.
    """
    names = set(NewAgreement.__slots__)
    if unknown := set(payload) - names:
        raise Invalid("field-unknown", field=min(unknown)[:40], row=row)
    values: dict[str, Any] = {}
    for name in NewAgreement.__slots__:
        value = payload.get(name)
        if value is None and name not in _OPTIONAL:
            raise Invalid("field-missing", field=name, row=row)
        try:
            if name in ("name", "legal_basis", "approved_by"):
                if not isinstance(value, str | None):
                    raise TypeError
                values[name] = value
            elif name in ("starts_at", "ends_at"):
                values[name] = _instant(value)
            else:
                if not isinstance(value, list) or not all(isinstance(code, str) for code in value):
                    raise TypeError
                values[name] = frozenset(value)
        except (TypeError, ValueError):
            raise Invalid("field-type", field=name, row=row) from None
    return NewAgreement(**values)


def _instant(value: Any) -> datetime | None:
    if value is None:
        return None
    at = datetime.fromisoformat(value)
    if at.tzinfo is None:
        raise ValueError("an instant needs a zone")
    return at


def _record(tx: Connection, consent: Consent, new: NewAgreement, by: Principal) -> Recorded:
    now = consent.clock.now()
    earlier = agreement_store.find_agreement(tx, new.name)
    fact = Agreement(
        agreement_id=earlier.fact.agreement_id if earlier else new_id(),
        version=earlier.fact.version + 1 if earlier else 1,
        providers=new.providers,
        consumers=new.consumers,
        role_classes=new.role_classes,
        purposes=new.purposes,
        categories=new.categories,
        legal_basis=new.legal_basis,
        starts_at=new.starts_at,
        ends_at=new.ends_at,
    )
    if (
        earlier is not None
        and replace(earlier.fact, version=fact.version) == fact
        and new.approved_by in (None, earlier.approved_by)
    ):
        return Recorded(earlier, "unchanged")
    row = AgreementRow(new.name, fact, now, by.id, new.approved_by)
    agreement_store.insert_agreement(tx, row)
    trail.append(
        tx,
        "agreement-recorded",
        by,
        now,
        detail={"agreement_id": format_id(fact.agreement_id), "version": fact.version},
    )
    return Recorded(row, "changed" if earlier else "new")


def check_agreement(tx: Connection, role_classes: frozenset[str], new: NewAgreement) -> None:
    if not new.name.strip() or len(new.name) > 120:
        raise Invalid("agreement-name", field="name")
    if new.approved_by is not None and not (
        new.approved_by.strip()
        and len(new.approved_by) <= _LONGEST_APPROVER
        and new.approved_by.isprintable()
    ):
        raise Invalid("approver-format", field="approved_by")
    for field, given, known in (
        ("role_classes", new.role_classes, role_classes),
        ("purposes", new.purposes, codes.PURPOSES),
        ("categories", new.categories, codes.CATEGORIES),
        ("legal_basis", frozenset((new.legal_basis,)), codes.LEGAL_BASES),
    ):
        if not given or not given <= known:
            raise Invalid("agreement-code-unknown", field=field)
    for field, given in (("providers", new.providers), ("consumers", new.consumers)):
        if not given:
            raise Invalid("field-missing", field=field)
        for code in sorted(given - {"*"}):
            if find_organisation(tx, code) is None:
                raise Invalid("organisation-unknown", field=field)
    if new.ends_at is not None and new.ends_at <= new.starts_at:
        raise Invalid("end-before-start", field="ends_at")
