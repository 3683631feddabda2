"""The outbox: events written in the transaction of the act, numbered once they are committed, and handed on at least once and in order.

A writer that wants order for a subject holds that subject's lock while it emits, as every change of a person does: then row numbers grow
in order of commit for that subject, though not across subjects. A follower needs more: an order without gaps in which nothing ever appears
behind what it has read. So the relay, of which there is one at a time, gives each event its *sequence* from what it sees committed, and
commits that before it hands anything on: a crash between any two lines repeats, and never loses or numbers anew.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Index,
    Integer,
    String,
    Table,
    and_,
    delete,
    false,
    func,
    or_,
    select,
    text,
    update,
)

from foundation.clock import Clock
from foundation.database import Database, Id, Json, UtcDateTime, insert_ignore, metadata
from foundation.direct import Writes, write_rows
from foundation.errors import Conflict, Gone
from foundation.ids import format_id
from foundation.metrics import OUTBOX_RELAYED
from foundation.redis_link import RedisLink
from foundation.topics import Rights

STREAM = "mpi:events"
INSIDE = "activity."
"""Topics that begin with this are for the service's own parts: they say who is being looked at, and go to nobody who follows it."""
_STREAM_LENGTH = 100_000
_RELAY_LOCK = (
    7_000_001  # beside the spaces of foundation.database.lock: their top byte is set, this one's is not
)
_NUMBERED_AT_ONCE = 5_000
_LOOKED_AT = 10_000
"""Events that one read looks at, however few of them its reader may be told of."""
PURGED_AT_ONCE = 10_000
_LOOK_SECONDS = 0.5
HEARTBEAT = timedelta(seconds=5)
"""How old the watermark grows before the relay says again that nothing came."""

_IS_UNNUMBERED = text("sequence IS NULL")
_IS_NUMBERED = text("sequence IS NOT NULL")
_IS_WAITING = text("relayed_at IS NULL AND sequence IS NOT NULL")

outbox = Table(
    "outbox",
    metadata,
    Column("outbox_id", Id, primary_key=True, autoincrement=True),
    Column("topic", String(64), nullable=False),
    Column("subject_id", Id),
    Column("organisation", String(20)),  # whose it is to be told: empty for everyone who may read the topic
    Column("payload", Json, nullable=False),
    Column("sequence", Id),  # its place in the feed, once the relay has seen it committed
    Column("numbered_at", UtcDateTime),
    Column("relayed_at", UtcDateTime),
    # An insertion touches the first of these alone.
    Index("ix_outbox_unnumbered", "outbox_id", sqlite_where=_IS_UNNUMBERED, postgresql_where=_IS_UNNUMBERED),
    Index(
        "uq_outbox_sequence",
        "sequence",
        unique=True,
        sqlite_where=_IS_NUMBERED,
        postgresql_where=_IS_NUMBERED,
    ),
    Index("ix_outbox_waiting", "sequence", sqlite_where=_IS_WAITING, postgresql_where=_IS_WAITING),
    sqlite_autoincrement=True,
)

# One row, made with the first number: events that are gone must not lend their numbers to others.
event_feed = Table(
    "event_feed",
    metadata,
    Column("feed_id", Integer, primary_key=True, autoincrement=False),
    Column("last_sequence", Id, nullable=False),
    Column("purged_through", Id, nullable=False),
    # What was committed before this instant has its number: the relay says so again and again, also where nothing happens.
    Column("complete_at", UtcDateTime),
)


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a subject; the payload holds ids and codes only."""

    outbox_id: int
    topic: str
    subject_id: int | None = field(repr=False)
    payload: Mapping[str, Any] = field(repr=False)
    sequence: int
    numbered_at: datetime


@dataclass(frozen=True, slots=True)
class Feed:
    """How far events are numbered (0: none is), and from which number on they are still kept.

    ``complete_at`` is the watermark: whatever was committed before it is numbered, at ``last`` or before. None where no relay ever ran.
    """

    last: int
    oldest: int
    complete_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in order. ``up_to``: everything that their reader may be told up to this number is there, so it goes on after it."""

    events: tuple[Event, ...]
    up_to: int
    feed: Feed

    @property
    def has_more(self) -> bool:
        return self.up_to < self.feed.last

    @property
    def complete_at(self) -> datetime | None:
        """Until when its reader has been told everything; None while there is more to be told."""
        return None if self.has_more else self.feed.complete_at


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event as it is written.

    ``organisation``: the one that alone may be told, as of its own record; "*" for those who speak for all; None for everyone.
    """

    topic: str
    subject_id: int | None = field(repr=False)
    payload: Mapping[str, Any] = field(repr=False)
    organisation: str | None = None


Sink = Callable[[Sequence[Event]], bool]
"""Where events go, in their order; False says that they could not be taken now and must be brought again."""


def emit(
    tx: Connection,
    topic: str,
    subject_id: int | None,
    payload: Mapping[str, Any],
    *,
    organisation: str | None = None,
) -> None:
    """Write an event that becomes visible with the act's commit."""
    emit_all(tx, [NewEvent(topic, subject_id, payload, organisation)])


def emit_all(tx: Connection, events: Sequence[NewEvent]) -> None:
    """Write events by one statement, in the order given."""
    write_rows(tx, lambda writes: put_events(writes, events))


def put_events(writes: Writes, events: Sequence[NewEvent]) -> None:
    """As ``emit_all``, with other writes."""
    writes.insert(
        outbox,
        [
            {
                "topic": one.topic,
                "subject_id": one.subject_id,
                "organisation": one.organisation,
                "payload": dict(one.payload),
            }
            for one in events
        ],
    )


# Numbers and handing on ----------------------------------------------------------------------------------------------


def relay(db: Database, clock: Clock, sinks: Sequence[Sink], limit: int = 500) -> int:
    """Number what was committed, hand it to every sink in order, then mark it; return how many events went.

    Sinks are called outside a write transaction, so that they may open one. A crash between handing on and marking
    hands on again, under the same numbers. One relay at a time on PostgreSQL; the embedded default has one worker. Who reads
    the feed need not wait for a sink that is down.
    """
    with _alone(db) as is_alone:
        if not is_alone:
            return 0
        numbered = number_events(db, clock.now(), is_handed_on=not sinks)
        gone = {} if sinks else numbered
        with db.read() as tx:
            events = _read(tx, outbox.c.relayed_at.is_(None) & outbox.c.sequence.is_not(None), limit)
        if events and all(sink(events) for sink in sinks):
            _mark(db, [event.outbox_id for event in events], clock.now())
            for event in events:
                gone[event.topic] = gone.get(event.topic, 0) + 1
    for topic, count in gone.items():
        OUTBOX_RELAYED.labels(topic).inc(count)
    return sum(gone.values())


@contextmanager
def _alone(db: Database) -> Iterator[bool]:
    """Hold the relay's lock meanwhile; False where another has it."""
    if db.is_sqlite:
        yield True
        return
    with db.read() as tx:
        held = tx.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _RELAY_LOCK})
        yield bool(held.scalar_one())


def number_events(
    db: Database, now: datetime, limit: int = _NUMBERED_AT_ONCE, *, is_handed_on: bool = False
) -> dict[str, int]:
    """Give committed events their places in the feed, in the order in which they were written; return how many, by topic.

    Of one subject what was written first was committed first, so whoever sees the later event sees the earlier one.

    Args:
        now: an instant before this is called: it becomes the watermark.
        is_handed_on: whether nobody else has to be given them.
    """
    with db.read() as tx:
        none = (
            tx.execute(select(outbox.c.outbox_id).where(outbox.c.sequence.is_(None)).limit(1)).first() is None
        )
        said_at = read_feed(tx).complete_at
        if none and said_at is not None and now - said_at < HEARTBEAT:
            return {}
    with db.write() as tx:
        feed = _hold_feed(tx)
        waiting = (
            select(outbox.c.outbox_id)
            .where(outbox.c.sequence.is_(None))
            .order_by(outbox.c.outbox_id)
            .limit(limit)
            .subquery()
        )
        placed = select(
            waiting.c.outbox_id, func.row_number().over(order_by=waiting.c.outbox_id).label("place")
        ).subquery()
        values = {"sequence": placed.c.place + feed.last, "numbered_at": now}
        if is_handed_on:
            values["relayed_at"] = now
        count = tx.execute(
            update(outbox).where(outbox.c.outbox_id == placed.c.outbox_id).values(values)
        ).rowcount
        said: dict[str, Any] = {"last_sequence": feed.last + count}
        if count < limit and (feed.complete_at is None or feed.complete_at < now):
            # The statement above saw all that was committed before it began, and so before this instant.
            said["complete_at"] = now
        tx.execute(update(event_feed).values(said))
        numbered = outbox.c.sequence.between(feed.last + 1, feed.last + count)
        topics = tx.execute(select(outbox.c.topic, func.count()).where(numbered).group_by(outbox.c.topic))
        return {str(row[0]): int(row[1]) for row in topics}


def _hold_feed(tx: Connection) -> Feed:
    """Hold the feed's row until the transaction ends: numbers are given, and events removed, by one at a time."""
    statement = select(*_FEED).with_for_update()
    row = tx.execute(statement).first()
    if row is None:
        insert_ignore(tx, event_feed, [{"feed_id": 1, "last_sequence": 0, "purged_through": 0}], ["feed_id"])
        row = tx.execute(statement).one()
    return _feed(row)


_FEED = (event_feed.c.last_sequence, event_feed.c.purged_through, event_feed.c.complete_at)


def _feed(row: Any) -> Feed:
    return Feed(row.last_sequence, row.purged_through + 1, row.complete_at)


_COLUMNS = (
    outbox.c.outbox_id,
    outbox.c.topic,
    outbox.c.subject_id,
    outbox.c.payload,
    outbox.c.sequence,
    outbox.c.numbered_at,
)


def _read(tx: Connection, where: Any, limit: int) -> tuple[Event, ...]:
    rows = tx.execute(select(*_COLUMNS).where(where).order_by(outbox.c.sequence).limit(limit))
    return tuple(Event(*row) for row in rows)


def _mark(db: Database, numbers: Sequence[int], now: datetime) -> None:
    with db.write() as tx:
        tx.execute(update(outbox).where(outbox.c.outbox_id.in_(numbers)).values(relayed_at=now))


def to_redis(link: RedisLink) -> Sink:
    """Return the sink that appends events to the Redis stream ``mpi:events``; while Redis is down they wait in the outbox."""

    def put(events: Sequence[Event]) -> bool:
        def act(client: Any) -> bool:
            pipe = client.pipeline(transaction=False)
            for event in events:
                if event.topic.startswith(INSIDE):
                    continue
                fields = {
                    "sequence": str(event.sequence),
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


# Reading -------------------------------------------------------------------------------------------------------------


def read_feed(tx: Connection) -> Feed:
    row = tx.execute(select(*_FEED)).first()
    return Feed(0, 1) if row is None else _feed(row)


def check_kept(feed: Feed, after: int) -> None:
    """See that the feed still has everything after a number.

    Raises:
        Gone: ``events-gone``: some were removed already; whoever follows must begin anew.
        Conflict: ``events-ahead``: the number was never given, as after a restore from a backup.
    """
    ids = {"oldest": str(feed.oldest), "last": str(feed.last)}
    if after + 1 < feed.oldest:
        raise Gone("events-gone", ids=ids, detail="Read again what you hold, and follow from the end.")
    if after > feed.last:
        raise Conflict("events-ahead", ids=ids, detail="Read again what you hold, and follow from the end.")


def read_events(tx: Connection, after: int, limit: int, rights: Rights) -> EventPage:
    """Return the next events of the feed that these rights let be told; a page may be empty and have more behind it.

    Raises:
        Gone, Conflict: as ``check_kept``.
    """
    feed = read_feed(tx)
    check_kept(feed, after)
    up_to = min(feed.last, after + _LOOKED_AT)
    found = _read(tx, (outbox.c.sequence > after) & (outbox.c.sequence <= up_to) & _told(rights), limit)
    if not tx.dialect.name == "sqlite":
        check_kept(read_feed(tx), after)  # what was removed between the two statements would be missed
    return EventPage(found, found[-1].sequence if len(found) == limit else up_to, feed)


def await_events(
    db: Database,
    after: int,
    limit: int,
    rights: Rights,
    seconds: float,
    rest: Callable[[float], object],
) -> EventPage:
    """Return the next events, or wait up to so many seconds for one; each look is a transaction of its own.

    Raises:
        Gone, Conflict: as ``check_kept``.
    """
    left = seconds
    while True:
        with db.read() as tx:
            page = read_events(tx, after, limit, rights)
        if page.events or page.has_more or left <= 0:
            return page
        after = page.up_to
        rest(min(_LOOK_SECONDS, left))
        left -= _LOOK_SECONDS


def read_range(tx: Connection, first: int, last: int, rights: Rights) -> tuple[Event, ...]:
    """Return what is still kept of a stretch of the feed and may be told."""
    where = (outbox.c.sequence >= first) & (outbox.c.sequence <= last) & _told(rights)
    return _read(tx, where, last - first + 1)


def _told(rights: Rights) -> Any:
    if not rights.topics:
        return false()
    is_topic = outbox.c.topic.in_(sorted(rights.topics))
    if rights.is_for_all:
        return is_topic
    return and_(
        is_topic,
        or_(outbox.c.organisation.is_(None), outbox.c.organisation.in_(sorted(rights.organisations))),
    )


def waiting_count(tx: Connection) -> int:
    """Return how many committed events were not handed on yet, numbered or not."""
    # Two questions, an index for each: all events of a month are not to be looked at for this.
    counts = (
        select(func.count()).select_from(outbox).where(where)
        for where in (
            outbox.c.sequence.is_(None),
            outbox.c.relayed_at.is_(None) & outbox.c.sequence.is_not(None),
        )
    )
    return sum(int(tx.execute(count).scalar_one()) for count in counts)


def purge_relayed(tx: Connection, before: datetime, limit: int = PURGED_AT_ONCE) -> int:
    """Remove up to so many of the oldest events, those handed on before this instant; return how many.

    Only from the beginning of the feed: what is kept has no holes.
    """
    feed = _hold_feed(tx)
    through = feed.oldest - 1
    for sequence, relayed_at in tx.execute(
        select(outbox.c.sequence, outbox.c.relayed_at)
        .where(outbox.c.sequence >= feed.oldest)
        .order_by(outbox.c.sequence)
        .limit(limit)
    ):
        if relayed_at is None or relayed_at >= before:
            break
        through = sequence
    if through < feed.oldest:
        return 0
    tx.execute(update(event_feed).values(purged_through=through))
    return tx.execute(delete(outbox).where(outbox.c.sequence <= through)).rowcount
