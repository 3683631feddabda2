"""Relationships, emergency grants and opt-out evidence."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, Row, insert, select, update

from consent.facts import EmergencyGrant, Relationship
from consent.store.tables import emergency_grant, relationship


def insert_relationship(
    tx: Connection, fact: Relationship, *, record_id: int, recorded_at: datetime, recorded_by: str
) -> None:
    tx.execute(
        insert(relationship),
        {
            "relationship_id": fact.relationship_id,
            "record_id": record_id,
            "kind": fact.kind,
            "organisation": fact.organisation,
            "user_id": fact.user_id,
            "incident_id": fact.incident_id,
            "started_at": fact.started_at,
            "ends_at": fact.ends_at,
            "recorded_at": recorded_at,
            "recorded_by": recorded_by,
        },
    )


def end_relationships(
    tx: Connection, record_ids: Collection[int], *, kind: str, organisation: str, ends_at: datetime
) -> int:
    """End those that are still open, or end later; return how many."""
    statement = (
        update(relationship)
        .where(
            relationship.c.record_id.in_(list(record_ids)),
            relationship.c.kind == kind,
            relationship.c.organisation == organisation,
            relationship.c.started_at <= ends_at,
            relationship.c.ends_at.is_(None) | (relationship.c.ends_at > ends_at),
        )
        .values(ends_at=ends_at)
    )
    return tx.execute(statement).rowcount


def _relationship(row: Row[tuple[object, ...]]) -> Relationship:
    return Relationship(
        relationship_id=row.relationship_id,
        kind=row.kind,
        organisation=row.organisation,
        started_at=row.started_at,
        ends_at=row.ends_at,
        user_id=row.user_id,
        incident_id=row.incident_id,
    )


def read_relationships(tx: Connection, relationship_ids: Collection[int]) -> dict[int, Relationship]:
    """Those of these relationships that are there, as they stand now; their ends may have been set since."""
    if not relationship_ids:
        return {}
    key = relationship.c.relationship_id.in_(sorted(relationship_ids))
    return {row.relationship_id: _relationship(row) for row in tx.execute(select(relationship).where(key))}


ATTENDANCE = ("admission", "attendance", "incident", "referral")
"""Kinds of care that come of an event; a registration, a residency or a team stands whether anybody has come or not."""


def find_attendance(
    tx: Connection,
    record_ids: Collection[int],
    organisation: str,
    user_id: str,
    *,
    begun_by: datetime,
    ended_from: datetime,
) -> int | None:
    """Return the latest care of some records by an organisation in a stretch of time.

    Care that the user recorded is no evidence for the user, nor is that of another user alone.
    """
    statement = (
        select(relationship.c.relationship_id)
        .where(
            relationship.c.record_id.in_(list(record_ids)),
            relationship.c.organisation == organisation,
            relationship.c.kind.in_(ATTENDANCE),
            relationship.c.started_at <= begun_by,
            relationship.c.ends_at.is_(None) | (relationship.c.ends_at >= ended_from),
            relationship.c.user_id.is_(None) | (relationship.c.user_id == user_id),
            relationship.c.recorded_by != user_id,
        )
        .order_by(relationship.c.started_at.desc(), relationship.c.relationship_id.desc())
        .limit(1)
    )
    return tx.execute(statement).scalar()


def insert_grant(tx: Connection, grant: EmergencyGrant, *, record_id: int, reason: str) -> None:
    tx.execute(
        insert(emergency_grant),
        {
            "grant_id": grant.grant_id,
            "record_id": record_id,
            "user_id": grant.user_id,
            "organisation": grant.organisation,
            "reason_code": grant.reason_code,
            "reason": reason,
            "opened_at": grant.opened_at,
            "expires_at": grant.expires_at,
            "renewals": grant.renewals,
        },
    )


def read_grant_reason(tx: Connection, grant_id: int) -> str | None:
    """The words in which an emergency was claimed; for the officer, and to see that a renewal has new ones."""
    statement = select(emergency_grant.c.reason).where(emergency_grant.c.grant_id == grant_id)
    return tx.execute(statement).scalar_one_or_none()
