"""The feed of events over HTTP, for those who follow the index by asking."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from marshmallow import fields, validate

from foundation.errors import Forbidden
from foundation.outbox import EventPage, await_events, read_feed
from foundation.topics import SCOPE, TOPICS, Rights, rights_of
from foundation.web.access import current_principal, requires
from foundation.web.openapi import make_blueprint
from foundation.web.schemas import Code, Instant, QuerySchema, Schema
from foundation.web.shell import shell

events = make_blueprint("events", description="What changed in the index, in order")

MOST = 500
LONGEST_WAIT_SECONDS = 20
_LARGEST = 2**53 - 1  # what JSON numbers hold exactly

rest = time.sleep
"""How a request that waits passes the time."""


class Waiters:
    """How many requests of this process wait for events: they must leave threads for everyone else."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    @contextmanager
    def one_more(self, most: int) -> Iterator[bool]:
        """Count one that waits meanwhile; False where as many as may be wait already."""
        with self._lock:
            may_wait = self._count < most
            self._count += may_wait
        try:
            yield may_wait
        finally:
            with self._lock:
                self._count -= may_wait


waiters = Waiters()


class EventsQuery(QuerySchema):
    after = fields.Integer(
        load_default=None,
        allow_none=False,
        validate=validate.Range(0, _LARGEST),
        metadata={
            "description": "`up_to` of the answer before. Without it: where the feed ends now, and no events"
        },
    )
    limit = fields.Integer(
        load_default=100, validate=validate.Range(1, MOST), metadata={"description": "Events at most"}
    )
    topic = Code(TOPICS, load_default=None, metadata={"description": "Of this topic alone"})
    wait = fields.Integer(
        load_default=0,
        validate=validate.Range(0, LONGEST_WAIT_SECONDS),
        metadata={"description": "Seconds to wait for an event where there is none yet"},
    )


class EventSchema(Schema):
    """One event; which members ``data`` has depends on the topic. Ids are text."""

    sequence = fields.Integer(required=True)
    topic = Code(TOPICS, required=True)
    at = Instant(
        required=True, attribute="numbered_at", metadata={"description": "When it took its place in the feed"}
    )
    data = fields.Dict(keys=fields.String(), required=True, attribute="payload")


class EventsSchema(Schema):
    """``up_to``: all that may be told to the caller up to this number has been; ask for what is after it. It grows though none is told."""

    events = fields.List(fields.Nested(EventSchema), required=True)
    up_to = fields.Integer(required=True)
    oldest = fields.Integer(required=True, metadata={"description": "The first number that is still kept"})
    last = fields.Integer(required=True, metadata={"description": "The last number that was given"})
    has_more = fields.Boolean(required=True, metadata={"description": "Ask again at once"})
    complete_at = Instant(
        required=True,
        allow_none=True,
        metadata={
            "description": "The watermark: all that was committed before it and may be told to the caller is told by `up_to`. It moves "
            "though nothing happens. Null while there is more, and where no worker has run yet"
        },
    )
    complete_age_ms = fields.Integer(
        required=True,
        allow_none=True,
        metadata={
            "description": "How old the watermark was when this was answered, by the service's own clock: add the time since you asked. "
            "Who serves by what the feed tells stops at 60,000"
        },
    )
    topics = fields.List(
        Code(TOPICS),
        required=True,
        metadata={"description": "What may be told to the caller, of the topic that was asked for or of all"},
    )


@events.get("/events")
@requires(SCOPE)
@events.arguments(EventsQuery, location="query")
@events.response(200, EventsSchema)
@events.doc(responses={"409": {}, "410": {}})
def read_events(query: dict[str, Any]) -> Any:
    """Return the next events that the caller may be told of, in order; each at least once, and none behind another that was told.

    A topic is told to who has its scope as well, such as ``persons:read``; what is of one organisation's record to who may act for it.
    410 ``events-gone``: events after this number were removed already. 409 ``events-ahead``: it was never given. Either way read again what
    you hold, and follow from the end.
    """
    parts, by = shell(), current_principal()
    topic = query["topic"]
    if topic is not None and TOPICS[topic].scope not in by.scopes:
        raise Forbidden("scope-missing", detail=f"Needs the scope {TOPICS[topic].scope}.")
    after = query["after"]
    rights = rights_of(by, None if topic is None else frozenset({topic}))
    if after is None:
        with parts.db.read() as tx:
            feed = read_feed(tx)
        return _told(EventPage((), feed.last, feed), rights, parts.clock.now())
    # Half of the threads may wait; who comes beyond that is answered at once, and asks again.
    with waiters.one_more(max(1, parts.settings.web_threads // 2) if query["wait"] else 0) as may_wait:
        seconds = query["wait"] if may_wait else 0
        page = await_events(parts.db, after, query["limit"], rights, seconds, rest)
    return _told(page, rights, parts.clock.now())


def _told(page: EventPage, rights: Rights, now: datetime) -> dict[str, Any]:
    complete_at = page.complete_at
    age = None if complete_at is None else max(timedelta(), now - complete_at)
    return {
        "events": page.events,
        "up_to": page.up_to,
        "oldest": page.feed.oldest,
        "last": page.feed.last,
        "has_more": page.has_more,
        "complete_at": complete_at,
        "complete_age_ms": None if age is None else -(-age // timedelta(milliseconds=1)),
        "topics": sorted(rights.topics),
    }
