"""Delivery: what a webhook has not been sent yet goes to it in order, by one worker at a time, until its receiver has said yes.

Where a webhook stands is one number in the database, moved after the receiver's answer: whoever dies between the two sends again. Nothing
of a webhook is sent while an earlier message waits. A message is up to 100 events; after a failure it is the first of them alone, so that
what is set aside in the end is the one event that its receiver cannot take.
"""

import json
import random
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, and_, delete, func, or_, select, update

from foundation import audit
from foundation.auth.clients import client as client_table
from foundation.auth.clients import find_client
from foundation.clock import Clock
from foundation.database import Database
from foundation.errors import Conflict, Gone
from foundation.ids import format_id, new_id
from foundation.logs import get_logger
from foundation.outbox import Event, read_events, read_feed, read_range
from foundation.principal import SYSTEM_ITSELF, Principal
from foundation.settings import Settings
from foundation.topics import Rights
from foundation.webhooks.address import Reach, reach_of
from foundation.webhooks.keep import Webhook, from_row, get_webhook, note_ping, rights_of_client
from foundation.webhooks.send import WHOLE_SECONDS, Outcome, Sender, headers_of
from foundation.webhooks.tables import webhook, webhook_delivery

EVENTS_AT_ONCE = 100
MESSAGE_ATTEMPTS = 10
"""How often a message is sent that its receiver refuses as such, in some nine minutes, before it is set aside."""
RECEIVER_ATTEMPTS = 20
"""How often a receiver is tried that does not take anything, in about a day, before its webhook is paused."""
LONGEST_WAIT = timedelta(hours=4)
LOOK_EVERY = timedelta(seconds=1)
DELIVERED_KEPT_FOR = timedelta(days=3)

_THREADS = 8
_TURN_SECONDS = 10.0
_LEASE = timedelta(seconds=3 * WHOLE_SECONDS)

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Post:
    """What delivery stands on. ``jitter`` draws from 0 to 1, ``elapsed`` tells seconds that pass."""

    db: Database
    clock: Clock
    reach: Reach
    ca: str | None = None
    jitter: Callable[[], float] = random.random
    elapsed: Callable[[], float] = time.monotonic
    whole_seconds: float = WHOLE_SECONDS


def post_of(db: Database, clock: Clock, settings: Settings) -> Post:
    ca = settings.webhook_ca
    return Post(db, clock, reach_of(settings), None if ca is None else str(ca))


def wait_after(failures: int, drawn: float) -> timedelta:
    """Return how long to wait after so many failures: from 1 second, doubled each time, up to hours, a quarter more or less by lot."""
    seconds = min(2.0 ** (failures - 1), LONGEST_WAIT.total_seconds())
    return timedelta(seconds=seconds * (0.75 + drawn / 2))


# Rounds --------------------------------------------------------------------------------------------------------------


def deliver_waiting(post: Post) -> int:
    """Deliver to every webhook that is due, each in its turn, and return how many events were taken. For `--once` and for tests."""
    return sum(deliver_to(post, number) for number in due_webhooks(post))


@dataclass
class Round:
    """Webhooks that are being served, each by a thread of its own: a slow one keeps nobody else waiting, and is served once at a time."""

    post: Post
    pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_THREADS, thread_name_prefix="webhook")
    )
    serving: dict[int, Future[int]] = field(default_factory=dict)
    is_over: threading.Event = field(default_factory=threading.Event)

    def begin(self) -> None:
        """Begin with whoever is due and not being served."""
        self.serving = {number: one for number, one in self.serving.items() if not one.done()}
        for number in due_webhooks(self.post):
            if number not in self.serving:
                self.serving[number] = self.pool.submit(_served, self.post, number, self.is_over)

    def close(self) -> None:
        """Let each message that is being sent come to its end, and begin with no other."""
        self.is_over.set()
        self.pool.shutdown(wait=True, cancel_futures=True)


def keep_delivering(post: Post, stop: threading.Event) -> None:
    """Deliver until told to stop; a failure is logged and tried again."""
    rounds = Round(post, is_over=stop)
    try:
        while not stop.is_set():
            try:
                rounds.begin()
            except Exception as fault:
                log.error("delivery failed", exc_info=fault)
            stop.wait(LOOK_EVERY.total_seconds())
    finally:
        rounds.close()


def _served(post: Post, webhook_id: int, is_over: threading.Event) -> int:
    try:
        return deliver_to(post, webhook_id, is_over)
    except Exception as fault:
        # The lease runs out, and the next one goes on from what was written.
        log.error("webhook failed", webhook_id=format_id(webhook_id), exc_info=fault)
        return 0


def due_webhooks(post: Post) -> list[int]:
    """Return the webhooks to which something may be sent now, those first that have waited longest."""
    now = post.clock.now()
    with post.db.read() as tx:
        last = read_feed(tx).last
        again = select(webhook_delivery.c.webhook_id).where(webhook_delivery.c.state == "again")
        rows = tx.execute(
            select(webhook.c.webhook_id)
            .join(client_table, client_table.c.client_id == webhook.c.client_id)
            .where(
                webhook.c.state == "active",
                client_table.c.is_active.is_(True),
                or_(webhook.c.next_attempt_at.is_(None), webhook.c.next_attempt_at <= now),
                or_(webhook.c.leased_until.is_(None), webhook.c.leased_until <= now),
                or_(webhook.c.sent_through < last, webhook.c.webhook_id.in_(again)),
            )
            .order_by(webhook.c.last_attempt_at, webhook.c.webhook_id)
        )
        return [int(row[0]) for row in rows]


# One webhook ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Message:
    """Events to be sent together, or none: then the webhook only moves on."""

    events: tuple[Event, ...]
    first: int
    last: int
    up_to: int
    retried: int | None = None  # the delivery that someone has asked to be sent again


def deliver_to(post: Post, webhook_id: int, is_over: threading.Event | None = None) -> int:
    """Send to one webhook what waits for it, until nothing does, it fails, or its time is over; return how many events were taken."""
    lease = _take_lease(post, webhook_id)
    if lease is None:
        return 0
    taken = 0
    ends = post.elapsed() + _TURN_SECONDS
    with Sender(post.reach, post.ca, whole_seconds=post.whole_seconds) as sender:
        while True:
            found = _next(post, webhook_id, lease)
            if found is None:
                break
            hook, message = found
            outcome = (
                _send(post, sender, hook, message.events, f"{message.first}_{message.last}")
                if message.events
                else None
            )
            if not _settle(post, hook, lease, message, outcome):
                break
            taken += len(message.events)
            if post.elapsed() >= ends or (is_over is not None and is_over.is_set()):
                break
    _give_back(post, webhook_id, lease)
    return taken


def _take_lease(post: Post, webhook_id: int) -> str | None:
    lease, now = secrets.token_hex(16), post.clock.now()
    with post.db.write() as tx:
        taken = tx.execute(
            update(webhook)
            .where(
                webhook.c.webhook_id == webhook_id,
                webhook.c.state == "active",
                or_(webhook.c.next_attempt_at.is_(None), webhook.c.next_attempt_at <= now),
                or_(webhook.c.leased_until.is_(None), webhook.c.leased_until <= now),
            )
            .values(lease=lease, leased_until=now + _LEASE)
        ).rowcount
    return lease if taken else None


def _give_back(post: Post, webhook_id: int, lease: str) -> None:
    with post.db.write() as tx:
        tx.execute(
            update(webhook)
            .where(webhook.c.webhook_id == webhook_id, webhook.c.lease == lease)
            .values(lease=None, leased_until=None)
        )


def _next(post: Post, webhook_id: int, lease: str) -> tuple[Webhook, _Message] | None:
    """Return what is to be sent next; None where there is nothing, or the webhook is no longer ours to serve."""
    with post.db.read() as tx:
        row = tx.execute(
            select(webhook).where(webhook.c.webhook_id == webhook_id, webhook.c.lease == lease)
        ).first()
        if row is None:
            return None
        hook = from_row(row)
        client = find_client(tx, hook.client_id)
        if client is None or not client.is_active:
            return None
        rights = rights_of_client(client, hook.topics)
        retried = _retried(tx, hook, rights)
        if retried is not None:
            return hook, retried
        try:
            page = read_events(tx, hook.sent_through, 1 if hook.failures else EVENTS_AT_ONCE, rights)
        except (Gone, Conflict) as fault:
            code = fault.code
        else:
            if page.events:
                first, last = page.events[0].sequence, page.events[-1].sequence
                # What follows and is not for it is passed with the next look.
                return hook, _Message(page.events, first, last, last)
            if page.up_to > hook.sent_through:
                return hook, _Message((), page.up_to, page.up_to, page.up_to)
            return None
    # It stayed away longer than events are kept, or the index was restored: somebody has to say from where it goes on.
    with post.db.write() as tx:
        if _write(tx, hook, lease, {"state": "paused", "paused_because": code}):
            _note_paused(tx, post.clock.now(), hook, code)
    return None


def _retried(tx: Connection, hook: Webhook, rights: Rights) -> _Message | None:
    row = tx.execute(
        select(webhook_delivery)
        .where(webhook_delivery.c.webhook_id == hook.webhook_id, webhook_delivery.c.state == "again")
        .order_by(webhook_delivery.c.delivery_id)
        .limit(1)
    ).first()
    if row is None:
        return None
    events = read_range(tx, row.first_sequence, row.last_sequence, rights)
    return _Message(events, row.first_sequence, row.last_sequence, hook.sent_through, row.delivery_id)


def body_of(webhook_id: int, events: tuple[Event, ...]) -> bytes:
    """Return a message, the same for the same events whenever it is sent."""
    told = {
        "type": "events",
        "timestamp": _instant(events[-1].numbered_at),
        "data": {
            "webhook_id": format_id(webhook_id),
            "events": [
                {
                    "sequence": one.sequence,
                    "topic": one.topic,
                    "at": _instant(one.numbered_at),
                    "data": dict(one.payload),
                }
                for one in events
            ],
        },
    }
    return json.dumps(told, separators=(",", ":")).encode()


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()


def _send(post: Post, sender: Sender, hook: Webhook, events: tuple[Event, ...], name: str) -> Outcome:
    now = post.clock.now()
    body = body_of(hook.webhook_id, events)
    headers = headers_of(f"msg_{hook.webhook_id}_{name}", now, body, hook.keys_at(now))
    return sender.post(hook.url, headers, body)


def _settle(post: Post, hook: Webhook, lease: str, message: _Message, outcome: Outcome | None) -> bool:
    """Write down what came of a message, if it is still ours to write; say whether to go on at once."""
    now = post.clock.now()
    with post.db.write() as tx:
        if outcome is None:
            values: dict[str, Any] = {"leased_until": now + _LEASE}
            if message.retried is not None:
                # Nothing of it may be told any more, or is still there.
                _close(tx, message.retried, "dead", "events-gone", None, now)
                return _write(tx, hook, lease, values)
            # What had failed is not for it any more.
            tx.execute(delete(webhook_delivery).where(_at_hand(hook)))
            return _write(tx, hook, lease, values | {"sent_through": message.up_to, "failures": 0})
        values = {
            "leased_until": now + _LEASE,
            "last_outcome": outcome.code,
            "last_attempt_at": now,
        }
        if outcome.is_delivered:
            values["delivered"] = webhook.c.delivered + len(message.events)
        else:
            values["failed"] = webhook.c.failed + 1
        if outcome.is_gone:
            values |= {"state": "paused", "paused_because": "gone"}
        if message.retried is not None:
            if not _write(tx, hook, lease, values):
                return False
            state = "delivered" if outcome.is_delivered else "dead"
            _close(tx, message.retried, state, outcome.code, outcome.status, now)
        elif outcome.is_delivered:
            values |= {"sent_through": message.up_to, "failures": 0, "next_attempt_at": None}
            if not _write(tx, hook, lease, values):
                return False
            _record(tx, hook, message, "delivered", outcome, now)
        else:
            values |= _failed(post, hook, outcome, message, now)
            if not _write(tx, hook, lease, values):
                return False
            is_aside = "sent_through" in values
            _record(tx, hook, message, "dead" if is_aside else "failing", outcome, now)
        if "state" in values:
            _note_paused(tx, now, hook, values["paused_because"])
    if not outcome.is_delivered:
        log.warning(
            "webhook not delivered",
            webhook_id=format_id(hook.webhook_id),
            host=urlsplit(hook.url).hostname,
            outcome=outcome.code,
            status=outcome.status,
            sequence=message.first,
            attempt=hook.failures + 1,
        )
    return "state" not in values and (
        outcome.is_delivered or message.retried is not None or "sent_through" in values
    )


def _failed(post: Post, hook: Webhook, outcome: Outcome, message: _Message, now: datetime) -> dict[str, Any]:
    """Say what a failure comes to: another attempt later, the message set aside, or a pause."""
    failures = hook.failures + 1
    if outcome.is_of_message and failures >= MESSAGE_ATTEMPTS and len(message.events) == 1:
        return {
            "sent_through": message.up_to,
            "failures": 0,
            "next_attempt_at": None,
            "set_aside": webhook.c.set_aside + 1,
        }
    if outcome.is_gone or failures >= RECEIVER_ATTEMPTS:
        because = "gone" if outcome.is_gone else "receiver-down"
        return {"state": "paused", "paused_because": because, "failures": failures, "next_attempt_at": None}
    asked = timedelta(seconds=outcome.retry_after_seconds)
    wait = max(wait_after(failures, post.jitter()), min(asked, LONGEST_WAIT))
    return {"failures": failures, "next_attempt_at": now + wait}


def _write(tx: Connection, hook: Webhook, lease: str, values: dict[str, Any]) -> bool:
    """Write to a webhook that is still ours to serve; False where it is not, and what was done counts for nothing."""
    if "state" in values:
        values = values | {"version": webhook.c.version + 1}
    return (
        tx.execute(
            update(webhook)
            .where(webhook.c.webhook_id == hook.webhook_id, webhook.c.lease == lease)
            .values(values)
        ).rowcount
        == 1
    )


def _record(
    tx: Connection, hook: Webhook, message: _Message, state: str, outcome: Outcome, now: datetime
) -> None:
    """Keep what became of a message; the one in hand has one row, however often it is tried."""
    told = {
        "first_sequence": message.first,
        "last_sequence": message.last,
        "events": len(message.events),
        "state": state,
        "outcome": outcome.code,
        "status": outcome.status,
        "last_at": now,
    }
    at_hand = tx.execute(
        update(webhook_delivery)
        .where(_at_hand(hook))
        .values(**told, attempts=webhook_delivery.c.attempts + 1)
    ).rowcount
    if not at_hand:
        named = {"delivery_id": new_id(), "webhook_id": hook.webhook_id, "attempts": 1, "first_at": now}
        tx.execute(webhook_delivery.insert(), {**named, **told})


def _at_hand(hook: Webhook) -> Any:
    return and_(webhook_delivery.c.webhook_id == hook.webhook_id, webhook_delivery.c.state == "failing")


def _close(
    tx: Connection, delivery_id: int, state: str, outcome: str, status: int | None, now: datetime
) -> None:
    tx.execute(
        update(webhook_delivery)
        .where(webhook_delivery.c.delivery_id == delivery_id)
        .values(
            state=state,
            outcome=outcome,
            status=status,
            last_at=now,
            attempts=webhook_delivery.c.attempts + 1,
        )
    )


def _note_paused(tx: Connection, now: datetime, hook: Webhook, because: str) -> None:
    detail = {"webhook_id": format_id(hook.webhook_id), "because": because}
    audit.append(tx, audit.entry_by(SYSTEM_ITSELF, now, "webhook-paused", detail=detail))


# Beside it -----------------------------------------------------------------------------------------------------------


def ping_webhook(post: Post, by: Principal, webhook_id: int) -> Outcome:
    """Send a signed message without events now, and say what came of it; where the webhook stands is not touched.

    Raises:
        NotFound: ``webhook-unknown``.
    """
    now = post.clock.now()
    with post.db.read() as tx:
        hook = get_webhook(tx, by, webhook_id)
    told = {"type": "ping", "timestamp": _instant(now), "data": {"webhook_id": format_id(webhook_id)}}
    body = json.dumps(told, separators=(",", ":")).encode()
    headers = headers_of(f"msg_{webhook_id}_ping_{new_id()}", now, body, hook.keys_at(now))
    with Sender(post.reach, post.ca, whole_seconds=post.whole_seconds) as sender:
        outcome = sender.post(hook.url, headers, body)
    with post.db.write() as tx:
        note_ping(tx, now, by, webhook_id, outcome.code)
    return outcome


def purge_deliveries(tx: Connection, now: datetime, kept_since: datetime) -> int:
    """Remove what is known of messages: of those delivered after days, of others when their events are gone; return how many."""
    state, last_at = webhook_delivery.c.state, webhook_delivery.c.last_at
    return tx.execute(
        delete(webhook_delivery).where(
            or_(
                (state == "delivered") & (last_at < now - DELIVERED_KEPT_FOR),
                (state == "dead") & (last_at < kept_since),
            )
        )
    ).rowcount


@dataclass(frozen=True, slots=True)
class Backlog:
    """How far deliveries are: by webhook how many events of the feed it is behind, and totals of all that are there."""

    behind: dict[int, int]
    paused: int
    delivered: int
    failed: int
    set_aside: int


def backlog_of(tx: Connection) -> Backlog:
    last = read_feed(tx).last
    rows = tx.execute(select(webhook.c.webhook_id, webhook.c.state, webhook.c.sent_through)).all()
    sums = tx.execute(
        select(
            *(
                func.coalesce(func.sum(column), 0)
                for column in (webhook.c.delivered, webhook.c.failed, webhook.c.set_aside)
            )
        )
    ).one()
    return Backlog(
        {row.webhook_id: max(0, last - row.sent_through) for row in rows},
        sum(row.state == "paused" for row in rows),
        *(int(count) for count in sums),
    )
