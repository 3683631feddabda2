"""Idempotency keys: a write that is sent again with its key is answered as before, and not done again."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from flask import Request, Response
from sqlalchemy import (
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    delete,
    func,
    literal,
    or_,
    select,
    update,
)

from foundation.clock import Clock
from foundation.database import Database, UtcDateTime, insert_ignore, metadata
from foundation.errors import Conflict, Invalid
from foundation.principal import Principal

F = TypeVar("F", bound=Callable[..., Any])

HEADER = "Idempotency-Key"
KEPT_FOR = timedelta(hours=24)
_LEASE = timedelta(seconds=60)
_KEY = re.compile(r"[\x21-\x7e]{1,128}")
_MARK = "_answers_repeats_itself"
_KEPT_HEADERS = ("ETag", "Location")

idempotency_key = Table(
    "idempotency_key",
    metadata,
    Column("caller", String(160), nullable=False),
    Column("idempotency_key", String(128), nullable=False),
    Column("request_digest", LargeBinary, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("status", Integer),  # empty while the first request is being served
    Column("content_type", String(100)),
    Column("headers", Text),
    Column("body", LargeBinary),
    PrimaryKeyConstraint("caller", "idempotency_key"),
    Index("ix_idempotency_key_started_at", "started_at"),
)


def answers_repeats_itself(view: F) -> F:
    """Mark a view whose answer to a repeat must be made anew, such as a decision: what was allowed then may be refused now."""
    setattr(view, _MARK, True)
    return view


def is_left_alone(view: Callable[..., Any]) -> bool:
    return getattr(view, _MARK, False)


def begin(db: Database, clock: Clock, by: Principal, request: Request) -> tuple[str, str] | Response | None:
    """Note that this request begins; return its key, or the answer that an equal one was given, or None where it bears no key.

    Raises:
        Invalid: ``idempotency-key-format``.
        Conflict: ``idempotency-key-reused`` for another request under the same key, ``idempotency-key-in-use`` while the first is served.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise Invalid("idempotency-key-format", detail="1 to 128 visible ASCII characters.")
    caller = f"{by.kind}:{by.id}"
    digest = _digest(by, request)
    now = clock.now()
    row = {"caller": caller, "idempotency_key": key, "request_digest": digest, "started_at": now}
    with db.write() as tx:
        if insert_ignore(tx, idempotency_key, [row], ["caller", "idempotency_key"]):
            return caller, key
        held = tx.execute(select(idempotency_key).where(_is(caller, key)).with_for_update()).first()
        if (
            held is None
            or held.started_at < now - KEPT_FOR
            or (held.status is None and held.started_at < now - _LEASE)
        ):
            # Too old to stand for anything, or its first server died on the way.
            tx.execute(delete(idempotency_key).where(_is(caller, key)))
            insert_ignore(tx, idempotency_key, [row], ["caller", "idempotency_key"])
            return caller, key
    if held.request_digest != digest:
        raise Conflict("idempotency-key-reused")
    if held.status is None:
        raise Conflict("idempotency-key-in-use")
    answer = Response(held.body, status=held.status, content_type=held.content_type)
    for line in (held.headers or "").splitlines():
        name, _, value = line.partition(": ")
        answer.headers[name] = value
    answer.headers["Idempotency-Replayed"] = "true"
    return answer


def finish(db: Database, key: tuple[str, str], response: Response) -> None:
    """Keep the answer for a repeat; one that did nothing frees the key."""
    with db.write() as tx:
        if not 200 <= response.status_code < 300:
            tx.execute(delete(idempotency_key).where(_is(*key)))
            return
        headers = "\n".join(
            f"{name}: {response.headers[name]}" for name in _KEPT_HEADERS if name in response.headers
        )
        values = {
            "status": response.status_code,
            "content_type": response.content_type,
            "headers": headers,
            "body": response.get_data(),
        }
        tx.execute(update(idempotency_key).where(_is(*key)).values(values))


def purge_keys(tx: Connection, at: datetime) -> int:
    """Remove answers that are kept no longer; return how many."""
    return tx.execute(delete(idempotency_key).where(idempotency_key.c.started_at < at - KEPT_FOR)).rowcount


def forget_answers(tx: Connection, words: Iterable[str], quotes: Callable[[str], bool]) -> int:
    """Remove kept answers in which one of these words is a whole JSON text, and keys that quote; return how many went.

    Such a request, if it comes again, is served anew.
    """
    spellings = {
        json.dumps(word, ensure_ascii=ascii_only).encode() for word in words for ascii_only in (True, False)
    }
    body = idempotency_key.c.body
    if tx.dialect.name == "sqlite":
        holds = [func.instr(body, spelling) > 0 for spelling in sorted(spellings)]
    else:
        holds = [
            func.position(literal(spelling, LargeBinary).op("in")(body)) > 0 for spelling in sorted(spellings)
        ]
    columns = (idempotency_key.c.caller, idempotency_key.c.idempotency_key)
    found = {tuple(row) for row in tx.execute(select(*columns).where(or_(*holds)))}
    found |= {tuple(row) for row in tx.execute(select(*columns)) if quotes(row.idempotency_key)}
    for caller, key in sorted(found):
        tx.execute(delete(idempotency_key).where(_is(caller, key)))
    return len(found)


def _is(caller: str, key: str) -> Any:
    return (idempotency_key.c.caller == caller) & (idempotency_key.c.idempotency_key == key)


def _digest(by: Principal, request: Request) -> bytes:
    """Digest all that tells one request from another: also the organisation that it is made for."""
    parts = (
        request.method,
        request.full_path,
        by.organisation,
        request.headers.get("If-Match", ""),
        request.mimetype,
    )
    body = request.get_data(cache=True)
    return hashlib.sha256("\n".join(parts).encode() + b"\n\n" + body).digest()
