"""Keeping webhooks: made, changed, paused and gone on with by administrators, each act in the audit log.

A webhook belongs to a registered client and is told what that client might read from the API at the moment of sending, so nobody's rights
are kept twice. Whoever may act for the client's organisation keeps it. Its secret is shown when it is made and when it is changed; it lies
in the database as our signing keys do, since the worker must sign with it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, update
from sqlalchemy.exc import IntegrityError

from foundation import audit
from foundation.auth.clients import Client, find_client
from foundation.errors import Conflict, Gone, Invalid, NotFound
from foundation.ids import format_id, new_id
from foundation.outbox import check_kept, read_feed
from foundation.principal import Principal
from foundation.topics import SCOPE, TOPICS, Rights, rights_of
from foundation.webhooks.address import Reach
from foundation.webhooks.send import new_secret
from foundation.webhooks.tables import LONGEST_DESCRIPTION, webhook, webhook_delivery

WRITER = "webhooks:write"
OLD_SECRET_LASTS = timedelta(hours=24)
BY_HAND = "administrator"


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook as it stands. ``sent_through``: everything up to this sequence was taken, or set aside, or is not for it."""

    webhook_id: int
    client_id: str
    organisation: str
    url: str = field(repr=False)
    description: str | None = field(repr=False)
    topics: tuple[str, ...]
    state: str
    paused_because: str | None
    version: int
    sent_through: int
    failures: int
    next_attempt_at: datetime | None
    delivered: int
    failed: int
    set_aside: int
    last_outcome: str | None
    last_attempt_at: datetime | None
    old_secret_until: datetime | None
    created_at: datetime
    changed_at: datetime
    secrets: tuple[str, ...] = field(repr=False)

    def keys_at(self, now: datetime) -> tuple[str, ...]:
        """Return the secrets that sign now, the newest first."""
        is_changing = self.old_secret_until is not None and now < self.old_secret_until
        return self.secrets if is_changing else self.secrets[:1]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one message: ``delivered``, ``failing`` and tried again by itself, ``dead`` and set aside, or asked for ``again``."""

    delivery_id: int
    webhook_id: int
    first_sequence: int
    last_sequence: int
    events: int
    state: str
    attempts: int
    outcome: str
    status: int | None
    first_at: datetime
    last_at: datetime


# By hand -------------------------------------------------------------------------------------------------------------


def create_webhook(
    tx: Connection,
    at: datetime,
    by: Principal,
    reach: Reach,
    *,
    client_id: str,
    url: str,
    topics: Collection[str],
    description: str | None = None,
) -> tuple[Webhook, str]:
    """Make a webhook that is told what happens from now on; return it with its secret, which is not shown again.

    Raises:
        Invalid: as ``Reach.check``; ``topics-missing``, ``topic-unknown``, ``topic-not-for-client``, ``description-format``.
        NotFound: ``client-unknown``, for another organisation's as well.
        Conflict: ``webhook-exists`` for this client and address; ``client-closed``.
    """
    client = _client(tx, by, client_id)
    if not client.is_active:
        raise Conflict("client-closed", ids={"client_id": client_id})
    secret = new_secret()
    webhook_id = new_id()
    row = {
        "webhook_id": webhook_id,
        "client_id": client_id,
        "organisation": client.organisation,
        "url": reach.check(url),
        "description": _description(description),
        "topics": _topics(client, topics),
        "state": "active",
        "paused_because": None,
        "version": 1,
        "secret": secret,
        "sent_through": read_feed(tx).last,
        "failures": 0,
        "delivered": 0,
        "failed": 0,
        "set_aside": 0,
        "created_by": by.id,
        "created_at": at,
        "changed_at": at,
    }
    try:
        with tx.begin_nested():
            tx.execute(webhook.insert(), row)
    except IntegrityError as error:
        raise Conflict("webhook-exists", ids={"client_id": client_id}) from error
    _note(tx, at, by, "webhook-added", webhook_id, {"client_id": client_id, "topics": row["topics"]})
    return _read(tx, by, webhook_id), secret


def change_webhook(
    tx: Connection,
    at: datetime,
    by: Principal,
    webhook_id: int,
    changes: Mapping[str, Any],
    *,
    if_match: int | None = None,
) -> Webhook:
    """Change ``topics``, ``description`` or ``state``. Who goes on with a paused one has it tried at once, from where it stood.

    Raises:
        NotFound: ``webhook-unknown``, for another organisation's as well.
        Invalid: as ``create_webhook``; ``state-unknown``.
        Conflict: ``stale-etag``. Gone: ``events-gone`` where what it waits for was removed: replay from what is kept.
    """
    hook = _hold(tx, by, webhook_id)
    if if_match is not None and if_match != hook.version:
        raise Conflict("stale-etag")
    values: dict[str, Any] = {}
    if "topics" in changes:
        values["topics"] = _topics(_client(tx, by, hook.client_id), changes["topics"])
    if "description" in changes:
        values["description"] = _description(changes["description"])
    state = changes.get("state", hook.state)
    if state not in ("active", "paused"):
        raise Invalid("state-unknown", field="state")
    if state != hook.state:
        if state == "active":
            check_kept(read_feed(tx), hook.sent_through)
        values |= {"state": state, "paused_because": None if state == "active" else BY_HAND, **_AFRESH}
    if not values:
        return hook
    told = {name: values[name] for name in ("topics", "state") if name in values}
    return _change(tx, at, by, hook, "webhook-changed", values, told | {"fields": sorted(changes)})


def rotate_secret(tx: Connection, at: datetime, by: Principal, webhook_id: int) -> tuple[Webhook, str]:
    """Give a webhook a new secret and return it; for a day messages bear a signature of each.

    Raises:
        NotFound: ``webhook-unknown``.
    """
    hook = _hold(tx, by, webhook_id)
    secret = new_secret()
    values = {"secret": secret, "old_secret": hook.secrets[0], "old_secret_until": at + OLD_SECRET_LASTS}
    return _change(tx, at, by, hook, "webhook-secret-rotated", values, {}), secret


def replay_webhook(
    tx: Connection, at: datetime, by: Principal, webhook_id: int, from_sequence: int
) -> Webhook:
    """Let a webhook be told again from a sequence on, or skip to a later one. A message of the moment may come once more.

    Raises:
        NotFound: ``webhook-unknown``. Gone, Conflict: as ``check_kept``.
    """
    hook = _hold(tx, by, webhook_id)
    check_kept(read_feed(tx), from_sequence - 1)
    tx.execute(
        delete(webhook_delivery).where(
            webhook_delivery.c.webhook_id == webhook_id, webhook_delivery.c.state == "failing"
        )
    )
    told = {"from_sequence": from_sequence, "stood_at": hook.sent_through}
    return _change(tx, at, by, hook, "webhook-replayed", {"sent_through": from_sequence - 1, **_AFRESH}, told)


def delete_webhook(tx: Connection, at: datetime, by: Principal, webhook_id: int) -> None:
    """Remove a webhook with what is known of its messages; one that is being sent may still arrive.

    Raises:
        NotFound: ``webhook-unknown``.
    """
    hook = _hold(tx, by, webhook_id)
    tx.execute(delete(webhook_delivery).where(webhook_delivery.c.webhook_id == webhook_id))
    tx.execute(delete(webhook).where(webhook.c.webhook_id == webhook_id))
    _note(tx, at, by, "webhook-removed", webhook_id, {"client_id": hook.client_id})


def retry_delivery(
    tx: Connection, at: datetime, by: Principal, webhook_id: int, delivery_id: int
) -> Delivery:
    """Have a message that was set aside sent once more, before anything else of its webhook.

    Raises:
        NotFound: ``webhook-unknown``, ``delivery-unknown``.
        Conflict: ``delivery-not-dead``. Gone: ``events-gone``.
    """
    _hold(tx, by, webhook_id)
    found = _delivery(tx, webhook_id, delivery_id)
    if found.state != "dead":
        raise Conflict("delivery-not-dead", ids={"delivery_id": format_id(delivery_id)})
    feed = read_feed(tx)
    if found.first_sequence < feed.oldest:
        raise Gone("events-gone", ids={"oldest": str(feed.oldest), "last": str(feed.last)})
    tx.execute(
        update(webhook_delivery).where(webhook_delivery.c.delivery_id == delivery_id).values(state="again")
    )
    _note(tx, at, by, "webhook-delivery-retried", webhook_id, {"first_sequence": found.first_sequence})
    return _delivery(tx, webhook_id, delivery_id)


def note_ping(tx: Connection, at: datetime, by: Principal, webhook_id: int, outcome: str) -> None:
    _note(tx, at, by, "webhook-pinged", webhook_id, {"outcome": outcome})


def get_webhook(tx: Connection, by: Principal, webhook_id: int) -> Webhook:
    """Return a webhook.

    Raises:
        NotFound: ``webhook-unknown``, for another organisation's as well.
    """
    return _read(tx, by, webhook_id)


def list_webhooks(tx: Connection, by: Principal, *, after: int = 0, limit: int = 50) -> Sequence[Webhook]:
    """Return the webhooks that someone keeps, in order of id."""
    statement = select(webhook).where(webhook.c.webhook_id > after).order_by(webhook.c.webhook_id)
    if not by.may_act_for("*"):
        statement = statement.where(webhook.c.organisation.in_({by.organisation, *by.organisations}))
    return [from_row(row) for row in tx.execute(statement.limit(limit))]


def list_deliveries(
    tx: Connection,
    by: Principal,
    webhook_id: int,
    *,
    state: str | None = None,
    below: int | None = None,
    limit: int = 50,
) -> Sequence[Delivery]:
    """Return what became of a webhook's messages, the newest first.

    Raises:
        NotFound: ``webhook-unknown``.
    """
    _read(tx, by, webhook_id)
    statement = (
        select(webhook_delivery)
        .where(webhook_delivery.c.webhook_id == webhook_id)
        .order_by(webhook_delivery.c.delivery_id.desc())
    )
    if state is not None:
        statement = statement.where(webhook_delivery.c.state == state)
    if below is not None:
        statement = statement.where(webhook_delivery.c.delivery_id < below)
    return [Delivery(*row) for row in tx.execute(statement.limit(limit))]


def count_by_state(tx: Connection) -> dict[str, int]:
    """Return how many webhooks there are in each state."""
    rows = tx.execute(select(webhook.c.state, func.count()).group_by(webhook.c.state))
    return {"active": 0, "paused": 0} | {str(row[0]): int(row[1]) for row in rows}


# Shared --------------------------------------------------------------------------------------------------------------

_AFRESH = {"failures": 0, "next_attempt_at": None, "lease": None, "leased_until": None}
"""A message that is being sent while this is written counts for nothing: it is sent again."""


def rights_of_client(client: Client, topics: Collection[str]) -> Rights:
    """Return what a client's webhook may be told now, of the topics that it asks for."""
    return rights_of(client.principal(client.scopes), frozenset(topics))


def from_row(row: Row[Any]) -> Webhook:
    return Webhook(
        webhook_id=row.webhook_id,
        client_id=row.client_id,
        organisation=row.organisation,
        url=row.url,
        description=row.description,
        topics=tuple(row.topics),
        state=row.state,
        paused_because=row.paused_because,
        version=row.version,
        sent_through=row.sent_through,
        failures=row.failures,
        next_attempt_at=row.next_attempt_at,
        delivered=row.delivered,
        failed=row.failed,
        set_aside=row.set_aside,
        last_outcome=row.last_outcome,
        last_attempt_at=row.last_attempt_at,
        old_secret_until=row.old_secret_until,
        created_at=row.created_at,
        changed_at=row.changed_at,
        secrets=(row.secret,) if row.old_secret is None else (row.secret, row.old_secret),
    )


def _hold(tx: Connection, by: Principal, webhook_id: int) -> Webhook:
    return _read(tx, by, webhook_id, for_update=True)


def _read(tx: Connection, by: Principal, webhook_id: int, *, for_update: bool = False) -> Webhook:
    statement = select(webhook).where(webhook.c.webhook_id == webhook_id)
    row = tx.execute(statement.with_for_update() if for_update else statement).first()
    if row is None or not by.may_act_for(row.organisation):
        raise NotFound("webhook-unknown", ids={"webhook_id": format_id(webhook_id)})
    return from_row(row)


def _delivery(tx: Connection, webhook_id: int, delivery_id: int) -> Delivery:
    row = tx.execute(
        select(webhook_delivery).where(
            webhook_delivery.c.delivery_id == delivery_id, webhook_delivery.c.webhook_id == webhook_id
        )
    ).first()
    if row is None:
        raise NotFound("delivery-unknown", ids={"delivery_id": format_id(delivery_id)})
    return Delivery(*row)


def _change(
    tx: Connection,
    at: datetime,
    by: Principal,
    hook: Webhook,
    kind: str,
    values: Mapping[str, Any],
    told: Mapping[str, Any],
) -> Webhook:
    tx.execute(
        update(webhook)
        .where(webhook.c.webhook_id == hook.webhook_id)
        .values(**values, version=hook.version + 1, changed_at=at)
    )
    _note(tx, at, by, kind, hook.webhook_id, told)
    return _read(tx, by, hook.webhook_id)


def _note(
    tx: Connection, at: datetime, by: Principal, kind: str, webhook_id: int, told: Mapping[str, Any]
) -> None:
    detail = {"webhook_id": format_id(webhook_id), **told}
    audit.append(tx, audit.entry_by(by, at, kind, detail=detail))


def _client(tx: Connection, by: Principal, client_id: str) -> Client:
    found = find_client(tx, client_id)
    if found is None or not by.may_act_for(found.organisation):
        raise NotFound("client-unknown", ids={"client_id": client_id})
    return found


def _topics(client: Client, wanted: Collection[str]) -> list[str]:
    if not wanted:
        raise Invalid("topics-missing", field="topics")
    if set(wanted) - TOPICS.keys():
        raise Invalid("topic-unknown", field="topics")
    if missing := sorted(set(wanted) - rights_of_client(client, wanted).topics):
        scopes = sorted({SCOPE, *(TOPICS[name].scope for name in missing)} - client.scopes)
        raise Invalid(
            "topic-not-for-client",
            field="topics",
            detail=f"The client {client.client_id} lacks the scope {' '.join(scopes)}.",
        )
    return sorted(set(wanted))


def _description(text: str | None) -> str | None:
    if text is None or not text.strip():
        return None
    if len(text) > LONGEST_DESCRIPTION or not text.isprintable():
        raise Invalid("description-format", field="description")
    return text
