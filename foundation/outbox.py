"""The outbox: events written in the transaction of the act and handed on afterwards, at least once and in order for each subject.

A writer that wants order for a subject holds that subject's lock while it emits, as every change of a person does: then numbers grow
in order of commit for that subject, though not across subjects.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, Index, String, Table, delete, func, select, text, update

from foundation.clock import Clock
from foundation.database import Database, Id, Json, UtcDateTime, metadata
from foundation.ids import format_id
from foundation.metrics import OUTBOX_RELAYED
from foundation.redis_link import RedisLink

STREAM = "mpi:events"
_STREAM_LENGTH = 100_000
_RELAY_LOCK = (
    7_000_001  # beside the spaces of foundation.database.lock: their top byte is set, this one's is not
)

outbox = Table(
    "outbox",
    metadata,
    Column("outbox_id", Id, primary_key=True, autoincrement=True),
    Column("topic", String(64), nullable=False),
    Column("subject_id", Id),
    Column("payload", Json, nullable=False),
    Column("relayed_at", UtcDateTime),
    Index(
        "ix_outbox_waiting",
        "outbox_id",
        sqlite_where=text("relayed_at IS NULL"),
        postgresql_where=text("relayed_at IS NULL"),
    ),
    sqlite_autoincrement=True,
)


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a subject; the payload holds ids and codes only."""

    outbox_id: int
    topic: str
    subject_id: int | None = field(repr=False)
    payload: Mapping[str, Any] = field(repr=False)


Sink = Callable[[Sequence[Event]], bool]
"""Where events go, in their order; False says that they could not be taken now and must be brought again."""


def emit(tx: Connection, topic: str, subject_id: int | None, payload: Mapping[str, Any]) -> None:
    """Write an event that becomes visible with the act's commit."""
    tx.execute(outbox.insert(), {"topic": topic, "subject_id": subject_id, "payload": dict(payload)})


def emit_all(tx: Connection, topic: str, payloads: Mapping[int, Mapping[str, Any]]) -> None:
    """Write one event for each subject by one statement, in the order given; for bulk acts."""
    rows = [
        {"topic": topic, "subject_id": subject_id, "payload": dict(payload)}
        for subject_id, payload in payloads.items()
    ]
    if rows:
        tx.execute(outbox.insert(), rows)


def relay(db: Database, clock: Clock, sinks: Sequence[Sink], limit: int = 500) -> int:
    """Hand waiting events to every sink, then mark them; return how many went.

    Sinks are called outside a write transaction, so that they may open one. A crash between handing on and marking
    hands on again. One relay at a time on PostgreSQL; the embedded default has one worker.
    """
    with db.read() as tx:
        if (
            not db.is_sqlite
            and not tx.execute(
                text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _RELAY_LOCK}
            ).scalar_one()
        ):
            return 0
        rows = tx.execute(
            select(outbox.c.outbox_id, outbox.c.topic, outbox.c.subject_id, outbox.c.payload)
            .where(outbox.c.relayed_at.is_(None))
            .order_by(outbox.c.outbox_id)
            .limit(limit)
        ).all()
        if db.is_sqlite:
            tx.rollback()  # a snapshot held open would keep the write-ahead log from shrinking
            tx.exec_driver_sql("BEGIN")
        events = [Event(*row) for row in rows]
        if not events or not all(sink(events) for sink in sinks):
            return 0
        _mark(db, [event.outbox_id for event in events], clock.now())
    for event in events:
        OUTBOX_RELAYED.labels(event.topic).inc()
    return len(events)


def _mark(db: Database, numbers: Sequence[int], now: datetime) -> None:
    with db.write() as tx:
        tx.execute(update(outbox).where(outbox.c.outbox_id.in_(numbers)).values(relayed_at=now))


def to_redis(link: RedisLink) -> Sink:
    """Return the sink that appends events to the Redis stream ``mpi:events``; while Redis is down they wait in the outbox."""

    def put(events: Sequence[Event]) -> bool:
        def act(client: Any) -> bool:
            pipe = client.pipeline(transaction=False)
            for event in events:
                fields = {
                    "event_id": str(event.outbox_id),
                    "topic": event.topic,
                    "subject_id": "" if event.subject_id is None else format_id(event.subject_id),
                    "payload": json.dumps(event.payload, separators=(",", ":")),
                }
                pipe.xadd(STREAM, fields, maxlen=_STREAM_LENGTH, approximate=True)
            pipe.execute()
            return True

        return bool(link.call("stream", act, False))

    return put


def waiting_count(tx: Connection) -> int:
    return int(
        tx.execute(select(func.count()).select_from(outbox).where(outbox.c.relayed_at.is_(None))).scalar_one()
    )


def purge_relayed(tx: Connection, before: datetime) -> int:
    """Remove events that were handed on before this instant; return how many."""
    return tx.execute(delete(outbox).where(outbox.c.relayed_at < before)).rowcount
