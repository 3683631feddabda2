"""Views by month: read from the sealed audit log, in its order, and kept as counts."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from consent.facts.usage import Month, Viewed, parse_month
from consent.store.tables import usage_mark, usage_month, usage_staff
from foundation.audit import audit_event
from foundation.database import insert_ignore, upsert
from foundation.sealing.tables import audit_leaf

VIEW = "redemption"


@dataclass(frozen=True, slots=True)
class SeenRow:
    """A redemption that let something go, as the audit log has it. Person and user are None where they were erased."""

    event_id: int
    at: datetime
    organisation: str
    role: str
    purpose: str
    user_id: str | None = field(repr=False)
    person_id: int | None


@dataclass(frozen=True, slots=True)
class Mark:
    """How far the log was counted: leaves below ``leaf_index``, the last of them of this instant."""

    leaf_index: int
    counted_until: datetime | None


def read_mark(tx: Connection, *, holds: bool = False) -> Mark:
    """Return how far the log was counted. ``holds``: keep others from counting until the transaction ends."""
    if holds:
        insert_ignore(tx, usage_mark, [{"mark": 1, "leaf_index": 0}], ["mark"])
    statement = select(usage_mark.c.leaf_index, usage_mark.c.counted_until)
    row = tx.execute(statement.with_for_update() if holds else statement).first()
    return Mark(0, None) if row is None else Mark(row[0], row[1])


def write_mark(tx: Connection, mark: Mark) -> None:
    row = {"mark": 1, "leaf_index": mark.leaf_index, "counted_until": mark.counted_until}
    upsert(tx, usage_mark, [row], ["mark"], ["leaf_index", "counted_until"])


def read_sealed(tx: Connection, mark: Mark, limit: int) -> tuple[Mark, list[SeenRow]]:
    """Return the redemptions among the next sealed rows, and how far these reach."""
    last = tx.execute(
        select(audit_leaf.c.leaf_index, audit_event.c.at)
        .join(audit_event, audit_event.c.event_id == audit_leaf.c.event_id)
        .where(audit_leaf.c.leaf_index >= mark.leaf_index, audit_leaf.c.leaf_index < mark.leaf_index + limit)
        .order_by(audit_leaf.c.leaf_index.desc())
        .limit(1)
    ).first()
    if last is None:
        return mark, []
    statement = (
        select(*_COLUMNS)
        .join(audit_leaf, audit_leaf.c.event_id == audit_event.c.event_id)
        .where(audit_leaf.c.leaf_index >= mark.leaf_index, audit_leaf.c.leaf_index <= last[0], *_IS_VIEW)
    )
    return Mark(last[0] + 1, last[1]), [_seen(row) for row in tx.execute(statement)]


def read_others(
    tx: Connection, person_ids: Collection[int], since: datetime, until: datetime
) -> list[SeenRow]:
    """Return the redemptions about some persons in a stretch of time, its end not in it."""
    found: list[SeenRow] = []
    ids = sorted(person_ids)
    for start in range(0, len(ids), 500):
        statement = select(*_COLUMNS).where(
            audit_event.c.person_id.in_(ids[start : start + 500]),
            audit_event.c.at >= since,
            audit_event.c.at < until,
            *_IS_VIEW,
        )
        found += [_seen(row) for row in tx.execute(statement)]
    return found


_COLUMNS = (
    audit_event.c.event_id,
    audit_event.c.at,
    audit_event.c.organisation,
    audit_event.c.actor_role,
    audit_event.c.purpose,
    audit_event.c.actor_id,
    audit_event.c.person_id,
)
_IS_VIEW = (audit_event.c.kind == VIEW, audit_event.c.outcome == "success")


def _seen(row: Any) -> SeenRow:
    return SeenRow(
        row[0], row[1], row[2] or "unknown", row[3] or "unknown", row[4] or "unknown", row[5], row[6]
    )


# Counts --------------------------------------------------------------------------------------------------------------


def add_views(tx: Connection, viewed: Iterable[Viewed]) -> None:
    """Add views that were counted from the log. The caller holds the mark, so that nobody else adds any meanwhile."""
    fresh = list(viewed)
    months = sorted({str(one.month) for one in fresh})
    kept = select(usage_month).where(usage_month.c.origin == "log", usage_month.c.month.in_(months))
    before = {(row.month, row.organisation, row.role, row.purpose): row.views for row in tx.execute(kept)}
    rows = [_row(one, "log") for one in fresh]
    for row in rows:
        about = (row["month"], row["organisation"], row["role"], row["purpose"])
        row["views"] += before.get(about, 0)
    upsert(tx, usage_month, rows, ["origin", "month", "organisation", "role", "purpose"], ["views"])


def add_staff(tx: Connection, staff: Iterable[tuple[Month, str, int]]) -> None:
    """Note which staff viewed, by month, organisation and digest."""
    rows = [
        {"month": str(month), "organisation": code, "user_digest": digest}
        for month, code, digest in sorted(staff)
    ]
    insert_ignore(tx, usage_staff, rows, ["month", "organisation", "user_digest"])


def put_file(tx: Connection, viewed: Collection[Viewed]) -> None:
    """Put counts from a file in the place of those that came for the same months and organisations before."""
    for month, code in sorted({(str(one.month), one.organisation) for one in viewed}):
        tx.execute(
            delete(usage_month).where(
                usage_month.c.origin == "file",
                usage_month.c.month == month,
                usage_month.c.organisation == code,
            )
        )
    if viewed:
        tx.execute(insert(usage_month), [_row(one, "file") for one in viewed])


def read_views(tx: Connection, *, origin: str | None = None) -> list[Viewed]:
    """Return every count; some thousand rows a month for a region."""
    statement = select(usage_month).order_by(*usage_month.primary_key.columns)
    if origin is not None:
        statement = statement.where(usage_month.c.origin == origin)
    return [
        Viewed(parse_month(row.month), row.organisation, row.role, row.purpose, row.views)
        for row in tx.execute(statement)
    ]


def organisations_that_viewed(tx: Connection) -> set[str]:
    """Return the organisations of which the log has counted a view."""
    statement = select(usage_month.c.organisation).where(usage_month.c.origin == "log").distinct()
    return set(tx.scalars(statement))


def count_staff(tx: Connection, first: Month, last: Month) -> int:
    """Return how many staff viewed in some months; one who works at two organisations counts twice."""
    keys = (
        select(usage_staff.c.organisation, usage_staff.c.user_digest)
        .where(usage_staff.c.month >= str(first), usage_staff.c.month <= str(last))
        .distinct()
        .subquery()
    )
    return int(tx.execute(select(func.count()).select_from(keys)).scalar_one())


def _row(one: Viewed, origin: str) -> dict[str, Any]:
    return {
        "origin": origin,
        "month": str(one.month),
        "organisation": one.organisation,
        "role": one.role,
        "purpose": one.purpose,
        "views": one.views,
    }
