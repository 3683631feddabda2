"""Directives as they are kept: added, never changed; their standing is folded from their events when they are read."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, exists, func, insert, or_, select

from consent.facts import Directive, Scope
from consent.store.tables import (
    directive,
    directive_anchor,
    directive_event,
    directive_reference,
    directive_together,
)
from foundation.database import insert_ignore


@dataclass(frozen=True, slots=True)
class DirectiveRow:
    """One directive with all that was recorded of it."""

    directive_id: int
    kind: str
    scope_kind: str
    scope_code: str
    identity_id: int
    standing: str
    may_override: bool
    lifts: tuple[int, ...]
    capacity: str
    received_by: str
    channel: str
    evidence: str | None
    reason: str | None
    decided_by: str | None
    wording_digest: str | None
    review_at: datetime | None
    effective_at: datetime
    ends_at: datetime | None
    recorded_at: datetime
    recorded_by: str


@dataclass(frozen=True, slots=True)
class EventRow:
    """What became of a directive later."""

    event_id: int
    directive_id: int
    kind: str
    reason: str | None
    at: datetime
    by: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a statement a directive stands, and when the statement was given."""

    statement_id: int
    place: int
    given_at: datetime


@dataclass(frozen=True, slots=True)
class StandingDirective:
    """A directive with its events and anchors, as of now. ``said``: where it stands in a statement, of one that came in one."""

    row: DirectiveRow
    events: tuple[EventRow, ...]
    anchors: frozenset[int]
    said: Place | None = None

    @property
    def standing(self) -> str:
        decided = [event.kind for event in self.events if event.kind != "withdrawn"]
        return decided[-1] if decided else self.row.standing

    @property
    def withdrawn_at(self) -> datetime | None:
        return next((event.at for event in self.events if event.kind == "withdrawn"), None)

    def as_fact(self, *, via_task: bool = False) -> Directive:
        return Directive(
            directive_id=self.row.directive_id,
            kind=self.row.kind,
            scope=Scope(self.row.scope_kind, self.row.scope_code),
            identity=self.row.identity_id,
            effective_at=self.row.effective_at,
            recorded_at=self.row.recorded_at,
            standing=self.standing,
            may_override=self.row.may_override,
            lifts=frozenset(self.row.lifts),
            ends_at=self.row.ends_at,
            withdrawn_at=self.withdrawn_at,
            via_task=via_task,
        )


def may_bind(one: StandingDirective, at: datetime) -> bool:
    """Whether a directive binds, or may yet: a refused, withdrawn, mistaken or ended one never will again."""
    has_ended = one.row.ends_at is not None and one.row.ends_at <= at
    return one.standing in ("pending", "upheld") and one.withdrawn_at is None and not has_ended


def insert_directive(tx: Connection, row: DirectiveRow, anchors: Iterable[int]) -> None:
    tx.execute(
        insert(directive),
        {name: getattr(row, name) for name in DirectiveRow.__slots__} | {"lifts": list(row.lifts)},
    )
    tx.execute(
        insert(directive_anchor),
        [{"record_id": record_id, "directive_id": row.directive_id} for record_id in sorted(set(anchors))],
    )


def insert_event(tx: Connection, event: EventRow) -> None:
    tx.execute(insert(directive_event), {name: getattr(event, name) for name in EventRow.__slots__})


def insert_reference(tx: Connection, received_by: str, reference: str, directive_id: int) -> bool:
    """Note the sender's reference of a directive; False when another directive bears it. A second one waits here for the first."""
    row = {"received_by": received_by, "reference": reference, "directive_id": directive_id}
    return insert_ignore(tx, directive_reference, [row], ["received_by", "reference"]) == 1


def read_reference(tx: Connection, received_by: str, reference: str) -> StandingDirective | None:
    """Return the directive that came under this reference."""
    number = tx.execute(
        select(directive_reference.c.directive_id).where(
            directive_reference.c.received_by == received_by, directive_reference.c.reference == reference
        )
    ).scalar_one_or_none()
    return None if number is None else read_directive(tx, number)


def insert_statement(
    tx: Connection, statement_id: int, directive_ids: Iterable[int], given_at: datetime
) -> None:
    """Note that these directives, in this order, were given as one statement."""
    tx.execute(
        insert(directive_together),
        [
            {"directive_id": number, "statement_id": statement_id, "place": place, "given_at": given_at}
            for place, number in enumerate(directive_ids)
        ],
    )


def read_statement(tx: Connection, statement_id: int) -> list[StandingDirective]:
    """Return the directives of a statement in their order; of a directive that was given alone itself."""
    ids = tx.scalars(
        select(directive_together.c.directive_id).where(directive_together.c.statement_id == statement_id)
    ).all()
    return _read(tx, ids or [statement_id])


def read_directive(tx: Connection, directive_id: int) -> StandingDirective | None:
    found = _read(tx, [directive_id])
    return found[0] if found else None


def read_directives(tx: Connection, directive_ids: Collection[int]) -> list[StandingDirective]:
    """Return those of these directives that are there."""
    return _read(tx, directive_ids)


def read_directives_of(tx: Connection, record_ids: Collection[int]) -> list[StandingDirective]:
    """Return every directive anchored to one of these records, whatever its standing, in order of recording."""
    if not record_ids:
        return []
    ids = tx.execute(
        select(directive_anchor.c.directive_id)
        .where(directive_anchor.c.record_id.in_(list(record_ids)))
        .distinct()
    )
    return _read(tx, [row[0] for row in ids])


DUE = ("pending", "review")
"""Why a directive waits for somebody: to be decided, or to be talked over with the patient again."""


def read_due(
    tx: Connection,
    why: str,
    organisations: Collection[str],
    now: datetime,
    *,
    after: tuple[datetime, int] | None = None,
    limit: int,
) -> list[StandingDirective]:
    """Return what waits at these organisations, that of the longest first; a bar by law is not among them.

    Args:
        after: the instant (recorded, or to be reviewed) and id of the one before.
    """
    at = directive.c.recorded_at if why == "pending" else directive.c.review_at
    statement = _due(select(directive.c.directive_id, at.label("at")), why, organisations, now)
    if after is not None:
        statement = statement.where(
            or_(at > after[0], and_(at == after[0], directive.c.directive_id > after[1]))
        )
    rows = tx.execute(statement.order_by(at, directive.c.directive_id).limit(limit)).all()
    found = {one.row.directive_id: one for one in _read(tx, [row.directive_id for row in rows])}
    return [found[row.directive_id] for row in rows]


def count_due(tx: Connection, why: str, organisations: Collection[str], now: datetime) -> int:
    statement = _due(select(func.count()).select_from(directive), why, organisations, now)
    count: int = tx.execute(statement).scalar_one()
    return count


def _due(statement: Any, why: str, organisations: Collection[str], now: datetime) -> Any:
    closing = ("upheld", "refused", "withdrawn", "entered-in-error")
    is_closed = exists().where(
        directive_event.c.directive_id == directive.c.directive_id,
        directive_event.c.kind.in_(closing if why == "pending" else closing[1:]),
    )
    found = statement.where(
        directive.c.received_by.in_(sorted(organisations)), directive.c.kind != "statutory-bar", ~is_closed
    )
    if why == "pending":
        return found.where(directive.c.standing == "pending")
    is_over = directive.c.ends_at.is_not(None) & (directive.c.ends_at <= now)
    return found.where(directive.c.review_at <= now, directive.c.standing != "refused", ~is_over)


def _read(tx: Connection, ids: Collection[int]) -> list[StandingDirective]:
    if not ids:
        return []
    rows = tx.execute(select(directive).where(directive.c.directive_id.in_(list(ids)))).all()
    events = tx.execute(
        select(directive_event)
        .where(directive_event.c.directive_id.in_(list(ids)))
        .order_by(directive_event.c.event_id)
    ).all()
    anchors = tx.execute(select(directive_anchor).where(directive_anchor.c.directive_id.in_(list(ids)))).all()
    places = tx.execute(
        select(directive_together).where(directive_together.c.directive_id.in_(list(ids)))
    ).all()
    said = {row.directive_id: Place(row.statement_id, row.place, row.given_at) for row in places}
    events_of: dict[int, list[EventRow]] = {}
    for event in events:
        events_of.setdefault(event.directive_id, []).append(EventRow(**event._mapping))
    anchors_of: dict[int, set[int]] = {}
    for anchor in anchors:
        anchors_of.setdefault(anchor.directive_id, set()).add(anchor.record_id)
    found = [
        StandingDirective(
            _row(row),
            tuple(events_of.get(row.directive_id, ())),
            frozenset(anchors_of.get(row.directive_id, ())),
            said.get(row.directive_id),
        )
        for row in rows
    ]
    return sorted(found, key=lambda d: (d.row.recorded_at, d.row.directive_id))


def _row(row: Row[tuple[object, ...]]) -> DirectiveRow:
    values: Mapping[str, object] = dict(row._mapping)
    kept = {name: values[name] for name in DirectiveRow.__slots__}
    kept["lifts"] = tuple(values["lifts"] or ())  # type: ignore[arg-type]
    return DirectiveRow(**kept)  # type: ignore[arg-type]
