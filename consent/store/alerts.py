"""Alerts for privacy officers."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from consent.store.tables import alert


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that a privacy officer of this organisation should look at; rank 0 is the worst."""

    alert_id: int
    code: str
    alert_type: int | None
    alert_reason: int | None
    rank: int
    person_id: int
    organisation: str
    user_id: str
    decision_id: int | None
    grant_id: int | None
    reason: str | None
    state: str
    raised_at: datetime


def insert_alert(tx: Connection, raised: Alert) -> None:
    tx.execute(insert(alert), {name: getattr(raised, name) for name in Alert.__slots__})


def has_open_alert(tx: Connection, code: str, person_id: int, user_id: str, organisation: str) -> bool:
    """Whether this matter of this user and person waits for the privacy officer already."""
    statement = (
        select(alert.c.alert_id)
        .where(
            alert.c.person_id == person_id,
            alert.c.code == code,
            alert.c.user_id == user_id,
            alert.c.organisation == organisation,
            alert.c.state == "open",
        )
        .limit(1)
    )
    return tx.execute(statement).first() is not None


def list_alerts(tx: Connection, organisations: list[str] | None, *, after: int, limit: int) -> list[Alert]:
    """Return alerts in order of id; ``organisations`` None means all."""
    statement = select(alert).where(alert.c.alert_id > after).order_by(alert.c.alert_id).limit(limit)
    if organisations is not None:
        statement = statement.where(alert.c.organisation.in_(organisations))
    return [Alert(**row._mapping) for row in tx.execute(statement)]
