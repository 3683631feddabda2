"""The audit log: append-only rows of ids and codes, written in the transaction of the act, each with a leaf hash of its own.

A row's leaf is an RFC 6962 leaf hash over canonical JSON, in which the personal parts (who acted, about whom, the detail) stand as one
salted digest. Erasing those parts lawfully, with the salt, leaves the leaf and so every proof that rests on it. The only way there is
``erase_rows``, which is an act of its own in the log: parts that are gone without one are a fault (``foundation.sealing.verify``).
"""

import hashlib
import json
import secrets
from binascii import hexlify
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    Connection,
    Index,
    LargeBinary,
    Row,
    String,
    Table,
    Text,
    and_,
    cast,
    event,
    false,
    or_,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import UserDefinedType

from foundation.database import Id, Json, UtcDateTime, is_retryable, kept_json, metadata
from foundation.direct import Writes, insert_one, write_rows
from foundation.errors import Unavailable
from foundation.logs import current_request_id
from foundation.metrics import AUDIT_EVENTS
from foundation.principal import Principal

OUTCOMES = ("success", "denied", "failed")
_SALT_BYTES = 16


class TransactionId(UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction id, by which the sealer knows that no earlier row can still commit."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "XID8"


# Reflection must know the type too: the search for drift between tables and revisions reads it back.
ischema_names["xid8"] = TransactionId

audit_event = Table(
    "audit_event",
    metadata,
    Column("event_id", Id, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("actor_kind", String(16), nullable=False),
    Column("actor_id", String(128)),
    Column("actor_role", String(32)),
    Column("organisation", String(10)),
    Column("client_id", String(64)),
    Column("person_id", Id),
    Column("purpose", String(32)),
    Column("request_id", String(64)),
    Column("reasons", Json, nullable=False),
    Column("detail", Json),
    Column("salt", LargeBinary),
    Column("personal_digest", LargeBinary, nullable=False),
    Column("leaf_hash", LargeBinary, nullable=False),
    Column("txid", BigInteger().with_variant(TransactionId(), "postgresql")),  # its default is set below
    CheckConstraint(f"outcome in {OUTCOMES}", name="outcome_is_known"),
    # The order in which rows are sealed; on SQLite, where that is the order of numbers, it holds nothing.
    Index("ix_audit_event_txid", "txid", "event_id", sqlite_where=text("txid IS NOT NULL")),
    sqlite_autoincrement=True,
)
# Rows about nobody, as of a record that has just come, need no place in it.
Index(
    "ix_audit_event_person_id",
    audit_event.c.person_id,
    audit_event.c.event_id,
    sqlite_where=audit_event.c.person_id.is_not(None),
    postgresql_where=audit_event.c.person_id.is_not(None),
)

# Which rows' personal parts were lawfully erased, and the row of the act that did it. Written by erase_rows alone.
audit_erasure = Table(
    "audit_erasure",
    metadata,
    Column("event_id", Id, primary_key=True, autoincrement=False),
    Column("act_event_id", Id, nullable=False),
    Index("ix_audit_erasure_act_event_id", "act_event_id"),
)

_PERSONAL_COLUMNS = ("actor_id", "person_id", "detail", "salt")
_KEPT_COLUMNS = tuple(column.name for column in audit_event.columns if column.name not in _PERSONAL_COLUMNS)
_IS_ERASURE = " AND ".join(
    (
        *(f"NEW.{name} IS NULL" for name in _PERSONAL_COLUMNS),
        *(f"NEW.{name} IS OLD.{name}" for name in _KEPT_COLUMNS),
        "EXISTS (SELECT 1 FROM audit_erasure WHERE event_id = OLD.event_id)",
    )
)
_ERASE = """
CREATE OR REPLACE FUNCTION audit_erase(act bigint, numbers bigint[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE erased bigint;
BEGIN
    INSERT INTO public.audit_erasure (event_id, act_event_id) SELECT unnest(numbers), act;
    UPDATE public.audit_event SET actor_id = NULL, person_id = NULL, detail = NULL, salt = NULL
        WHERE event_id = ANY (numbers);
    GET DIAGNOSTICS erased = ROW_COUNT;
    RETURN erased;
END $$
"""
_REFUSE_CHANGE = """
CREATE OR REPLACE FUNCTION audit_event_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.actor_id IS NULL AND NEW.person_id IS NULL AND NEW.detail IS NULL AND NEW.salt IS NULL
            AND to_jsonb(NEW) - ARRAY['actor_id', 'person_id', 'detail', 'salt']
                = to_jsonb(OLD) - ARRAY['actor_id', 'person_id', 'detail', 'salt']
            AND EXISTS (SELECT 1 FROM public.audit_erasure WHERE event_id = OLD.event_id)
        THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'audit_event is append-only' USING ERRCODE = 'insufficient_privilege';
END $$
"""
_REFUSE_ERASURE_CHANGE = """
CREATE OR REPLACE FUNCTION audit_erasure_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'audit_erasure is append-only' USING ERRCODE = 'insufficient_privilege'; END $$
"""

_DDL = {
    "postgresql": (
        # In another cluster, after a restore, transactions are numbered anew: foundation.migrations then raises the offset.
        "CREATE OR REPLACE FUNCTION audit_txid_offset() RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT 0::bigint'",
        "ALTER TABLE audit_event ALTER COLUMN txid "
        "SET DEFAULT (pg_current_xact_id()::text::bigint + audit_txid_offset())::text::xid8",
        _REFUSE_CHANGE,
        "CREATE TRIGGER audit_event_no_change BEFORE UPDATE OR DELETE ON audit_event "
        "FOR EACH ROW EXECUTE FUNCTION audit_event_refuse_change()",
        "CREATE TRIGGER audit_event_no_truncate BEFORE TRUNCATE ON audit_event "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_event_refuse_change()",
    ),
    "sqlite": (
        f"CREATE TRIGGER audit_event_no_update BEFORE UPDATE ON audit_event WHEN NOT ({_IS_ERASURE}) "
        "BEGIN SELECT RAISE(ABORT, 'audit_event is append-only'); END",
        "CREATE TRIGGER audit_event_no_delete BEFORE DELETE ON audit_event "
        "BEGIN SELECT RAISE(ABORT, 'audit_event is append-only'); END",
    ),
}


_ERASURE_DDL = {
    "postgresql": (
        _ERASE,
        _REFUSE_ERASURE_CHANGE,
        "CREATE TRIGGER audit_erasure_no_change BEFORE UPDATE OR DELETE ON audit_erasure "
        "FOR EACH ROW EXECUTE FUNCTION audit_erasure_refuse_change()",
        "CREATE TRIGGER audit_erasure_no_truncate BEFORE TRUNCATE ON audit_erasure "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_erasure_refuse_change()",
    ),
    "sqlite": tuple(
        f"CREATE TRIGGER audit_erasure_no_{act.lower()} BEFORE {act} ON audit_erasure "
        "BEGIN SELECT RAISE(ABORT, 'audit_erasure is append-only'); END"
        for act in ("UPDATE", "DELETE")
    ),
}

for _table, _by_dialect in ((audit_event, _DDL), (audit_erasure, _ERASURE_DDL)):
    for _dialect, _statements in _by_dialect.items():
        for _statement in _statements:
            _clause = DDL(_statement.replace("%", "%%"))  # type: ignore[no-untyped-call]
            event.listen(_table, "after_create", _clause.execute_if(dialect=_dialect))


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act to be recorded: ids, codes and versions only. ``detail`` is JSON of the same."""

    at: datetime
    kind: str
    actor_kind: str
    actor_id: str | None = field(repr=False)
    outcome: str = "success"
    actor_role: str | None = None
    organisation: str | None = None
    client_id: str | None = None
    person_id: int | None = field(default=None, repr=False)
    purpose: str | None = None
    request_id: str | None = None
    reasons: Sequence[str] = ()
    detail: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class AuditReceipt:
    """Evidence of one row: its number, and the leaf (hex) that will stand in the Merkle tree."""

    event_id: int
    leaf_hash: str


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """A row as it was stored; the personal parts are None where they were lawfully erased."""

    event_id: int
    at: datetime
    kind: str
    outcome: str
    actor_kind: str
    actor_id: str | None = field(repr=False)
    actor_role: str | None
    organisation: str | None
    client_id: str | None
    person_id: int | None = field(repr=False)
    purpose: str | None
    request_id: str | None
    reasons: tuple[str, ...]
    detail: Mapping[str, Any] | None = field(repr=False)
    leaf_hash: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What re-hashing found: how many rows were read, which of them do not give their leaf, and how many had been erased lawfully."""

    checked: int
    faulty: tuple[int, ...]
    erased: int


def entry_by(
    by: Principal,
    at: datetime,
    kind: str,
    *,
    outcome: str = "success",
    person_id: int | None = None,
    purpose: str | None = None,
    reasons: Sequence[str] = (),
    detail: Mapping[str, Any] | None = None,
    request_id: str | None = None,
) -> AuditEntry:
    """Return the entry for an act of this principal, with the id of the request that is being served."""
    return AuditEntry(
        at=at,
        kind=kind,
        outcome=outcome,
        actor_kind=by.kind,
        actor_id=by.id,
        actor_role=by.role,
        organisation=by.organisation,
        client_id=by.client_id,
        person_id=person_id,
        purpose=purpose,
        request_id=request_id or current_request_id.get(),
        reasons=tuple(reasons),
        detail=detail or {},
    )


def append(tx: Connection, entry: AuditEntry) -> AuditReceipt:
    """Add one row to the log, in the transaction of the act that it records.

    Raises:
        Unavailable: ``audit-unavailable``. The caller's transaction must not commit: no audit, no act.
    """
    row = _row(entry)
    try:
        event_id = insert_one(tx, audit_event, row, "event_id")
    except DBAPIError as error:
        if is_retryable(error):
            raise
        raise Unavailable("audit-unavailable") from error
    AUDIT_EVENTS.labels(entry.kind, entry.outcome).inc()
    return AuditReceipt(event_id, row["leaf_hash"].hex())


def append_all(tx: Connection, entries: Sequence[AuditEntry]) -> None:
    """Add many rows by one statement; for bulk acts that need no receipts.

    Raises:
        Unavailable: ``audit-unavailable``.
    """
    if not entries:
        return
    try:
        write_rows(tx, lambda writes: put_all(writes, entries))
    except DBAPIError as error:
        if is_retryable(error):
            raise
        raise Unavailable("audit-unavailable") from error


def put_all(writes: Writes, entries: Sequence[AuditEntry]) -> None:
    """As ``append_all``, with other writes of the same act; whoever flushes them does so inside ``written``."""
    writes.insert(audit_event, [_row(entry) for entry in entries])
    for entry in entries:
        AUDIT_EVENTS.labels(entry.kind, entry.outcome).inc()


@contextmanager
def written() -> Iterator[None]:
    """Say of a statement that writes audit rows among others whether they were the ones that could not be written.

    Raises:
        Unavailable: ``audit-unavailable``.
    """
    try:
        yield
    except DBAPIError as error:
        if is_retryable(error) or audit_event.name not in str(error.orig):
            raise
        raise Unavailable("audit-unavailable") from error


ERASING = "audit-rows-erased"
"""The kind of the act that takes personal parts out of rows; its detail holds how many, and a digest of their numbers."""


def erase_rows(tx: Connection, entry: AuditEntry, event_ids: Iterable[int]) -> AuditReceipt | None:
    """Take who acted, about whom and the detail out of these rows, and their salts with them; the leaves and their proofs stay.

    The act is a row of its own, so that the log itself says which rows were erased: ``erasure_digest`` of their numbers stands in it.
    Without rows nothing is done.

    Args:
        entry: the act, of kind ``ERASING``; its detail is added to.

    Raises:
        Unavailable: ``audit-unavailable``.
    """
    numbers = sorted(set(event_ids))
    if not numbers:
        return None
    assert entry.kind == ERASING
    told = {"rows": len(numbers), "rows_digest": erasure_digest(numbers)}
    receipt = append(tx, replace(entry, detail={**entry.detail, **told}))
    if tx.dialect.name == "sqlite":
        rows = [{"event_id": number, "act_event_id": receipt.event_id} for number in numbers]
        tx.execute(audit_erasure.insert(), rows)
        gone = dict.fromkeys(_PERSONAL_COLUMNS)
        erased = 0
        for number in numbers:
            erased += tx.execute(
                update(audit_event).where(audit_event.c.event_id == number).values(gone)
            ).rowcount
    else:
        erased = tx.execute(
            text("SELECT audit_erase(:act, CAST(:numbers AS bigint[]))"),
            {"act": receipt.event_id, "numbers": numbers},
        ).scalar_one()
    if erased != len(numbers):
        raise Unavailable("audit-unavailable")
    return receipt


def erasure_digest(event_ids: Iterable[int]) -> str:
    """Digest the numbers of the rows that one act erased."""
    return hashlib.sha256(",".join(str(number) for number in sorted(event_ids)).encode()).hexdigest()


def rows_erased_by(tx: Connection, act_event_id: int) -> bool:
    """Whether an act of the log says that it erased just the rows that are told to be its."""
    try:
        act = read_event(tx, act_event_id)
    except ValueError:  # its bytes were changed to what is no JSON or no instant
        return False
    if act is None or act.kind != ERASING or not isinstance(act.detail, dict):
        return False
    numbers = tx.scalars(
        select(audit_erasure.c.event_id)
        .where(audit_erasure.c.act_event_id == act_event_id)
        .order_by(audit_erasure.c.event_id)
    ).all()
    return (len(numbers), erasure_digest(numbers)) == (act.detail.get("rows"), act.detail.get("rows_digest"))


_OPEN_PARTS = (
    "at",
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


def bulk_columns(act: AuditEntry, persons: Sequence[int] | None, details: Sequence[str]) -> dict[str, Any]:
    """Return columns of rows that differ in person and detail alone, but for these two, for a writer of millions.

    They are what ``append_all`` would write, in the transaction of the act; what all rows have is one value.

    Args:
        act: has neither person nor detail.
        persons: of each row, or None where no row has one.
        details: JSON texts, whose keys this sorts nowhere: they must be what ``append`` would keep.
    """
    row = {name: getattr(act, name) for name in _OPEN_PARTS} | {"reasons": list(act.reasons)}
    leaf = {**row, "at": _instant(act.at), "personal": _HERE}
    before, after = _canonical(leaf).split(_HERE.encode())
    personal_before = _canonical({"actor_id": act.actor_id, "detail": _HERE})[:-1].replace(
        f'"{_HERE}"'.encode(), b""
    )
    salts = secrets.token_bytes(_SALT_BYTES * len(details))
    salt = [salts[at : at + _SALT_BYTES] for at in range(0, len(salts), _SALT_BYTES)]
    if persons is None:
        told = [b',"person_id":null}'] * len(details)
    else:
        told = [b',"person_id":"%d"}' % person for person in persons]
    sha256 = hashlib.sha256
    personal = [
        sha256(b"".join((one, personal_before, text.encode(), person))).digest()
        for one, text, person in zip(salt, details, told, strict=True)
    ]
    # What all leaves begin with is hashed once.
    begun = sha256(b"\x00" + before).copy
    leaves = []
    for digest in personal:
        rest = begun()
        rest.update(hexlify(digest) + after)
        leaves.append(rest.digest())
    AUDIT_EVENTS.labels(act.kind, act.outcome).inc(len(details))
    return {
        **row,
        "actor_id": act.actor_id,
        "reasons": _encode(row["reasons"]),
        "salt": salt,
        "personal_digest": personal,
        "leaf_hash": leaves,
    }


_HERE = "\u2603"  # where the changing part of a canonical text goes; no code and no id holds it


def _row(entry: AuditEntry) -> dict[str, Any]:
    # Through JSON and back, so that what is hashed now is what will be read again.
    detail = json.loads(json.dumps(dict(entry.detail)))
    salt = secrets.token_bytes(_SALT_BYTES)
    personal = _personal_digest(salt, entry.actor_id, entry.person_id, detail)
    row: dict[str, Any] = {name: getattr(entry, name) for name in _OPEN_PARTS}
    row["reasons"] = list(entry.reasons)
    leaf = _leaf_hash(row, personal)
    return row | {
        "actor_id": entry.actor_id,
        "person_id": entry.person_id,
        "detail": detail,
        "salt": salt,
        "personal_digest": personal,
        "leaf_hash": leaf,
    }


def _personal_digest(
    salt: bytes, actor_id: str | None, person_id: int | None, detail: Mapping[str, Any]
) -> bytes:
    parts = {
        "actor_id": actor_id,
        "person_id": None if person_id is None else str(person_id),
        "detail": detail,
    }
    return hashlib.sha256(salt + _canonical(parts)).digest()


def _leaf_hash(row: Mapping[str, Any], personal: bytes) -> bytes:
    leaf = {name: row[name] for name in _OPEN_PARTS}
    leaf["at"] = _instant(row["at"])
    leaf["personal"] = personal.hex()
    # RFC 6962, 2.1: a leaf is hashed behind 0x00, an inner node behind 0x01.
    return hashlib.sha256(b"\x00" + _canonical(leaf)).digest()


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _canonical(value: Mapping[str, Any]) -> bytes:
    return _encode(value).encode()


_encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode


def events_about(
    tx: Connection,
    person_ids: Iterable[int],
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    kinds: Iterable[str] | None = None,
    after: int = 0,
    limit: int | None = None,
) -> list[AuditEvent]:
    """Return what was recorded about these persons, in order, from ``since`` (included) to ``until`` (left out).

    Args:
        kinds: only acts of these kinds that succeeded.
        after: only events behind this one.
    """
    statement = (
        select(audit_event)
        .where(audit_event.c.person_id.in_(sorted(set(person_ids))))
        .order_by(audit_event.c.event_id)
    )
    if kinds is not None:
        statement = statement.where(audit_event.c.kind.in_(sorted(kinds)), audit_event.c.outcome == "success")
    if after:
        statement = statement.where(audit_event.c.event_id > after)
    if since is not None:
        statement = statement.where(audit_event.c.at >= since)
    if until is not None:
        statement = statement.where(audit_event.c.at < until)
    if limit is not None:
        statement = statement.limit(limit)
    return [_event(row) for row in tx.execute(statement)]


@dataclass(frozen=True, slots=True)
class Sought:
    """Which rows about somebody are sought.

    ``actors`` are groups of alternatives, as (``user``, ``client`` or ``organisation``, its id); each group must hold.
    """

    kinds: frozenset[str]
    outcomes: frozenset[str] = frozenset(OUTCOMES)
    actors: tuple[tuple[tuple[str, str], ...], ...] = ()
    since: datetime | None = None
    until: datetime | None = None


def search_events(
    tx: Connection,
    person_ids: Iterable[int],
    sought: Sought,
    *,
    after: tuple[datetime, int] | None = None,
    limit: int,
) -> list[AuditEvent]:
    """Return what was recorded about these persons, as far as it is sought, in order of time.

    Args:
        after: the instant and number of the row before.
    """
    columns = audit_event.c
    statement = (
        select(audit_event)
        .where(
            columns.person_id.in_(sorted(set(person_ids))),
            columns.kind.in_(sorted(sought.kinds)),
            columns.outcome.in_(sorted(sought.outcomes)),
            *(or_(false(), *(_acted(name, value) for name, value in group)) for group in sought.actors),
        )
        .order_by(columns.at, columns.event_id)
        .limit(limit)
    )
    if sought.since is not None:
        statement = statement.where(columns.at >= sought.since)
    if sought.until is not None:
        statement = statement.where(columns.at < sought.until)
    if after is not None:
        at, number = after
        statement = statement.where(or_(columns.at > at, and_(columns.at == at, columns.event_id > number)))
    return [_event(row) for row in tx.execute(statement)]


def _acted(name: str, value: str) -> ColumnElement[bool]:
    columns = audit_event.c
    match name:
        case "user":
            return and_(columns.actor_kind == "person", columns.actor_id == value)
        case "client":  # a system that came by itself is its own client
            alone = and_(
                columns.actor_kind != "person", columns.client_id.is_(None), columns.actor_id == value
            )
            return or_(columns.client_id == value, alone)
        case "organisation":
            return columns.organisation == value
    raise AssertionError(name)


def read_event(tx: Connection, event_id: int) -> AuditEvent | None:
    """Return one row of the log, None where there is none of this number."""
    row = tx.execute(select(audit_event).where(audit_event.c.event_id == event_id)).first()
    return None if row is None else _event(row)


def _event(row: Row[Any]) -> AuditEvent:
    return AuditEvent(
        **{
            name: getattr(row, name)
            for name in AuditEvent.__dataclass_fields__
            if name not in ("reasons", "leaf_hash")
        },
        reasons=tuple(row.reasons),
        leaf_hash=row.leaf_hash.hex(),
    )


def verify_rows(tx: Connection, *, after: int = 0, limit: int | None = None) -> Verification:
    """Hash the stored rows again, from the one after ``after``, and say which do not give the leaf that was stored with them.

    What the tree says of them is another question: ``foundation.sealing.verify`` asks both.
    """
    checked, erased = 0, 0
    faulty: list[int] = []
    statement = (
        select(*as_stored(audit_event, tx))
        .where(audit_event.c.event_id > after)
        .order_by(audit_event.c.event_id)
    )
    if limit is not None:
        statement = statement.limit(limit)
    for row in tx.execute(statement, execution_options={"yield_per": 1000}):
        checked += 1
        erased += row.salt is None
        if not gives_its_leaf(row):
            faulty.append(row.event_id)
    return Verification(checked, tuple(faulty), erased)


def as_stored(table: Table, tx: Connection) -> list[ColumnElement[Any]]:
    """Return the table's columns to be read as they are stored: nothing is decoded on the way, so that no change hides or stops a look.

    On SQLite text and instants come as bytes: one file's bytes can be changed to what is no text and no instant.
    """
    is_sqlite = tx.dialect.name == "sqlite"
    return [
        cast(column, LargeBinary).label(column.name)
        if is_sqlite and isinstance(column.type, String | UtcDateTime | Json)
        else type_coerce(column, Text).label(column.name)
        if isinstance(column.type, Json)
        else column
        for column in table.columns
    ]


def text_as_stored(value: Any) -> Any:
    """Read what ``as_stored`` gave for text; raises ValueError where it is none."""
    return value.decode() if isinstance(value, bytes) else value


def instant_as_stored(value: Any) -> datetime:
    """Read what ``as_stored`` gave for an instant; raises ValueError where it is not written as we write it, to the last sign."""
    if isinstance(value, datetime):
        return value
    written = value.decode()
    found = datetime.fromisoformat(written)
    if found.tzinfo is not None or found.isoformat(" ", "microseconds") != written:
        raise ValueError("not written as an instant is")
    return found.replace(tzinfo=UTC)


def gives_its_leaf(row: Row[Any]) -> bool:
    """Whether a row, read ``as_stored``, still gives the leaf that is stored with it.

    A row without salt was lawfully erased: its personal digest is taken as stored, and its personal parts must be gone.
    """
    try:
        parts = {name: text_as_stored(getattr(row, name)) for name in _OPEN_TEXTS}
        parts["at"] = instant_as_stored(row.at)
        parts["reasons"] = _json_as_stored(row.reasons)
        if row.salt is None:
            if row.actor_id is not None or row.person_id is not None or row.detail is not None:
                return False
        else:
            actor_id = text_as_stored(row.actor_id)
            detail = _json_as_stored(row.detail)
            if _personal_digest(row.salt, actor_id, row.person_id, detail) != row.personal_digest:
                return False
        return _leaf_hash(parts, row.personal_digest) == bytes(row.leaf_hash)
    except (ValueError, TypeError, AttributeError):
        return False


_OPEN_TEXTS = tuple(name for name in _OPEN_PARTS if name not in ("at", "reasons"))


def _json_as_stored(value: Any) -> Any:
    written = text_as_stored(value)
    found = json.loads(written)
    if kept_json(found) != written:  # a space more, another spelling of a letter: the same to JSON, not to us
        raise ValueError("not written as JSON is kept")
    return found
