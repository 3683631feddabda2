"""Webhooks over HTTP, for administrators: where events are sent, what became of them, and what to do about it."""

from typing import Any

from marshmallow import fields, validate

from foundation.ids import parse_id
from foundation.topics import TOPICS
from foundation.web.access import current_principal, requires
from foundation.web.etags import etag, if_match
from foundation.web.idempotency import answers_repeats_itself
from foundation.web.openapi import make_blueprint, takes_if_match
from foundation.web.paging import PageQuery, make_page, page_schema, read_cursor
from foundation.web.schemas import Code, IdText, Instant, OdsCode, Schema, Text
from foundation.web.shell import shell
from foundation.webhooks import keep
from foundation.webhooks.address import reach_of
from foundation.webhooks.deliver import ping_webhook, post_of
from foundation.webhooks.keep import WRITER
from foundation.webhooks.tables import LONGEST_DESCRIPTION, LONGEST_URL

webhooks = make_blueprint(
    "webhooks", description="Where events are sent, signed, for those who do not ask for them"
)

_STATES = ("active", "paused")
_DELIVERY_STATES = ("delivered", "failing", "dead", "again")
_LARGEST = 2**53 - 1  # what JSON numbers hold exactly


def _topics(**kwargs: Any) -> fields.List[Any]:
    return fields.List(Code(TOPICS), validate=validate.Length(1, len(TOPICS)), **kwargs)


class NewWebhookSchema(Schema):
    client_id = Code(
        longest=64,
        required=True,
        metadata={"description": "The system whose it is: it is told what this one might read"},
    )
    url = Text(LONGEST_URL, required=True, metadata={"description": "https, without credentials"})
    topics = _topics(required=True)
    description = Text(LONGEST_DESCRIPTION, load_default=None, allow_none=True)


class WebhookChangeSchema(Schema):
    topics = _topics()
    description = Text(LONGEST_DESCRIPTION, allow_none=True)
    state = Code(
        _STATES, metadata={"description": "`paused` to send nothing; `active` to go on from where it stood"}
    )


class WebhookSchema(Schema):
    """A webhook as it stands. Everything up to ``sent_through`` was taken, was set aside, or is not for it."""

    webhook_id = IdText(required=True)
    client_id = fields.String(required=True)
    organisation = OdsCode(required=True)
    url = fields.String(required=True)
    description = fields.String(allow_none=True)
    topics = fields.List(Code(TOPICS), required=True)
    state = Code(_STATES, required=True)
    paused_because = fields.String(
        allow_none=True,
        metadata={
            "description": "`administrator`, `gone` (410), `receiver-down` for a day, `events-gone` or `events-ahead`"
        },
    )
    sent_through = fields.Integer(required=True)
    failures = fields.Integer(required=True, metadata={"description": "Of the message in hand, in a row"})
    next_attempt_at = Instant(allow_none=True)
    delivered = fields.Integer(required=True, metadata={"description": "Events that were taken, ever"})
    failed = fields.Integer(required=True, metadata={"description": "Requests that failed, ever"})
    set_aside = fields.Integer(required=True, metadata={"description": "Events that were set aside, ever"})
    last_outcome = fields.String(allow_none=True)
    last_attempt_at = Instant(allow_none=True)
    old_secret_until = Instant(allow_none=True)
    created_at = Instant(required=True)
    changed_at = Instant(required=True)


class WebhookSecretSchema(WebhookSchema):
    """With its secret, which is not shown again."""

    secret = fields.String(required=True, metadata={"pattern": "^whsec_[A-Za-z0-9+/]{43}=$"})


class ReplaySchema(Schema):
    from_sequence = fields.Integer(
        required=True,
        validate=validate.Range(1, _LARGEST),
        metadata={"description": "The first to be sent again; one ahead of where it stands skips to it"},
    )


class DeliveryQuery(PageQuery):
    state = Code(_DELIVERY_STATES, load_default=None)


class DeliverySchema(Schema):
    """What became of one message. A ``dead`` one was set aside, and waits for somebody to have it sent again."""

    delivery_id = IdText(required=True)
    first_sequence = fields.Integer(required=True)
    last_sequence = fields.Integer(required=True)
    events = fields.Integer(required=True)
    state = Code(_DELIVERY_STATES, required=True)
    attempts = fields.Integer(required=True)
    outcome = fields.String(required=True)
    status = fields.Integer(allow_none=True, metadata={"description": "The receiver's, if it answered"})
    first_at = Instant(required=True)
    last_at = Instant(required=True)


class PingSchema(Schema):
    outcome = fields.String(required=True, attribute="code", metadata={"example": "delivered"})
    status = fields.Integer(allow_none=True, metadata={"description": "The receiver's, if it answered"})


@webhooks.post("/webhooks")
@requires(WRITER)
@answers_repeats_itself  # a kept answer would hold the secret
@webhooks.arguments(NewWebhookSchema)
@webhooks.response(201, WebhookSecretSchema)
def add(given: dict[str, Any]) -> Any:
    """Have events sent to an address, from now on, as far as one of your systems might read them.

    The answer holds the secret that messages are signed with; it is not shown again. A second one for the same system and address is
    refused with ``webhook-exists``.
    """
    parts = shell()
    with parts.db.write() as tx:
        made, secret = keep.create_webhook(
            tx, parts.clock.now(), current_principal(), reach_of(parts.settings), **given
        )
    return _with_secret(made, secret), 201, {"ETag": etag(made.version)}


@webhooks.get("/webhooks")
@requires(WRITER)
@webhooks.arguments(PageQuery, location="query")
@webhooks.response(200, page_schema(WebhookSchema))
def list_all(query: dict[str, Any]) -> Any:
    """List the webhooks of your organisations."""
    place = read_cursor(query["cursor"], int)
    with shell().db.read() as tx:
        found = keep.list_webhooks(
            tx, current_principal(), after=place[0] if place else 0, limit=query["limit"] + 1
        )
    return make_page(found, query["limit"], lambda one: [one.webhook_id])


@webhooks.get("/webhooks/<webhook_id>")
@requires(WRITER)
@webhooks.response(200, WebhookSchema)
def read_one(webhook_id: str) -> Any:
    """Read one webhook: how far it is, and how it fares."""
    with shell().db.read() as tx:
        found = keep.get_webhook(tx, current_principal(), _number(webhook_id))
    return found, 200, {"ETag": etag(found.version)}


@webhooks.route("/webhooks/<webhook_id>", methods=["PATCH"])
@requires(WRITER)
@takes_if_match
@webhooks.arguments(WebhookChangeSchema)
@webhooks.response(200, WebhookSchema)
@webhooks.doc(responses={"410": {}})
def change(given: dict[str, Any], webhook_id: str) -> Any:
    """Pause a webhook, go on with it, or change its topics or description. Its address stays: make another one.

    One that goes on is tried at once, with what it has missed. 410 ``events-gone``: that was removed meanwhile; let the receiver read again
    what it holds, then replay from a sequence that is still kept.
    """
    parts = shell()
    with parts.db.write() as tx:
        found = keep.change_webhook(
            tx, parts.clock.now(), current_principal(), _number(webhook_id), given, if_match=if_match()
        )
    return found, 200, {"ETag": etag(found.version)}


@webhooks.delete("/webhooks/<webhook_id>")
@requires(WRITER)
@webhooks.response(204)
def remove(webhook_id: str) -> None:
    """Remove a webhook, with what is known of its messages."""
    parts = shell()
    with parts.db.write() as tx:
        keep.delete_webhook(tx, parts.clock.now(), current_principal(), _number(webhook_id))


@webhooks.post("/webhooks/<webhook_id>/rotate-secret")
@requires(WRITER)
@answers_repeats_itself  # a kept answer would hold the secret
@webhooks.response(200, WebhookSecretSchema)
def rotate(webhook_id: str) -> Any:
    """Give a webhook a new secret. For a day messages bear two signatures, so that the receiver may change over when it likes."""
    parts = shell()
    with parts.db.write() as tx:
        found, secret = keep.rotate_secret(tx, parts.clock.now(), current_principal(), _number(webhook_id))
    return _with_secret(found, secret), 200, {"ETag": etag(found.version)}


@webhooks.post("/webhooks/<webhook_id>/replay")
@requires(WRITER)
@webhooks.arguments(ReplaySchema)
@webhooks.response(200, WebhookSchema)
@webhooks.doc(responses={"410": {}})
def replay(given: dict[str, Any], webhook_id: str) -> Any:
    """Send everything from a sequence on once more; or skip ahead to one, past a message that the receiver cannot take."""
    parts = shell()
    with parts.db.write() as tx:
        found = keep.replay_webhook(
            tx, parts.clock.now(), current_principal(), _number(webhook_id), given["from_sequence"]
        )
    return found, 200, {"ETag": etag(found.version)}


@webhooks.post("/webhooks/<webhook_id>/ping")
@requires(WRITER)
@answers_repeats_itself
@webhooks.response(200, PingSchema)
def ping(webhook_id: str) -> Any:
    """Send a signed message without events now, and say what came of it."""
    parts = shell()
    return ping_webhook(
        post_of(parts.db, parts.clock, parts.settings), current_principal(), _number(webhook_id)
    )


@webhooks.get("/webhooks/<webhook_id>/deliveries")
@requires(WRITER)
@webhooks.arguments(DeliveryQuery, location="query")
@webhooks.response(200, page_schema(DeliverySchema))
def deliveries(query: dict[str, Any], webhook_id: str) -> Any:
    """List what became of a webhook's messages, the newest first; ``state=dead`` lists those that were set aside.

    Those that were delivered are listed for three days, the others as long as events are kept.
    """
    place = read_cursor(query["cursor"], int)
    with shell().db.read() as tx:
        found = keep.list_deliveries(
            tx,
            current_principal(),
            _number(webhook_id),
            state=query["state"],
            below=place[0] if place else None,
            limit=query["limit"] + 1,
        )
    return make_page(found, query["limit"], lambda one: [one.delivery_id])


@webhooks.post("/webhooks/<webhook_id>/deliveries/<delivery_id>/retry")
@requires(WRITER)
@webhooks.response(200, DeliverySchema)
@webhooks.doc(responses={"410": {}})
def retry(webhook_id: str, delivery_id: str) -> Any:
    """Have a message that was set aside sent once more, before whatever else waits."""
    parts = shell()
    with parts.db.write() as tx:
        return keep.retry_delivery(
            tx,
            parts.clock.now(),
            current_principal(),
            _number(webhook_id),
            parse_id(delivery_id, "delivery_id"),
        )


def _number(webhook_id: str) -> int:
    return parse_id(webhook_id, "webhook_id")


def _with_secret(hook: keep.Webhook, secret: str) -> dict[str, Any]:
    return {name: getattr(hook, name) for name in hook.__slots__} | {"secret": secret}
