"""The evidence graph: edges that a model weighed, and decisions that people made."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, select, update

from foundation.direct import Statement, Writes, write_rows
from mpi.store.batch import within
from mpi.store.tables import edge, link_decision, link_decision_member


class EdgeRow(NamedTuple):
    """What the model says of two records. ``weight_millibits`` is exact; ``parts`` is JSON text, empty where it was not asked for."""

    low_id: int
    high_id: int
    weight_millibits: int
    may_link: bool
    conflict: str | None
    parts: str
    model_revision: str
    search_complete: bool


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """What someone decided of two sides' records."""

    decision_id: int
    task_id: int | None
    kind: str
    verdict: str
    state: str
    reason: str
    comment: str | None = field(repr=False)
    decided_by: str
    decided_at: datetime
    seconded_by: str | None
    undone_by: str | None
    undone_at: datetime | None
    evidence: Any = field(repr=False)
    sides: tuple[frozenset[int], frozenset[int]]


_EDGE = "low_id, high_id, weight, may_link, conflict, parts, model_revision, search_complete"
_CHANGING = ("weight", "may_link", "conflict", "parts", "model_revision", "search_complete")
_SHORT_EDGE = (
    "low_id, high_id, weight, may_link, conflict, CASE WHEN weight <= {given} THEN parts ELSE '' END, "
    "model_revision, search_complete"
)


def _edges_at(edge: str) -> str:
    # An edge between two of the records is read at its lower end alone.
    return (
        f"SELECT {edge} FROM edge WHERE low_id {{among}} "  # noqa: S608
        f"UNION ALL SELECT {edge} FROM edge WHERE high_id {{among}} AND low_id {{beside}}"
    )


_EDGES = Statement.alike(_edges_at(_EDGE))
_AROUND = Statement.alike(
    _edges_at(_SHORT_EDGE)  # noqa: S608
    + " UNION ALL SELECT decision_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM link_decision_member WHERE record_id {among}"
    " UNION ALL SELECT NULL, task_id, NULL, NULL, NULL, NULL, NULL, NULL FROM task_member WHERE record_id {among}"
)


@dataclass(frozen=True, slots=True)
class Around:
    """The edges with an end among some records, and whether any decision, and any task, names one of them."""

    edges: dict[tuple[int, int], EdgeRow]
    has_decisions: bool
    has_tasks: bool


def read_edges(tx: Connection, ids: Collection[int]) -> dict[tuple[int, int], EdgeRow]:
    """Return every edge with at least one end among these records."""
    return _edges(tx, _EDGES.rows(tx, ids, ids, ids)) if ids else {}


def read_around(tx: Connection, ids: Collection[int], parts_to: int) -> Around:
    """Return what stands around some records, by one statement: of most of them no decision and no task is to be read.

    Args:
        parts_to: the weight up to which an edge's parts are read as well. Of a large component they are most of what is sent.
    """
    if not ids:
        return Around({}, has_decisions=False, has_tasks=False)
    edges, has_decisions, has_tasks = [], False, False
    for row in _AROUND.rows(tx, parts_to, ids, parts_to, ids, ids, ids, ids):
        if row[1] is None:
            has_decisions = True
        elif row[0] is None:
            has_tasks = True
        else:
            edges.append(row)
    return Around(_edges(tx, edges), has_decisions, has_tasks)


def _edges(tx: Connection, rows: Iterable[Any]) -> dict[tuple[int, int], EdgeRow]:
    if tx.dialect.name == "sqlite":
        rows = ((*row[:3], bool(row[3]), *row[4:7], bool(row[7])) for row in rows)
    return {(row[0], row[1]): EdgeRow._make(row) for row in rows}


def write_edges(tx: Connection, rows: Sequence[EdgeRow]) -> None:
    """Insert or replace edges, in one order for all writers."""
    write_rows(tx, lambda writes: put_edges(writes, rows))


def put_edges(writes: Writes, rows: Sequence[EdgeRow]) -> None:
    """As ``write_edges``, with other writes."""
    writes.upsert(
        edge,
        [
            {
                "low_id": row.low_id,
                "high_id": row.high_id,
                "weight": row.weight_millibits,
                "may_link": row.may_link,
                "conflict": row.conflict,
                "parts": row.parts,
                "model_revision": row.model_revision,
                "search_complete": row.search_complete,
            }
            for row in sorted(rows, key=lambda row: (row.low_id, row.high_id))
        ],
        ("low_id", "high_id"),
        _CHANGING,
    )


def put_removals(writes: Writes, pairs: Iterable[tuple[int, int]]) -> None:
    """Take edges away, with other writes."""
    writes.delete(edge, [{"low_id": low, "high_id": high} for low, high in sorted(pairs)])


# Decisions -----------------------------------------------------------------------------------------------------------


def read_decisions(
    tx: Connection, ids: Collection[int], states: Collection[str] = ("standing",)
) -> list[DecisionRow]:
    """Return the decisions that name any of these records, in the order in which they were made."""
    if not ids:
        return []
    named = select(link_decision_member.c.decision_id).where(
        within(tx, link_decision_member.c.record_id, ids)
    )
    return _decisions(tx, link_decision.c.decision_id.in_(named) & link_decision.c.state.in_(sorted(states)))


def read_standing_decisions(tx: Connection) -> list[DecisionRow]:
    """Return every decision that stands, in the order in which they were made."""
    return _decisions(tx, link_decision.c.state == "standing")


def standing_among(tx: Connection, decision_ids: Collection[int]) -> frozenset[int]:
    """Return which of some decisions stand."""
    if not decision_ids:
        return frozenset()
    statement = select(link_decision.c.decision_id).where(
        within(tx, link_decision.c.decision_id, decision_ids), link_decision.c.state == "standing"
    )
    return frozenset(tx.scalars(statement))


def read_decision(tx: Connection, decision_id: int) -> DecisionRow | None:
    found = _decisions(tx, link_decision.c.decision_id == decision_id)
    return found[0] if found else None


def read_task_decisions(tx: Connection, task_id: int) -> list[DecisionRow]:
    """Return every decision made on a task, undone ones too."""
    return _decisions(tx, link_decision.c.task_id == task_id)


def _decisions(tx: Connection, condition: Any) -> list[DecisionRow]:
    statement = (
        select(link_decision, link_decision_member.c.record_id, link_decision_member.c.side)
        .join(link_decision_member, link_decision_member.c.decision_id == link_decision.c.decision_id)
        .where(condition)
        .order_by(link_decision.c.decision_id)
    )
    rows: dict[int, Any] = {}
    sides: dict[int, tuple[set[int], set[int]]] = {}
    for row in tx.execute(statement):
        rows[row.decision_id] = row
        sides.setdefault(row.decision_id, (set(), set()))[row.side].add(row.record_id)
    return [
        DecisionRow(*[*tuple(row)[:13], (frozenset(sides[number][0]), frozenset(sides[number][1]))])
        for number, row in rows.items()
    ]


def insert_decision(
    tx: Connection, values: Mapping[str, Any], sides: tuple[Collection[int], Collection[int]]
) -> None:
    tx.execute(insert(link_decision), dict(values))
    tx.execute(
        insert(link_decision_member),
        [
            {"decision_id": values["decision_id"], "record_id": record_id, "side": side}
            for side, records in enumerate(sides)
            for record_id in sorted(records)
        ],
    )


def update_decision(tx: Connection, decision_id: int, **values: Any) -> None:
    tx.execute(update(link_decision).where(link_decision.c.decision_id == decision_id).values(**values))
