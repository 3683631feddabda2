"""Sessions of people at the console: a random token in a cookie, its hash in the database, and a secret against forged forms."""

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    delete,
    select,
    update,
)

from foundation.auth.selected import Selected
from foundation.auth.users import User, find_user
from foundation.database import Id, Json, UtcDateTime, metadata

LIFE = timedelta(hours=10)  # a shift
IDLE = timedelta(minutes=30)
_NOTED_EVERY = timedelta(minutes=1)

session = Table(
    "session",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("user_id", Id, ForeignKey("user_account.user_id"), nullable=False),
    Column("csrf", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    # What was selected at a national sign-in, all of it or nothing: the account has no rights of its own then.
    Column("organisation", String(10)),
    Column("role", String(16)),
    Column("activities", Json),
    Column("assurance", Integer),
    Column("provider_session", String(255)),
    CheckConstraint("(role is null) = (organisation is null)", name="a_role_is_somewhere"),
    CheckConstraint("(role is null) = (assurance is null)", name="a_role_is_assured"),
    Index("ix_session_expires_at", "expires_at"),
    Index("ix_session_provider_session", "provider_session"),
    Index("ix_session_user_id", "user_id"),
)


@dataclass(frozen=True, slots=True)
class Session:
    """Someone signed in. ``csrf`` must come back with every form and every writing call of the console."""

    user: User
    csrf: str = field(repr=False)
    expires_at: datetime
    needs_noting: bool = False
    is_national: bool = False  # the person signed in elsewhere, and is signed in there still


def open_session(
    tx: Connection,
    at: datetime,
    user: User,
    selected: Selected | None = None,
    *,
    instead_of: str | None = None,
) -> tuple[str, Session]:
    """Return the token for the cookie, which is kept nowhere, and the session.

    Args:
        selected: at a national sign-in, the role for which the session stands.
        instead_of: the token of a session that ends: none passes from one person, or role, to the next.
    """
    if instead_of:
        close_session(tx, instead_of)
    token = secrets.token_urlsafe(32)
    bound: dict[str, Any] = {}
    if selected is not None:
        user = user.selecting(selected.organisation, selected.role, selected.activities, selected.assurance)
        bound = {
            "organisation": selected.organisation,
            "role": selected.role,
            "activities": sorted(selected.activities),
            "assurance": selected.assurance,
            "provider_session": selected.provider_session,
        }
    opened = Session(user, secrets.token_urlsafe(32), at + LIFE, is_national=selected is not None)
    tx.execute(
        session.insert(),
        {
            "token_hash": _hash(token),
            "user_id": user.user_id,
            "csrf": opened.csrf,
            "created_at": at,
            "seen_at": at,
            "expires_at": opened.expires_at,
        }
        | bound,
    )
    return token, opened


def find_session(tx: Connection, at: datetime, token: str) -> Session | None:
    """Return the session of a token; None where it ended, lay idle for half an hour, or its account was closed."""
    row = tx.execute(select(session).where(session.c.token_hash == _hash(token))).first()
    if row is None or at >= row.expires_at or at >= row.seen_at + IDLE:
        return None
    user = find_user(tx, row.user_id)
    if user is None or not user.is_active:
        return None
    if row.role is not None:
        user = user.selecting(row.organisation, row.role, frozenset(row.activities or ()), row.assurance)
    return Session(
        user,
        row.csrf,
        row.expires_at,
        needs_noting=at >= row.seen_at + _NOTED_EVERY,
        is_national=row.role is not None,
    )


def note_session(tx: Connection, at: datetime, token: str) -> None:
    """Note that the session is in use."""
    tx.execute(update(session).where(session.c.token_hash == _hash(token)).values(seen_at=at))


def close_session(tx: Connection, token: str) -> None:
    tx.execute(delete(session).where(session.c.token_hash == _hash(token)))


def close_provider_sessions(tx: Connection, provider_session: str) -> int:
    """End the sessions that began with one of the provider's; return how many."""
    return tx.execute(delete(session).where(session.c.provider_session == provider_session)).rowcount


def purge_sessions(tx: Connection, at: datetime) -> int:
    """Remove sessions that have ended; return how many."""
    ended = (session.c.expires_at <= at) | (session.c.seen_at <= at - IDLE)
    return tx.execute(delete(session).where(ended)).rowcount


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
