"""A person as callers are told of it: by id or identifier, with members and reasons as far as the release gate lets them leave."""

import json
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import Connection

from foundation.errors import Forbidden, Gone, NotFound
from foundation.principal import Principal
from mpi.matching import veto
from mpi.matching.explain import Waterfall, waterfall
from mpi.matching.partition import SOLE
from mpi.records import Finding, RecordKey, SourceRecord, as_traced
from mpi.service import trail
from mpi.service.context import Mpi
from mpi.service.evidence import Pair, pair_of
from mpi.service.fold import finding_of, received_record, traced_record
from mpi.service.gate import GateRequest, Wanted
from mpi.service.graph import settle_again
from mpi.service.lookup import has_identifier, lookup_key
from mpi.service.persons import PersonMember, Resolution, bearer_of, resolve_person
from mpi.service.review import FieldReason, field_reasons, without_location
from mpi.store import graph as graph_store
from mpi.store import records as record_store


@dataclass(frozen=True, slots=True)
class PersonView:
    """A person. ``members`` are those that the gate let leave, and nothing says how many stayed behind."""

    person_id: int
    epoch: int
    has_identity_warning: bool
    is_restricted: bool
    members: tuple[PersonMember, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """Two records and what joined them: an edge's weight and reasons, with the waterfall that leads to it; or a decision.

    ``rule`` is that of the join: ``weight``, ``sole-candidate`` or ``decision``; None for the strongest edge between two persons.
    """

    low_id: int
    high_id: int
    weight_millibits: int | None
    decision_id: int | None
    reasons: tuple[FieldReason, ...] = ()
    rule: str | None = None
    waterfall: Waterfall | None = None


@dataclass(frozen=True, slots=True)
class Why:
    """Why records are one person, or why two are not.

    ``answer``: ``one-person`` with the steps that join them, in the order in which the partition takes them, or of a way from one record
    to another in that of the way; ``two-persons`` with the strongest edge between them if there is one, and in ``because`` the veto,
    ``decided-never``, ``below-threshold`` or ``no-edge``; None where one of them has no record that may be named.
    """

    answer: Literal["one-person", "two-persons"]
    steps: tuple[Step, ...]
    because: str | None = None
    record_ids: tuple[int, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as it stands, for the organisation whose it is."""

    record_id: int
    version: int
    state: Literal["linked", "waiting", "held", "withdrawn", "merged"]
    person_id: int | None
    record: SourceRecord = field(repr=False)
    finding: Finding | None = field(default=None, repr=False)

    @property
    def nhs_number_state(self) -> str | None:
        """What its NHS number is worth, with what a trace found; None where it has none."""
        evidence = as_traced(self.record, self.finding).evidence()
        return evidence.state.value if evidence is not None else None


def get_record(mpi: Mpi, key: RecordKey, by: Principal) -> StoredRecord:
    """Return one's own record as it stands.

    Raises:
        NotFound: ``record-unknown``, for other organisations' records as well.
    """
    if not by.may_act_for(key.organisation):
        raise NotFound("record-unknown")
    with mpi.db.read() as tx:
        row = bearer_of(tx, record_store.find_records(tx, [key]).get(key))
        if row is None or row.state == "erased" or row.version == 0:
            raise NotFound("record-unknown")
        versions = record_store.read_versions(tx, [row.record_id])[row.record_id]
    current = next(one for one in versions if one.version == row.current_version)
    state: Literal["linked", "waiting", "held", "withdrawn", "merged"] = (
        "linked" if row.linked_version is not None else "waiting"
    )
    if row.state in ("withdrawn", "merged"):
        state = "withdrawn" if row.state == "withdrawn" else "merged"
    elif row.is_held:
        state = "held"
    return StoredRecord(
        row.record_id,
        row.version,
        state,
        row.person_id,
        received_record(current, is_protected=row.restricted),
        finding_of(current),
    )


# By id ---------------------------------------------------------------------------------------------------------------


def get_person(
    mpi: Mpi, number: int, by: Principal, *, with_members: bool = False, purpose: str | None = None
) -> PersonView:
    """Return the person that an id stands for now; any record's id will do.

    Raises:
        NotFound: ``person-unknown``, for an id that is nobody's yet as well.
        Gone: ``person-gone``: the record was erased; search again.
    """
    if not with_members:
        with mpi.db.read() as tx:
            return _view(current_person(tx, number), ())
    with mpi.db.write() as tx:  # the gate's decision is audited with the answer
        found = current_person(tx, number)
        return _view(found, permitted_members(tx, mpi, found, by, "members", purpose, found.members))


def lookup_persons(mpi: Mpi, system: str, value: str, by: Principal) -> tuple[PersonView, ...]:
    """Return the persons that bear an identifier, in order of id; two of them are a conflict that the caller must not choose in."""
    with mpi.db.write() as tx:
        persons = sorted(bearers_of(tx, mpi, system, value))
        found = [resolve_person(tx, person) for person in persons]
        if found:
            trail.matched(tx, by, mpi.clock.now(), persons, ["identifier"])
        return tuple(_view(one, ()) for one in found)


def bearers_of(tx: Connection, mpi: Mpi, system: str, value: str) -> frozenset[int]:
    """Return the persons of whom a record bears this identifier."""
    ids = {one.record_id for one in record_store.search_all(tx, [lookup_key(system, value)])}
    rows = {
        number: row
        for number, row in record_store.read_records(tx, ids).items()
        if row.state == "active" and row.person_id is not None
    }
    current = {
        (number, version.version): version
        for number, versions in record_store.read_versions(tx, rows).items()
        for version in versions
    }
    persons = set()
    for number, row in rows.items():
        content = traced_record(current[number, row.current_version])
        if has_identifier(content, mpi.forms.of(row), system, value) and row.person_id is not None:
            persons.add(row.person_id)
    return frozenset(persons)


def lookup_record(mpi: Mpi, key: RecordKey, by: Principal) -> PersonView:
    """Return the person that holds one's own record.

    Raises:
        Forbidden: ``organisation-not-yours``: that another organisation knows someone is not told here.
        NotFound: ``person-unknown``.
    """
    if not by.may_act_for(key.organisation):
        raise Forbidden("organisation-not-yours", field="organisation")
    with mpi.db.read() as tx:
        row = record_store.find_records(tx, [key]).get(key)
        if row is None:
            raise NotFound("person-unknown")
        return _view(current_person(tx, row.record_id), ())


def current_person(tx: Connection, number: int) -> Resolution:
    """Return the person that an id stands for now.

    Raises:
        NotFound, Gone: as ``get_person``.
    """
    found = resolve_person(tx, number)
    if found.state == "gone":
        raise Gone("person-gone")
    if found.state != "current":
        raise NotFound("person-unknown")
    return found


def _view(found: Resolution, members: tuple[PersonMember, ...]) -> PersonView:
    assert found.person_id is not None
    return PersonView(found.person_id, found.epoch, found.held, found.restricted, members)


def permitted_members(
    tx: Connection,
    mpi: Mpi,
    found: Resolution,
    by: Principal,
    wanted: Wanted,
    purpose: str | None,
    members: Iterable[PersonMember],
) -> tuple[PersonMember, ...]:
    """Return the members whose organisations' part may leave."""
    assert found.person_id is not None
    listed = tuple(members)
    request = GateRequest(
        by,
        found.person_id,
        found.epoch,
        wanted,
        tuple(sorted({member.organisation for member in listed})),
        purpose,
    )
    answer = mpi.release_gate(tx, request)
    return tuple(member for member in listed if member.organisation in answer.sources)


# Why -----------------------------------------------------------------------------------------------------------------


def explain_person(
    mpi: Mpi, number: int, by: Principal, *, other: int | None = None, purpose: str | None = None
) -> Why:
    """Say why a person is one, or how it stands to another: steps between records that the gate lets be named.

    Raises:
        NotFound, Gone: as ``get_person``, for either id.
    """
    with mpi.db.write() as tx:
        mpi = mpi.at(tx)
        one = current_person(tx, number)
        two = one if other is None else current_person(tx, other)
        visible = {
            member.record_id for member in permitted_members(tx, mpi, one, by, "why", purpose, one.members)
        }
        if two.person_id != one.person_id:
            visible |= {
                member.record_id
                for member in permitted_members(tx, mpi, two, by, "why", purpose, two.members)
            }
            return _why_not(tx, mpi, one, two, visible)
        steps = _steps(tx, mpi, one)
        if other is not None and other != number:
            steps = _path(steps, _record_of(one, number), _record_of(one, other))
        return Why(
            "one-person",
            tuple(step for step in steps if step.low_id in visible and step.high_id in visible),
            record_ids=tuple(sorted(visible)),
        )


def _record_of(found: Resolution, number: int) -> int:
    return number if number in found.record_ids else found.record_ids[0]


def _steps(tx: Connection, mpi: Mpi, found: Resolution) -> list[Step]:
    """Partition the person's component again, as linking did, and return the joins inside the person."""
    answer, edges = settle_again(tx, mpi.model, mpi.forms, found.record_ids)
    edges = _told(tx, mpi, edges, found)
    inside = set(found.record_ids)
    steps = [
        _edge_step(mpi, edges[pair_of(join.low_id, join.high_id)], join.rule)
        if join.decision_id is None
        else Step(join.low_id, join.high_id, None, join.decision_id, rule=join.rule)
        for join in answer.joins
        if join.low_id in inside and join.high_id in inside
    ]
    # Which of two pairs was the heavier hangs on locations: what is told is in the order of what is told.
    return sorted(steps, key=_told_place) if found.restricted else steps


def _told_place(step: Step) -> tuple[bool, bool, int, int, int, int]:
    is_decided, is_left_over = step.decision_id is not None, step.rule == SOLE
    # Decisions in their own order, pairs from the heaviest down.
    return (
        not is_decided,
        is_left_over,
        step.decision_id or 0,
        -(step.weight_millibits or 0),
        step.low_id,
        step.high_id,
    )


def _told(
    tx: Connection, mpi: Mpi, edges: Mapping[Pair, graph_store.EdgeRow], *persons: Resolution
) -> Mapping[Pair, graph_store.EdgeRow]:
    """Return edges as they may be told of these persons, of whom one may have a protected location."""
    protected = {number for person in persons if person.restricted for number in person.record_ids}
    if not protected:
        return edges
    rows = record_store.read_records(tx, {number for person in persons for number in person.record_ids})
    return without_location(mpi, edges, rows, protected)


def _edge_step(mpi: Mpi, edge: graph_store.EdgeRow, rule: str | None = None) -> Step:
    fall = waterfall(json.loads(edge.parts), mpi.model.thresholds.live)
    return Step(edge.low_id, edge.high_id, edge.weight_millibits, None, field_reasons(edge.parts), rule, fall)


def _path(steps: list[Step], start: int, end: int) -> list[Step]:
    """Return the steps that lead from one record to the other; joins make a tree, so there is one way."""
    near: dict[int, list[Step]] = {}
    for step in steps:
        near.setdefault(step.low_id, []).append(step)
        near.setdefault(step.high_id, []).append(step)
    came: dict[int, tuple[int, Step] | None] = {start: None}
    waiting = deque([start])
    while waiting:
        here = waiting.popleft()
        for step in near.get(here, ()):
            there = step.high_id if step.low_id == here else step.low_id
            if there not in came:
                came[there] = (here, step)
                waiting.append(there)
    path: list[Step] = []
    at = came.get(end)
    while at is not None:
        path.append(at[1])
        at = came[at[0]]
    return path[::-1]


def _why_not(tx: Connection, mpi: Mpi, one: Resolution, two: Resolution, visible: set[int]) -> Why:
    """Say what stands between two persons, from records that may be named alone: of nothing else is anything told."""
    answer, edges = settle_again(tx, mpi.model, mpi.forms, [*one.record_ids, *two.record_ids])
    left, right = visible.intersection(one.record_ids), visible.intersection(two.record_ids)
    told = tuple(sorted(visible))
    if not left or not right:
        return Why("two-persons", (), None, told)

    def crosses(pair: Pair) -> bool:
        return (pair[0] in left and pair[1] in right) or (pair[0] in right and pair[1] in left)

    crossing = {pair: edge for pair, edge in _told(tx, mpi, edges, one, two).items() if crosses(pair)}
    refused = [
        row for row in answer.refused if pair_of(row.low_id, row.high_id) in crossing and crosses(row.between)
    ]
    forms = mpi.forms_of(record_store.read_records(tx, left | right).values())
    vetoes = sorted(
        {code for a in left for b in right if (code := veto(forms[a], forms[b], mpi.model)) is not None}
    )
    decided = any(
        row.verdict == "different"
        and ((row.sides[0] & left and row.sides[1] & right) or (row.sides[0] & right and row.sides[1] & left))
        for row in graph_store.read_decisions(tx, left | right)
    )
    if decided:
        because = "decided-never"
    elif refused:
        because = refused[0].veto
    elif vetoes:
        because = vetoes[0]
    else:
        because = "below-threshold" if crossing else "no-edge"
    strongest = max(crossing, key=lambda pair: (crossing[pair].weight_millibits, pair), default=None)
    steps = () if strongest is None else (_edge_step(mpi, crossing[strongest]),)
    return Why("two-persons", steps, because, told)
