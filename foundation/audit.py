"""The audit log: append-only rows of ids, codes and versions, each with the hash that its reader may keep as evidence."""

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import (
    DDL,
    Column,
    Connection,
    Index,
    LargeBinary,
    String,
    Table,
    event,
    select,
)

from foundation.clock import Clock
from foundation.database import Id, Json, UtcDateTime, metadata
from foundation.principal import Principal

audit_event = Table(
    "audit_event",
    metadata,
    Column("event_id", Id, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("outcome", String(24), nullable=False),
    Column("actor_kind", String(8), nullable=False),
    Column("actor_id", String(128), nullable=False),
    Column("actor_role", String(16)),
    Column("organisation", String(20), nullable=False),
    Column("client_id", String(128)),
    Column("person_id", Id),
    Column("purpose", String(16)),
    Column("request_id", String(64)),
    Column("reasons", Json, nullable=False),
    Column("detail", Json, nullable=False),
    Column("salt", LargeBinary(16), nullable=False),
    Column("leaf_hash", LargeBinary(32), nullable=False),
    Index("ix_audit_event_person_id", "person_id", "event_id"),
    Index("ix_audit_event_actor_id", "actor_id", "event_id"),
    sqlite_autoincrement=True,
)
"""``detail`` holds ids, codes, counts and versions of facts; never a name, a birth date, an address or a number."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """What is to be remembered of one act."""

    kind: str
    outcome: str
    by: Principal
    at: datetime
    person_id: int | None = None
    purpose: str | None = None
    request_id: str | None = None
    reasons: Sequence[str] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditReceipt:
    """The row's number and leaf hash (hex): evidence that the caller holds before the log is sealed."""

    event_id: int
    leaf_hash: str


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A stored row, as reports read it."""

    event_id: int
    at: datetime
    kind: str
    outcome: str
    actor_kind: str
    actor_id: str = field(repr=False)
    actor_role: str | None
    organisation: str
    client_id: str | None
    person_id: int | None
    purpose: str | None
    request_id: str | None
    reasons: list[str]
    detail: dict[str, Any]


def append(tx: Connection, entry: AuditEntry) -> AuditReceipt:
    """Add one row in the caller's transaction; if it cannot be added, the act must not happen.

    The leaf hash covers every column; actor, person and detail enter it through a salt, so that lawful erasure of those (salt
    included) leaves the leaf standing. Source: RFC 6962, section 2.1 (leaf prefix 0x00).
    """
    values = _values(entry)
    event_id = tx.execute(audit_event.insert().returning(audit_event.c.event_id), values).scalar_one()
    return AuditReceipt(int(event_id), values["leaf_hash"].hex())


def append_all(tx: Connection, entries: Iterable[AuditEntry]) -> None:
    """Add many rows as ``append`` adds one, for bulk work that hands out no receipts."""
    rows = [_values(entry) for entry in entries]
    if rows:
        tx.execute(audit_event.insert(), rows)


def _values(entry: AuditEntry) -> dict[str, Any]:
    values: dict[str, Any] = {
        "at": entry.at,
        "kind": entry.kind,
        "outcome": entry.outcome,
        "actor_kind": entry.by.kind,
        "actor_id": entry.by.id,
        "actor_role": entry.by.role,
        "organisation": entry.by.organisation,
        "client_id": entry.by.client_id,
        "person_id": entry.person_id,
        "purpose": entry.purpose,
        "request_id": entry.request_id,
        "reasons": list(entry.reasons),
        "detail": dict(entry.detail),
        "salt": secrets.token_bytes(16),
    }
    return {**values, "leaf_hash": _leaf_hash(values)}


_PERSONAL = ("actor_id", "person_id", "detail")
_PLAIN = (
    "kind",
    "outcome",
    "actor_kind",
    "actor_role",
    "organisation",
    "client_id",
    "purpose",
    "request_id",
    "reasons",
)


def _leaf_hash(values: Mapping[str, Any]) -> bytes:
    personal = json.dumps([values[name] for name in _PERSONAL], ensure_ascii=False, separators=(",", ":"))
    sealed = sha256(values["salt"] + personal.encode()).hexdigest()
    at: datetime = values["at"]
    leaf = [at.isoformat(timespec="microseconds"), *(values[name] for name in _PLAIN), sealed]
    return sha256(b"\x00" + json.dumps(leaf, ensure_ascii=False, separators=(",", ":")).encode()).digest()


_READ = [audit_event.c[name] for name in AuditRow.__dataclass_fields__]


def events_about(
    tx: Connection,
    person_ids: Iterable[int],
    *,
    kinds: Iterable[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[AuditRow]:
    """Return the rows that name any of these persons, oldest first."""
    statement = select(*_READ).where(audit_event.c.person_id.in_(sorted(set(person_ids))))
    if kinds is not None:
        statement = statement.where(audit_event.c.kind.in_(sorted(set(kinds))))
    if since is not None:
        statement = statement.where(audit_event.c.at >= since)
    if until is not None:
        statement = statement.where(audit_event.c.at < until)
    return [AuditRow(*row) for row in tx.execute(statement.order_by(audit_event.c.event_id))]


def verify(tx: Connection, *, after: int = 0, limit: int = 10_000) -> tuple[int, list[int]]:
    """Hash stored rows again; return how many were read and the numbers of those that do not match their leaf."""
    rows = tx.execute(
        select(audit_event)
        .where(audit_event.c.event_id > after)
        .order_by(audit_event.c.event_id)
        .limit(limit)
    ).mappings()
    count, wrong = 0, []
    for row in rows:
        count += 1
        if _leaf_hash(dict(row)) != bytes(row["leaf_hash"]):
            wrong.append(int(row["event_id"]))
    return count, wrong


# Append-only by trigger as well as by privilege: the owner of the table is refused too.
POSTGRESQL_TRIGGER = (
    """CREATE OR REPLACE FUNCTION audit_event_refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'audit-append-only'; END $$""",
    """CREATE TRIGGER audit_event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_event
    FOR EACH STATEMENT EXECUTE FUNCTION audit_event_refuse()""",
)
SQLITE_TRIGGER = tuple(
    f"""CREATE TRIGGER audit_event_no_{act} BEFORE {act} ON audit_event
    BEGIN SELECT RAISE(ABORT, 'audit-append-only'); END"""
    for act in ("update", "delete")
)

for _statement in POSTGRESQL_TRIGGER:
    _ddl = DDL(_statement)  # type: ignore[no-untyped-call]
    event.listen(audit_event, "after_create", _ddl.execute_if(dialect="postgresql"))
for _statement in SQLITE_TRIGGER:
    _ddl = DDL(_statement)  # type: ignore[no-untyped-call]
    event.listen(audit_event, "after_create", _ddl.execute_if(dialect="sqlite"))


def entry(kind: str, outcome: str, by: Principal, clock: Clock, **more: Any) -> AuditEntry:
    """Build an entry stamped with the clock's present instant."""
    return AuditEntry(kind=kind, outcome=outcome, by=by, at=clock.now(), **more)
