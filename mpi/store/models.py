"""Match models as documents, and the changes of the one in force."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, or_, select, update

from foundation.database import insert_ignore
from foundation.direct import Statement
from mpi.store.tables import link_decision, match_model, model_change, source_record

OPEN = ("proposed", "approved")


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A change of model. ``place``: 1 for the first that was ever done, and so on; None for one that was not."""

    change_id: int
    kind: str
    state: str
    revision: str
    from_revision: str
    comment: str | None = field(repr=False)
    forecast: Mapping[str, Any] | None = field(repr=False)
    forecast_at: datetime | None
    proposed_by: str
    proposed_at: datetime
    approved_by: str | None
    approved_at: datetime | None
    withdrawn_by: str | None
    withdrawn_at: datetime | None
    place: int | None
    done_by: str | None
    done_at: datetime | None


_IN_FORCE = Statement.alike(
    "SELECT revision FROM model_change WHERE place IS NOT NULL ORDER BY place DESC LIMIT 1"
)


def revision_in_force(tx: Connection) -> str | None:
    """Return the revision that the last change put in force; None where there never was one."""
    found: list[tuple[str]] = _IN_FORCE.rows(tx)
    return found[0][0] if found else None


def keep_model(
    tx: Connection, revision: str, name: str, document: Mapping[str, Any], by: str, at: datetime
) -> None:
    """Keep a model's document; one that is kept already stays as it is, since a revision names its content."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    row = {"revision": revision, "name": name, "document": text, "kept_by": by, "kept_at": at}
    insert_ignore(tx, match_model, [row], ["revision"])


def read_model(tx: Connection, revision: str) -> dict[str, Any] | None:
    """Return a model's document.

    Raises:
        ValueError: it is no JSON any more.
    """
    text = tx.scalar(select(match_model.c.document).where(match_model.c.revision == revision))
    return None if text is None else json.loads(text)


def list_models(tx: Connection) -> list[tuple[str, str]]:
    """Return revision and name of every model that is kept, the newest first."""
    table = match_model.c
    rows = tx.execute(select(table.revision, table.name).order_by(table.kept_at.desc(), table.revision))
    return [(row.revision, row.name) for row in rows]


def read_changes(tx: Connection) -> list[ChangeRow]:
    """Return every change, in the order in which they were proposed."""
    return _changes(tx, select(model_change))


def find_open(tx: Connection, revision: str, *, for_update: bool = False) -> ChangeRow | None:
    """Return the open change to a revision, if there is one."""
    statement = select(model_change).where(
        model_change.c.revision == revision, model_change.c.state.in_(OPEN)
    )
    found = _changes(tx, statement.with_for_update() if for_update else statement)
    return found[0] if found else None


def read_done(tx: Connection) -> list[ChangeRow]:
    """Return the changes that were done, the first one first."""
    rows = _changes(tx, select(model_change).where(model_change.c.place.is_not(None)))
    return sorted(rows, key=lambda row: row.place or 0)


def _changes(tx: Connection, statement: Any) -> list[ChangeRow]:
    rows = tx.execute(statement.order_by(model_change.c.proposed_at, model_change.c.change_id))
    return [ChangeRow(**row) for row in rows.mappings()]


def insert_change(tx: Connection, row: Mapping[str, Any]) -> None:
    tx.execute(insert(model_change), dict(row))


def update_change(
    tx: Connection, change_id: int, values: Mapping[str, Any], states: Collection[str] = OPEN
) -> bool:
    """Change a row that is in one of these states; return whether it was."""
    statement = update(model_change).where(
        model_change.c.change_id == change_id, model_change.c.state.in_(states)
    )
    return tx.execute(statement.values(dict(values))).rowcount == 1


def count_since(tx: Connection, at: datetime) -> tuple[int, int, int]:
    """Return how many records there are, how many of them came or changed after an instant, and how many decisions were made or undone."""
    record, decision = source_record.c, link_decision.c
    records, changed = tx.execute(
        select(func.count(), func.count().filter(record.changed_at > at))
        .select_from(source_record)
        .where(record.state == "active")
    ).one()
    decided = tx.scalar(
        select(func.count())
        .select_from(link_decision)
        .where(or_(decision.decided_at > at, decision.undone_at > at))
    )
    return int(records), int(changed), int(decided or 0)
