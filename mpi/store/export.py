"""What leaves the index as files: whose each record is, persons, and what joins their records; each one statement, so of one moment."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import (
    Boolean,
    Connection,
    Select,
    case,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
)

from foundation.database import Id
from mpi.store.tables import edge, link_decision, link_decision_member, person, source_record

_AT_ONCE = 2_000


def stream_crosswalk(tx: Connection, organisation: str | None) -> Iterator[Any]:
    """Yield organisation, system, local id, record, person, and whether the person's location is protected.

    Args:
        organisation: whose records; None for those of all, where people whose location is protected are left out.
    """
    of = source_record.c
    chosen = select(
        of.organisation,
        of.system,
        of.local_id,
        of.record_id,
        of.person_id,
        of.person_id.in_(_protected()).label("restricted"),
    ).where(*_standing(source_record, organisation))
    yield from _streamed(tx, chosen.order_by(of.record_id))


def stream_persons(tx: Connection, organisation: str | None) -> Iterator[Any]:
    """Yield person, epoch, how many records (of the organisation, where there is one), identity warning, and protection."""
    of = source_record.c
    counted = (
        func.count()
        if organisation is None
        else func.sum(case((of.organisation == organisation, 1), else_=0))
    )
    is_held = or_(of.held_version.is_not(None), of.held_change_id.is_not(None))
    some = select(
        of.person_id,
        counted.label("records"),
        func.max(case((is_held, 1), else_=0)).label("warned"),
        func.max(case((of.restricted, 1), else_=0)).label("protected"),
    )
    grouped = some.where(of.state == "active", of.person_id.is_not(None)).group_by(of.person_id).subquery()
    chosen = (
        select(
            grouped.c.person_id,
            person.c.epoch,
            grouped.c.records,
            cast(grouped.c.warned, Boolean).label("identity_warning"),
            cast(grouped.c.protected, Boolean).label("restricted"),
        )
        .join_from(grouped, person, person.c.person_id == grouped.c.person_id)
        .where(grouped.c.records > 0)
    )
    if organisation is None:
        chosen = chosen.where(grouped.c.protected == 0)
    yield from _streamed(tx, chosen.order_by(grouped.c.person_id))


def stream_links(tx: Connection, organisation: str | None) -> Iterator[Any]:
    """Yield person, two of its records, and the weight of their edge or the decision that they are one person.

    Of a decision about several records on a side the earliest of each stands. People whose location is protected are left out: a weight
    would tell whether addresses agree.
    """
    low, high = source_record.alias("low"), source_record.alias("high")
    edges = (
        select(
            low.c.person_id,
            edge.c.low_id,
            edge.c.high_id,
            edge.c.weight,
            edge.c.may_link,
            cast(null(), Id).label("decision_id"),
        )
        .join_from(edge, low, low.c.record_id == edge.c.low_id)
        .join(high, high.c.record_id == edge.c.high_id)
        .where(
            low.c.person_id == high.c.person_id, *_standing(low, organisation), *_standing(high, organisation)
        )
    )
    chosen = union_all(edges, _decided(organisation)).subquery()
    told = select(chosen).where(chosen.c.person_id.not_in(_protected()))
    yield from _streamed(tx, told.order_by(chosen.c.low_id, chosen.c.high_id, chosen.c.decision_id))


def _decided(organisation: str | None) -> Select[Any]:
    sides = [link_decision_member.alias(name) for name in ("one", "other")]
    rows = [source_record.alias(f"{name}_record") for name in ("one", "other")]
    first, second = (func.min(side.c.record_id) for side in sides)
    found = select(
        rows[0].c.person_id,
        case((first < second, first), else_=second).label("low_id"),
        case((first < second, second), else_=first).label("high_id"),
        cast(null(), edge.c.weight.type).label("weight"),
        literal(True).label("may_link"),
        link_decision.c.decision_id,
    ).select_from(link_decision)
    for number, (side, row) in enumerate(zip(sides, rows, strict=True)):
        on_side = (side.c.decision_id == link_decision.c.decision_id) & (side.c.side == number)
        found = found.join(side, on_side).join(row, row.c.record_id == side.c.record_id)
        found = found.where(*_standing(row, organisation))
    return found.where(
        link_decision.c.verdict == "same",
        link_decision.c.state == "standing",
        rows[0].c.person_id == rows[1].c.person_id,
    ).group_by(rows[0].c.person_id, link_decision.c.decision_id)


def _standing(of: Any, organisation: str | None) -> list[Any]:
    where = [of.c.state == "active", of.c.person_id.is_not(None)]
    if organisation is None:
        return [*where, of.c.person_id.not_in(_protected())]
    return [*where, of.c.organisation == organisation]


def _protected() -> Select[Any]:
    of = source_record.alias("protected")
    return select(of.c.person_id).where(of.c.restricted, of.c.person_id.is_not(None))


def _streamed(tx: Connection, statement: Any) -> Iterator[Any]:
    yield from tx.execute(statement, execution_options={"yield_per": _AT_ONCE})
