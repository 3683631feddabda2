"""Idempotency keys: the same request under the same key is done once, and answered the same again."""

import functools
import re
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from typing import Any, TypeVar, cast

import flask
from sqlalchemy import (
    Column,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    delete,
    select,
    update,
)

from foundation.clock import Clock
from foundation.database import Database, UtcDateTime, insert_ignore, metadata
from foundation.errors import Conflict, Invalid
from foundation.web.access import current_principal

View = TypeVar("View", bound=Callable[..., Any])

idempotency_key = Table(
    "idempotency_key",
    metadata,
    Column("caller", String(128), nullable=False),
    Column("key", String(64), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("status", Integer),  # null while the first request is under way
    Column("body", Text),
    Column("created_at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("caller", "key"),
)

HEADER = "Idempotency-Key"
_FORMAT = re.compile(r"[A-Za-z0-9._:-]{8,64}")
_UNDER_WAY = timedelta(seconds=60)
KEPT = timedelta(hours=24)


def idempotent(view: View) -> View:
    """Answer a repeated request under the same ``Idempotency-Key`` with the first answer. Stands above ``arguments`` and ``response``.

    The key is taken before the act and the answer kept after it. When a crash falls between them, the key is free again after a
    minute: acts that must not happen twice hold that themselves, by a unique row.

    Raises:
        Invalid: ``idempotency-key-format``.
        Conflict: ``idempotency-key-reused`` for another request; ``idempotency-key-busy`` while the first is under way.
    """

    @functools.wraps(view)
    def once(*args: Any, **kwargs: Any) -> Any:
        key = flask.request.headers.get(HEADER)
        if key is None:
            return view(*args, **kwargs)
        if not _FORMAT.fullmatch(key):
            raise Invalid("idempotency-key-format", field=HEADER)
        database, clock = _parts()
        caller = current_principal().id
        known = _take(database, clock, caller, key)
        if known is not None:
            return known
        try:
            response = flask.make_response(view(*args, **kwargs))
        except BaseException:
            _free(database, caller, key)
            raise
        if response.status_code >= 300:
            _free(database, caller, key)
            return response
        with database.write() as tx:
            tx.execute(
                update(idempotency_key)
                .where(idempotency_key.c.caller == caller, idempotency_key.c.key == key)
                .values(status=response.status_code, body=response.get_data(as_text=True))
            )
        return response

    return cast(View, once)


def _parts() -> tuple[Database, Clock]:
    extensions = flask.current_app.extensions
    return extensions["database"], extensions["clock"]


def _digest() -> bytes:
    request = flask.request
    parts = (request.method, request.path, request.query_string.decode("latin-1"))
    return sha256("\n".join(parts).encode() + b"\n" + request.get_data()).digest()


def _take(database: Database, clock: Clock, caller: str, key: str) -> flask.Response | None:
    """Claim a key; return the kept answer if the same request was answered before."""
    now, digest = clock.now(), _digest()
    row = {"caller": caller, "key": key, "digest": digest, "created_at": now}
    is_key = (idempotency_key.c.caller == caller) & (idempotency_key.c.key == key)
    with database.write() as tx:
        if insert_ignore(tx, idempotency_key, [row], ["caller", "key"]):
            return None
        known = tx.execute(select(idempotency_key).where(is_key).with_for_update()).one()
        is_over = known.created_at + (KEPT if known.status is not None else _UNDER_WAY) < now
        if is_over:
            tx.execute(
                update(idempotency_key)
                .where(is_key)
                .values(digest=digest, status=None, body=None, created_at=now)
            )
            return None
    if bytes(known.digest) != digest:
        raise Conflict("idempotency-key-reused", field=HEADER)
    if known.status is None:
        raise Conflict("idempotency-key-busy", field=HEADER)
    response = flask.make_response(known.body, known.status)
    response.content_type = "application/json"
    response.headers["Idempotent-Replay"] = "true"
    return response


def _free(database: Database, caller: str, key: str) -> None:
    with database.write() as tx:
        tx.execute(
            delete(idempotency_key).where(
                idempotency_key.c.caller == caller,
                idempotency_key.c.key == key,
                idempotency_key.c.status.is_(None),
            )
        )
