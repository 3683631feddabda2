"""The outbox: events written in the act's own transaction, relayed after it, at least once and in order for each subject."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, Index, String, Table, bindparam, select, update

from foundation.database import Database, Id, Json, UtcDateTime, metadata

outbox_event = Table(
    "outbox_event",
    metadata,
    Column("event_id", Id, primary_key=True, autoincrement=True),
    Column("topic", String(40), nullable=False),
    Column("subject_id", Id, nullable=False),
    Column("payload", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("relayed_at", UtcDateTime),
    sqlite_autoincrement=True,
)
Index(
    "ix_outbox_event_waiting",
    outbox_event.c.event_id,
    sqlite_where=outbox_event.c.relayed_at.is_(None),
    postgresql_where=outbox_event.c.relayed_at.is_(None),
)


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """An event of one subject (a person or a record, by id); the payload holds ids and codes."""

    event_id: int
    topic: str
    subject_id: int
    payload: dict[str, Any]
    created_at: datetime


def emit(tx: Connection, topic: str, subject_id: int, payload: Mapping[str, Any], at: datetime) -> None:
    """Write an event in the caller's transaction: it exists if and only if the act does."""
    tx.execute(
        outbox_event.insert(),
        {"topic": topic, "subject_id": subject_id, "payload": dict(payload), "created_at": at},
    )


def emit_all(tx: Connection, topic: str, payloads: Mapping[int, Mapping[str, Any]], at: datetime) -> None:
    """Write one event for each subject, as ``emit`` does for one."""
    rows = [
        {"topic": topic, "subject_id": subject_id, "payload": dict(payload), "created_at": at}
        for subject_id, payload in payloads.items()
    ]
    if rows:
        tx.execute(outbox_event.insert(), rows)


def relay(database: Database, send: Callable[[OutboxEvent], None], now: datetime, limit: int = 500) -> int:
    """Send what waits, oldest first, and mark it sent; return how many.

    A crash between sending and marking sends again: at least once. One relay at a time keeps the order of a subject: on
    PostgreSQL a second one finds the rows locked and does nothing.
    """
    with database.write() as tx:
        statement = (
            select(*(outbox_event.c[name] for name in OutboxEvent.__dataclass_fields__))
            .where(outbox_event.c.relayed_at.is_(None))
            .order_by(outbox_event.c.event_id)
            .limit(limit)
        )
        if not database.is_sqlite:
            if not tx.exec_driver_sql("SELECT pg_try_advisory_xact_lock(1)").scalar_one():
                return 0
        events = [OutboxEvent(*row) for row in tx.execute(statement)]
        for waiting in events:
            send(waiting)
        if events:
            tx.execute(
                update(outbox_event)
                .where(outbox_event.c.event_id == bindparam("number"))
                .values(relayed_at=now),
                [{"number": waiting.event_id} for waiting in events],
            )
    return len(events)
