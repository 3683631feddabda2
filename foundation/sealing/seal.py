"""The sealer: adds settled audit rows to the tree, in an order that no later commit can change, and signs a checkpoint over it.

A row is settled when no transaction that began before its own can still commit. On PostgreSQL rows stand in the order of their
transactions, which they keep, and those below the oldest open one are settled. On SQLite the one writer commits in the order of numbers.
One transaction seals one batch with its checkpoint, so there is no leaf without one, and whoever dies midway has sealed nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select, text

from foundation.audit import audit_event
from foundation.auth import keys
from foundation.clock import Clock
from foundation.database import Database
from foundation.errors import Conflict
from foundation.logs import get_logger
from foundation.sealing.checkpoint import Checkpoint, Numbers, sign_checkpoint
from foundation.sealing.merkle import Edge, extend
from foundation.sealing.tables import KEPT_EVERY, audit_checkpoint, audit_leaf, audit_node

SEAL_EVERY = timedelta(seconds=20)
"""How often a worker looks for rows to seal. The promise is a checkpoint a minute while there is something new."""

BATCH = 10_000
_SEAL_LOCK = 7_000_002  # beside the outbox's; see there

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Last:
    """Where the tree ends: its edge and numbers, and the row of its last leaf."""

    edge: Edge
    numbers: bytes
    event_id: int
    txid: int | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Rows that are in no leaf yet: how many, and since when the oldest of them waits."""

    sealed: int
    rows: int
    oldest_at: datetime | None


def seal(db: Database, clock: Clock, origin: str, *, limit: int = BATCH) -> int:
    """Seal up to ``limit`` settled rows and sign a checkpoint; return how many rows were sealed. No row, no checkpoint.

    One sealer at a time: where another is at it, 0 is returned.

    Raises:
        Conflict: ``audit-tree-broken`` when what the tree ends with was changed: nothing is built on it, `consent audit verify` says more.
            ``audit-order-lost`` when the database was restored into another cluster, whose transactions have lower numbers, and
            `mpi migrate` was not run since.
    """
    with db.read() as tx:
        if not _settled(tx, _read_last(tx), 1):
            return 0
    with db.write() as tx:
        if not _is_alone(tx):
            return 0
        last = _read_last(tx)
        _need_no_leaf_beyond(tx, last)
        rows = _settled(tx, last, limit)
        if not rows:
            return 0
        edge, numbers = _add_leaves(tx, last, rows)
        _add_checkpoint(tx, clock.now(), origin, edge, numbers)
    # The collected logs are then a second place that knows what the tree was.
    log.info("audit sealed", rows=len(rows), size=edge.size, root=edge.root().hex())
    return len(rows)


def seal_waiting(db: Database, clock: Clock, origin: str) -> int:
    """Seal all that is settled, batch by batch; return how many rows."""
    total = 0
    while sealed := seal(db, clock, origin):
        total += sealed
        if sealed < BATCH:
            break
    return total


def count_waiting(tx: Connection) -> Waiting:
    """Say how far the tree is behind the log; rows of open transactions are not seen."""
    last = _read_last(tx)
    count, oldest = tx.execute(
        text(_POSTGRESQL_WAITING) if tx.dialect.name == "postgresql" else text(_SQLITE_WAITING), _place(last)
    ).one()
    oldest_at = (
        None
        if oldest is None
        else tx.execute(select(audit_event.c.at).where(audit_event.c.event_id == oldest)).scalar_one()
    )
    return Waiting(last.edge.size, int(count), oldest_at)


def _is_alone(tx: Connection) -> bool:
    if tx.dialect.name == "sqlite":
        return True  # the one writer
    return bool(tx.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _SEAL_LOCK}).scalar_one())


def _read_last(tx: Connection) -> Last:
    """Read where the tree ends, and hold the edge to the root that was signed.

    The last leaf is asked for by its index: without the sealer's lock another may seal between the two statements.
    """
    checkpoint = tx.execute(
        select(audit_checkpoint).order_by(audit_checkpoint.c.tree_size.desc()).limit(1)
    ).first()
    if checkpoint is None:
        return Last(Edge(), Numbers.START, 0, None)
    leaf = tx.execute(select(audit_leaf).where(audit_leaf.c.leaf_index == checkpoint.tree_size - 1)).first()
    if leaf is None:
        raise Conflict("audit-tree-broken")
    try:
        edge = Edge.from_bytes(checkpoint.tree_size, checkpoint.edge)
    except ValueError as error:
        raise Conflict("audit-tree-broken") from error
    if edge.root() != checkpoint.root:
        raise Conflict("audit-tree-broken")
    return Last(edge, checkpoint.numbers, leaf.event_id, leaf.txid)


def _need_no_leaf_beyond(tx: Connection, last: Last) -> None:
    if tx.execute(select(audit_leaf.c.leaf_index).where(audit_leaf.c.leaf_index >= last.edge.size)).first():
        raise Conflict("audit-tree-broken")


_AFTER = "(txid, event_id) > (CAST(CAST(:txid AS text) AS xid8), :event_id)"
# Ordered by the columns themselves, as the index has them: a bare "txid" would be the number that is told, and all that waits be sorted.
_POSTGRESQL_SETTLED = f"""
    SELECT event_id, txid::text::bigint AS txid, leaf_hash FROM audit_event
    WHERE {_AFTER} AND txid < (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + audit_txid_offset())::text::xid8
    ORDER BY audit_event.txid, audit_event.event_id LIMIT :limit
"""  # noqa: S608  our own text
_POSTGRESQL_WAITING = f"""
    SELECT count(*), (array_agg(event_id ORDER BY txid, event_id))[1] FROM audit_event WHERE {_AFTER}
"""  # noqa: S608
_SQLITE_SETTLED = """
    SELECT event_id, NULL AS txid, leaf_hash FROM audit_event WHERE event_id > :event_id ORDER BY event_id LIMIT :limit
"""
_SQLITE_WAITING = "SELECT count(*), min(event_id) FROM audit_event WHERE event_id > :event_id"
_NEXT_TRANSACTION = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint + audit_txid_offset()"


def _place(last: Last) -> dict[str, int]:
    return {"txid": last.txid or 0, "event_id": last.event_id}


def _settled(tx: Connection, last: Last, limit: int) -> Sequence[Row[Any]]:
    """Return the next rows to be sealed, in their order; which are settled is asked in the statement that reads them."""
    if tx.dialect.name == "sqlite":
        return tx.execute(text(_SQLITE_SETTLED), _place(last) | {"limit": limit}).all()
    if last.txid is not None and last.txid >= tx.execute(text(_NEXT_TRANSACTION)).scalar_one():
        raise Conflict("audit-order-lost", detail="Run `mpi migrate`.")
    return tx.execute(text(_POSTGRESQL_SETTLED), _place(last) | {"limit": limit}).all()


def _add_leaves(tx: Connection, last: Last, rows: Sequence[Row[Any]]) -> tuple[Edge, bytes]:
    nodes: list[dict[str, Any]] = []

    def note(level: int, place: int, made: bytes) -> None:
        if level % KEPT_EVERY == 0:
            nodes.append({"level": level, "place": place, "node_hash": made})

    numbers = Numbers(last.numbers)
    for row in rows:
        numbers.add(row.event_id, row.txid)
    edge = extend(last.edge, (bytes(row.leaf_hash) for row in rows), note)
    tx.execute(
        audit_leaf.insert(),
        [
            {"leaf_index": index, "event_id": row.event_id, "txid": row.txid, "leaf_hash": row.leaf_hash}
            for index, row in enumerate(rows, start=last.edge.size)
        ],
    )
    if nodes:
        tx.execute(audit_node.insert(), nodes)
    return edge, numbers.digest()


def _add_checkpoint(tx: Connection, at: datetime, origin: str, edge: Edge, numbers: bytes) -> None:
    key = keys.current_key(tx, at)
    checkpoint = Checkpoint(origin, edge.size, edge.root(), at, key.kid, numbers)
    tx.execute(
        audit_checkpoint.insert(),
        {
            "tree_size": edge.size,
            "at": at,
            "root": checkpoint.root,
            "numbers": numbers,
            "edge": edge.as_bytes(),
            "kid": key.kid,
            "note": sign_checkpoint(checkpoint, key),
        },
    )
