"""The log as it can be handed to an auditor: every row with its leaf, and every checkpoint, in order, read in parts."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import select

from foundation.audit import audit_event
from foundation.database import Database
from foundation.ids import format_id
from foundation.sealing.prove import list_checkpoints
from foundation.sealing.tables import audit_leaf

_AT_ONCE = 1_000
_HASHES = ("salt", "personal_digest", "leaf_hash")
_IDS = ("event_id", "person_id")


def export_events(db: Database, *, after: int = 0) -> Iterator[dict[str, Any]]:
    """Give rows with a number above ``after``, in order of number; ``leaf_index`` is None for one that waits to be sealed.

    Bytes are hex, ids are text, instants are ISO 8601: what is needed to hash a row again.
    """
    while True:
        with db.read() as tx:
            rows = tx.execute(
                select(audit_event, audit_leaf.c.leaf_index)
                .select_from(
                    audit_event.outerjoin(audit_leaf, audit_leaf.c.event_id == audit_event.c.event_id)
                )
                .where(audit_event.c.event_id > after)
                .order_by(audit_event.c.event_id)
                .limit(_AT_ONCE)
            ).all()
        for row in rows:
            told = {name: value for name, value in row._mapping.items() if name != "txid"}
            told |= {name: None if told[name] is None else bytes(told[name]).hex() for name in _HASHES}
            told |= {name: None if told[name] is None else format_id(told[name]) for name in _IDS}
            yield {"type": "event"} | told | {"at": row.at.isoformat(timespec="microseconds")}
        if len(rows) < _AT_ONCE:
            return
        after = rows[-1].event_id


def export_checkpoints(db: Database) -> Iterator[dict[str, Any]]:
    """Give every checkpoint, the newest first."""
    below: int | None = None
    while True:
        with db.read() as tx:
            found = list_checkpoints(tx, below=below, limit=_AT_ONCE)
        for one in found:
            yield {
                "type": "checkpoint",
                "tree_size": one.tree_size,
                "root": one.root,
                "at": one.at.isoformat(timespec="microseconds"),
                "key_id": one.key_id,
                "public_key": one.public_key,
                "note": one.note,
            }
        if len(found) < _AT_ONCE:
            return
        below = found[-1].tree_size
