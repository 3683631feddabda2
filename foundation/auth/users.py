"""Accounts of people: with a password (scrypt, a lock after repeated failures), or known by a national sign-in and without rights."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    Integer,
    Row,
    String,
    Table,
    Text,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from werkzeug.security import check_password_hash, generate_password_hash

from foundation import audit
from foundation.auth.roles import check_scopes, parse_role, scopes_of_role
from foundation.auth.selected import Selected, SignInRefused
from foundation.clock import Clock
from foundation.database import Database, Id, Json, UtcDateTime, insert_ignore, metadata
from foundation.directory import parse_ods_code
from foundation.errors import Conflict, Invalid, NotFound, Unauthenticated
from foundation.ids import format_id, new_id
from foundation.metrics import SIGN_INS
from foundation.principal import SYSTEM_ITSELF, Principal

FAILURES_ALLOWED = 5
LOCKED_FOR = timedelta(minutes=15)
SHORTEST_PASSWORD = 12
_LONGEST_PASSWORD = 200
_USERNAME = re.compile(r"(?![0-9]{12}$)[a-z0-9][a-z0-9._-]{1,63}")  # twelve digits are a national user id
_METHOD = "scrypt:32768:8:1"
_ACTIVITY = re.compile(r"B[0-9]{4}")

user_account = Table(
    "user_account",
    metadata,
    Column("user_id", Id, primary_key=True, autoincrement=False),
    Column("username", String(64), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("password_hash", Text),
    Column(
        "organisation", String(10), nullable=False
    ),  # of somebody without a role: where they signed in last
    Column("role", String(16)),
    Column("activities", Json, nullable=False),
    Column("scopes", Json, nullable=False),  # beyond those of the role
    Column("is_active", Boolean, nullable=False),
    Column("failed_count", Integer, nullable=False),
    Column("locked_until", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("subject", String(64), unique=True),  # the national user id of somebody who signs in elsewhere
    CheckConstraint("(subject is null) = (password_hash is not null)", name="signs_in_one_way"),
    CheckConstraint("(subject is null) = (role is not null)", name="a_role_of_their_own_or_a_selected_one"),
)

# What an unknown name is checked against, so that it takes as long as a known one: no password has this hash, and none is made at a start.
_NOBODY = f"{_METHOD}$nobody$" + "0" * 128


@dataclass(frozen=True, slots=True)
class User:
    """A person with an account, one organisation and one role: that of the account, or the one that they selected for a session.

    Outside a session somebody who signs in elsewhere has no role, and so no rights.
    """

    user_id: int
    username: str = field(repr=False)
    name: str = field(repr=False)
    organisation: str
    role: str | None
    activities: frozenset[str]
    scopes: frozenset[str]
    is_active: bool
    assurance: int = 1  # a password alone

    def selecting(self, organisation: str, role: str, activities: frozenset[str], assurance: int) -> "User":
        """Return the person in the role that they selected, which is all that counts."""
        return replace(
            self,
            organisation=organisation,
            role=role,
            activities=activities,
            scopes=frozenset(),
            assurance=assurance,
        )

    def principal(self) -> Principal:
        return Principal(
            kind="person",
            id=self.username,
            organisation=self.organisation,
            scopes=scopes_of_role(self.role) | self.scopes,
            role=self.role,
            activities=self.activities,
            assurance=self.assurance,
        )


def create_user(
    tx: Connection,
    at: datetime,
    username: str,
    password: str,
    organisation: str,
    role: str,
    *,
    name: str | None = None,
    activities: frozenset[str] = frozenset(),
    scopes: frozenset[str] = frozenset(),
) -> User:
    """Open an account.

    Raises:
        Invalid: naming the field; a password has 12 to 200 characters and is not the name.
        Conflict: ``user-exists``.
    """
    if not _USERNAME.fullmatch(username):
        raise Invalid("username-format", field="username")
    if not SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD or username in password.lower():
        raise Invalid(
            "password-too-weak", field="password", detail="12 to 200 characters, without the user name."
        )
    if any(not _ACTIVITY.fullmatch(activity) for activity in activities):
        raise Invalid("activity-format", field="activities")
    if name is not None and (not name.strip() or len(name) > 200 or not name.isprintable()):
        raise Invalid("name-format", field="name")
    user = User(
        user_id=new_id(),
        username=username,
        name=name or username,
        organisation=parse_ods_code(organisation),
        role=parse_role(role),
        activities=activities,
        scopes=check_scopes(scopes),
        is_active=True,
    )
    row = {
        "user_id": user.user_id,
        "username": username,
        "name": user.name,
        "password_hash": generate_password_hash(password, _METHOD),
        "organisation": user.organisation,
        "role": user.role,
        "activities": sorted(activities),
        "scopes": sorted(scopes),
        "is_active": True,
        "failed_count": 0,
        "locked_until": None,
        "created_at": at,
    }
    try:
        with tx.begin_nested():
            tx.execute(user_account.insert(), row)
    except IntegrityError as error:
        raise Conflict("user-exists", field="username") from error
    return user


def welcome(tx: Connection, at: datetime, selected: Selected) -> User:
    """Return the account of somebody whom a national sign-in vouches for, opening it when they first come. It has no rights of its own.

    Raises:
        SignInRefused: ``account-closed`` where it was closed here, ``account-of-another`` where its name is taken.
    """
    known = select(user_account).where(user_account.c.subject == selected.subject).with_for_update()
    row = tx.execute(known).first()
    if row is None:
        new = {
            "user_id": new_id(),
            "username": selected.subject,
            "name": selected.name or selected.subject,
            "password_hash": None,
            "organisation": selected.organisation,
            "role": None,
            "activities": [],
            "scopes": [],
            "is_active": True,
            "failed_count": 0,
            "locked_until": None,
            "created_at": at,
            "subject": selected.subject,
        }
        insert_ignore(tx, user_account, [new], ["username"])
        row = tx.execute(known).first()  # of two who come at once, one finds the other's
    if row is None:  # an account with a password bears this id as its name, as it could once
        raise SignInRefused("account-of-another")
    if not row.is_active:
        raise SignInRefused("account-closed")
    name = selected.name or row.name
    told = {"name": name, "organisation": selected.organisation}
    tx.execute(update(user_account).where(user_account.c.user_id == row.user_id).values(told))
    return replace(_from_row(row), name=name, organisation=selected.organisation)


def list_users(tx: Connection) -> list[User]:
    return [_from_row(row) for row in tx.execute(select(user_account).order_by(user_account.c.username))]


def find_user(tx: Connection, user_id: int) -> User | None:
    row = tx.execute(select(user_account).where(user_account.c.user_id == user_id)).first()
    return None if row is None else _from_row(row)


def names_of(tx: Connection, usernames: Collection[str]) -> dict[str, str]:
    """Return what the accounts of these people call them, by user name, which is their id as principals; of systems nothing."""
    if not usernames:
        return {}
    columns = (user_account.c.username, user_account.c.name)
    rows = tx.execute(select(*columns).where(user_account.c.username.in_(sorted(usernames))))
    return {row.username: row.name for row in rows}


def active_user(tx: Connection, username: str, field: str) -> User:
    """Return the person who is named as one that takes part in an act.

    Raises:
        NotFound: ``user-unknown``, for a closed account as well.
    """
    row = tx.execute(select(user_account).where(user_account.c.username == username)).first()
    if row is None or not row.is_active:
        raise NotFound("user-unknown", field=field)
    return _from_row(row)


def set_user_active(tx: Connection, username: str, *, is_active: bool) -> int:
    """Open or close an account and return its id; its sessions end with it. Opening it also takes away a lock.

    Raises:
        NotFound: ``user-unknown``.
    """
    values: dict[str, Any] = {"is_active": is_active, "failed_count": 0, "locked_until": None}
    statement = update(user_account).where(user_account.c.username == username).values(values)
    user_id: int | None = tx.execute(statement.returning(user_account.c.user_id)).scalar_one_or_none()
    if user_id is None:
        raise NotFound("user-unknown", field="username")
    return user_id


def check_password(db: Database, clock: Clock, username: str, password: str) -> User:
    """Return who signs in with this name and password, and record the attempt.

    Five failures in a row lock the account for a quarter of an hour. Unknown, wrong, closed and locked are answered alike.

    Raises:
        Unauthenticated: ``sign-in-refused``.
    """
    at = clock.now()
    has_one = (user_account.c.username == username) & user_account.c.password_hash.is_not(None)
    with db.read() as tx:
        row = tx.execute(select(user_account).where(has_one)).first()
    is_right = check_password_hash(
        _NOBODY if row is None else row.password_hash, password[:_LONGEST_PASSWORD]
    )
    if row is None:
        _record_unknown(db, at)
        raise Unauthenticated("sign-in-refused")
    # The hash takes long, so it is done outside; the count is read again under the row's lock, so that no failure is lost.
    with db.write() as tx:
        row = tx.execute(
            select(user_account).where(user_account.c.user_id == row.user_id).with_for_update()
        ).one()
        user = _from_row(row)
        is_locked = row.locked_until is not None and at < row.locked_until
        reason = _refusal(row, is_locked=is_locked, is_right=is_right)
        if reason is None:
            values: dict[str, Any] = {"failed_count": 0, "locked_until": None}
        elif is_locked or is_right:
            values = {}
        else:
            failed = row.failed_count + 1
            is_last = failed >= FAILURES_ALLOWED
            values = {
                "failed_count": 0 if is_last else failed,
                "locked_until": at + LOCKED_FOR if is_last else None,
            }
        if values:
            tx.execute(update(user_account).where(user_account.c.user_id == row.user_id).values(values))
        audit.append(
            tx,
            audit.entry_by(
                user.principal(),
                at,
                "sign-in",
                outcome="success" if reason is None else "denied",
                reasons=() if reason is None else (reason,),
                detail={"user_id": format_id(user.user_id)},
            ),
        )
    SIGN_INS.labels(reason or "success").inc()
    if reason is not None:
        raise Unauthenticated("sign-in-refused")
    return user


def _refusal(row: Row[Any], *, is_locked: bool, is_right: bool) -> str | None:
    if is_locked:
        return "account-locked"
    if not is_right:
        return "password-wrong"
    return None if row.is_active else "account-closed"


def _record_unknown(db: Database, at: datetime) -> None:
    with db.write() as tx:
        audit.append(
            tx, audit.entry_by(SYSTEM_ITSELF, at, "sign-in", outcome="denied", reasons=("user-unknown",))
        )
    SIGN_INS.labels("user-unknown").inc()


def _from_row(row: Row[Any]) -> User:
    return User(
        user_id=row.user_id,
        username=row.username,
        name=row.name,
        organisation=row.organisation,
        role=row.role,
        activities=frozenset(row.activities),
        scopes=frozenset(row.scopes),
        is_active=row.is_active,
    )
