"""Rule sets as documents, and the changes of the one in force."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from consent.store.tables import policy, policy_change
from foundation.database import insert_ignore

OPEN = ("proposed", "approved")

IN_FORCE = "(SELECT p.revision FROM policy_change p WHERE p.place IS NOT NULL ORDER BY p.place DESC LIMIT 1)"
"""The revision in force, to be asked beside something else in one statement; NULL where nothing was ever published."""


@dataclass(frozen=True, slots=True)
class KeptPolicy:
    """A rule set that is kept, without its document."""

    revision: str
    name: str
    version: int
    kept_by: str
    kept_at: datetime


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A change of policy. ``place``: 1 for the first that was ever done, and so on; None for one that was not."""

    change_id: int
    kind: str
    state: str
    revision: str
    from_revision: str
    comment: str | None = field(repr=False)
    what_if: Mapping[str, Any] | None = field(repr=False)
    what_if_at: datetime | None
    proposed_by: str
    proposed_at: datetime
    approved_by: str | None
    approved_at: datetime | None
    withdrawn_by: str | None
    withdrawn_at: datetime | None
    place: int | None
    done_by: str | None
    done_at: datetime | None


def revision_in_force(tx: Connection) -> str | None:
    """Return the revision that the last change put in force; None where there never was one."""
    table = policy_change.c
    statement = select(table.revision).where(table.place.is_not(None)).order_by(table.place.desc()).limit(1)
    found: str | None = tx.scalar(statement)
    return found


def keep_policy(tx: Connection, kept: KeptPolicy, document: Mapping[str, Any]) -> bool:
    """Keep a rule set; one that is kept already stays as it is, since a revision names its content. Return whether it is new."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    row = {name: getattr(kept, name) for name in KeptPolicy.__slots__} | {"document": text}
    return insert_ignore(tx, policy, [row], ["revision"]) == 1


def read_document(tx: Connection, revision: str) -> Any:
    """Return a rule set's document; None where it is not kept.

    Raises:
        ValueError: it is no JSON any more.
    """
    text = tx.scalar(select(policy.c.document).where(policy.c.revision == revision))
    return None if text is None else json.loads(text)


def list_policies(tx: Connection) -> list[KeptPolicy]:
    """Return every rule set that is kept, the newest first."""
    columns = [policy.c[name] for name in KeptPolicy.__slots__]
    rows = tx.execute(select(*columns).order_by(policy.c.kept_at.desc(), policy.c.revision))
    return [KeptPolicy(**row) for row in rows.mappings()]


def read_changes(tx: Connection) -> list[ChangeRow]:
    """Return every change, in the order in which they were proposed."""
    return _changes(tx, select(policy_change))


def find_open(tx: Connection, revision: str) -> ChangeRow | None:
    """Return the open change to a revision, if there is one, and hold it against other writers."""
    table = policy_change.c
    statement = select(policy_change).where(table.revision == revision, table.state.in_(OPEN))
    found = _changes(tx, statement.with_for_update())
    return found[0] if found else None


def read_done(tx: Connection) -> list[ChangeRow]:
    """Return the changes that were done, the first one first."""
    rows = _changes(tx, select(policy_change).where(policy_change.c.place.is_not(None)))
    return sorted(rows, key=lambda row: row.place or 0)


def _changes(tx: Connection, statement: Any) -> list[ChangeRow]:
    rows = tx.execute(statement.order_by(policy_change.c.proposed_at, policy_change.c.change_id))
    return [ChangeRow(**row) for row in rows.mappings()]


def insert_change(tx: Connection, row: Mapping[str, Any]) -> None:
    tx.execute(insert(policy_change), dict(row))


def update_change(tx: Connection, change_id: int, values: Mapping[str, Any]) -> None:
    """Change an open row."""
    statement = update(policy_change).where(
        policy_change.c.change_id == change_id, policy_change.c.state.in_(OPEN)
    )
    tx.execute(statement.values(dict(values)))
