"""Sharing agreements: recorded, replaced by a newer version, loaded from a file; every code in them is a known one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection

from consent.facts import Agreement, codes
from consent.service import trail
from consent.service.context import Consent
from consent.store import agreements as agreement_store
from consent.store.agreements import AgreementRow
from foundation.directory import find_organisation
from foundation.errors import Invalid
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


@dataclass(frozen=True, slots=True)
class Recorded:
    agreement: AgreementRow
    state: Literal["new", "changed", "unchanged"]


def record_agreement(consent: Consent, new: NewAgreement, by: Principal) -> Recorded:
    """Record an agreement, or a new version of the one that has its name. The same content again changes nothing.

    Raises:
        Invalid: ``agreement-code-unknown`` or ``organisation-unknown``, ``end-before-start``, naming the field.
    """
    return record_agreements(consent, [new], by)[0]


def record_agreements(consent: Consent, new: Sequence[NewAgreement], by: Principal) -> list[Recorded]:
    """Record several agreements, all or none. ``Invalid`` names the row (from 1) at fault."""
    with consent.db.write() as tx:
        recorded = []
        role_classes = frozenset(consent.policies.at(tx).role_classes.values())
        for place, one in enumerate(new, start=1):
            try:
                check_agreement(tx, role_classes, one)
            except Invalid as error:
                raise Invalid(error.code, field=error.field, row=place) from None
            recorded.append(_record(tx, consent, one, by))
        return recorded


def list_agreements(consent: Consent, *, after: int = 0, limit: int = 100) -> list[AgreementRow]:
    """Return the newest version of each agreement, in order of id, from the one after ``after``."""
    with consent.db.read() as tx:
        return agreement_store.list_agreements(tx, after=after, limit=limit)


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
        if value is None and name != "ends_at":
            raise Invalid("field-missing", field=name, row=row)
        try:
            if name in ("name", "legal_basis"):
                if not isinstance(value, str):
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
    if earlier is not None and replace(earlier.fact, version=fact.version) == fact:
        return Recorded(earlier, "unchanged")
    row = AgreementRow(new.name, fact, now, by.id)
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
