"""Decisions as the audit log has them, read in order of their rows, for what-if."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select

from foundation.audit import audit_event

_CLOCKS_APART = timedelta(hours=1)
"""How far the instants of rows may lie from the order of their numbers: clocks differ, and transactions take their time."""


@dataclass(frozen=True, slots=True)
class DecidedRow:
    """A row that records a decision. ``detail`` is None where its personal parts were erased."""

    event_id: int
    at: datetime
    kind: str
    organisation: str | None
    role: str | None
    purpose: str | None
    detail: Any = field(repr=False)


def first_of(tx: Connection, at: datetime) -> int:
    """Return a number that no row of this instant or later is below: found by halving, since no index holds instants."""
    table = audit_event.c
    low, high = tx.execute(select(func.min(table.event_id), func.max(table.event_id))).one()
    if low is None:
        return 0
    while low < high:
        middle = (low + high) // 2
        found = tx.execute(
            select(table.event_id, table.at).where(table.event_id >= middle).order_by(table.event_id).limit(1)
        ).one()
        if found.at < at - _CLOCKS_APART:
            low = found.event_id + 1
        else:
            high = middle
    return int(low)


def read_decided(
    tx: Connection, kinds: Collection[str], since: datetime, until: datetime, *, first: int, limit: int
) -> tuple[list[DecidedRow], int | None]:
    """Return the decisions of a stretch of time (its end not in it) among the next rows of the log, and where to go on; None at its end."""
    table = audit_event.c
    last = tx.execute(
        select(table.event_id, table.at)
        .where(table.event_id >= first)
        .order_by(table.event_id)
        .offset(limit - 1)
        .limit(1)
    ).first()
    columns = (
        table.event_id,
        table.at,
        table.kind,
        table.organisation,
        table.actor_role,
        table.purpose,
        table.detail,
    )
    statement = select(*columns).where(
        table.event_id >= first, table.kind.in_(sorted(kinds)), table.at >= since, table.at < until
    )
    if last is not None:
        statement = statement.where(table.event_id <= last.event_id)
    rows = [DecidedRow(*row) for row in tx.execute(statement.order_by(table.event_id))]
    if last is None or last.at >= until + _CLOCKS_APART:
        return rows, None
    return rows, last.event_id + 1
