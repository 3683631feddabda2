"""Sharing agreements: versioned rows, found by the consumer's organisation."""

import threading
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, and_, func, insert, or_, select, tuple_, update

from consent.facts import Agreement
from consent.store.tables import agreement, agreement_consumer
from foundation.database import insert_ignore

EVERYONE = "*"
"""Among providers or consumers: every organisation."""


@dataclass(frozen=True, slots=True)
class AgreementRow:
    """An agreement with its name and who recorded it."""

    name: str
    fact: Agreement
    recorded_at: datetime
    recorded_by: str
    approved_by: str | None = None


def insert_agreement(tx: Connection, row: AgreementRow) -> None:
    """Add a version; the older ones stop counting and stay."""
    fact = row.fact
    tx.execute(
        update(agreement).where(agreement.c.agreement_id == fact.agreement_id).values(is_current=False)
    )
    tx.execute(
        insert(agreement),
        {
            "agreement_id": fact.agreement_id,
            "version": fact.version,
            "name": row.name,
            "providers": sorted(fact.providers),
            "consumers": sorted(fact.consumers),
            "role_classes": sorted(fact.role_classes),
            "purposes": sorted(fact.purposes),
            "categories": sorted(fact.categories),
            "legal_basis": fact.legal_basis,
            "starts_at": fact.starts_at,
            "ends_at": fact.ends_at,
            "is_current": True,
            "recorded_at": row.recorded_at,
            "recorded_by": row.recorded_by,
            "approved_by": row.approved_by,
        },
    )
    insert_ignore(
        tx,
        agreement_consumer,
        [{"organisation": code, "agreement_id": fact.agreement_id} for code in sorted(fact.consumers)],
        ["organisation", "agreement_id"],
    )


_MOST_KNOWN = 5_000

Version = tuple[int, int, str]
"""An agreement's id, its version and when that was recorded, as the database writes it: what is kept of one never changes."""


class KnownAgreements:
    """Versions of agreements that this process has read. Which of them count is asked of the database every time."""

    def __init__(self) -> None:
        self._known: dict[Version, Agreement] = {}
        self._lock = threading.Lock()

    def of(self, tx: Connection, versions: Collection[Version]) -> tuple[Agreement, ...]:
        """Return these versions, in order of id."""
        # Another thread may empty what is known between two looks: each version is looked for once.
        found = {version: one for version in versions if (one := self._known.get(version)) is not None}
        missing = [version for version in versions if version not in found]
        if missing:
            key = tuple_(agreement.c.agreement_id, agreement.c.version)
            rows = tx.execute(select(agreement).where(key.in_([version[:2] for version in missing])))
            read = {(row.agreement_id, row.version): _fact(row) for row in rows}
            found |= {version: read[version[:2]] for version in missing}
            with self._lock:
                if len(self._known) > _MOST_KNOWN:
                    self._known.clear()
                self._known.update(found)
        return tuple(found[version] for version in sorted(versions))


def find_agreement(tx: Connection, name: str, *, is_held: bool = False) -> AgreementRow | None:
    """The newest version of the agreement of this name; ``is_held``: against other writers, until the transaction ends."""
    statement = select(agreement).where(and_(agreement.c.name == name, agreement.c.is_current.is_(True)))
    found = tx.execute(statement.with_for_update() if is_held else statement).first()
    return None if found is None else _row(found)


def read_history(tx: Connection, agreement_id: int) -> list[AgreementRow]:
    """Return every version of an agreement, the newest first."""
    statement = select(agreement).where(agreement.c.agreement_id == agreement_id)
    return [_row(row) for row in tx.execute(statement.order_by(agreement.c.version.desc()))]


def read_versions(tx: Connection, versions: Collection[tuple[int, int]]) -> dict[tuple[int, int], Agreement]:
    """Versions of agreements as they were recorded, by id and version; none is ever removed."""
    if not versions:
        return {}
    key = tuple_(agreement.c.agreement_id, agreement.c.version)
    rows = tx.execute(select(agreement).where(key.in_(sorted(versions))))
    return {(row.agreement_id, row.version): _fact(row) for row in rows}


def list_agreements(tx: Connection, *, after: int, limit: int) -> list[AgreementRow]:
    statement = (
        select(agreement)
        .where(agreement.c.is_current.is_(True), agreement.c.agreement_id > after)
        .order_by(agreement.c.agreement_id)
        .limit(limit)
    )
    return [_row(row) for row in tx.execute(statement)]


def read_consumers(tx: Connection, at: datetime) -> set[str]:
    """Return the organisations that agreements in force at an instant name as consumers; ``*`` among them stands for every one."""
    in_force = (
        select(agreement.c.agreement_id)
        .where(agreement.c.is_current.is_(True), agreement.c.starts_at <= at)
        .where(or_(agreement.c.ends_at.is_(None), agreement.c.ends_at > at))
    )
    named = select(agreement_consumer.c.organisation).distinct()
    return set(tx.scalars(named.where(agreement_consumer.c.agreement_id.in_(in_force))))


def count_agreements(tx: Connection) -> int:
    return tx.execute(
        select(func.count()).select_from(agreement).where(agreement.c.is_current.is_(True))
    ).scalar_one()


def count_ending(tx: Connection, since: datetime, until: datetime) -> int:
    """Return how many agreements, by their newest versions, end in a stretch of time (its end not in it)."""
    is_ending = (agreement.c.ends_at >= since) & (agreement.c.ends_at < until)
    return tx.execute(
        select(func.count()).select_from(agreement).where(agreement.c.is_current.is_(True), is_ending)
    ).scalar_one()


def count_recorded_since(tx: Connection, at: datetime) -> int:
    """Return how many versions of agreements came after an instant."""
    return tx.execute(
        select(func.count()).select_from(agreement).where(agreement.c.recorded_at > at)
    ).scalar_one()


def _row(row: Row[tuple[object, ...]]) -> AgreementRow:
    return AgreementRow(row.name, _fact(row), row.recorded_at, row.recorded_by, row.approved_by)


def _fact(row: Row[tuple[object, ...]]) -> Agreement:
    return Agreement(
        agreement_id=row.agreement_id,
        version=row.version,
        providers=frozenset(row.providers),
        consumers=frozenset(row.consumers),
        role_classes=frozenset(row.role_classes),
        purposes=frozenset(row.purposes),
        categories=frozenset(row.categories),
        legal_basis=row.legal_basis,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
    )
