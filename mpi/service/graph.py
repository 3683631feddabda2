"""The part of the evidence graph that one change touches: read, held by its component locks, and partitioned."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol

from sqlalchemy import Connection

from mpi.matching import (
    Edge,
    LinkDecision,
    Member,
    Model,
    NormalisedRecord,
    PairWeight,
    Partition,
    Refusal,
    compare,
    may_join_alone,
    partition,
)
from mpi.service.evidence import Pair, pair_of, telling_weight, tied, ties, weigh_pair, weight_of
from mpi.store import graph as graph_store
from mpi.store import records as record_store
from mpi.store import tasks as task_store
from mpi.store.graph import DecisionRow, EdgeRow
from mpi.store.records import RecordRow
from mpi.store.tasks import TaskRow


@dataclass(frozen=True, slots=True)
class Survey:
    """What stands around a change.

    ``members`` are all records of the components that are partitioned again; ``neighbours`` the records outside that a weaker
    edge or a task reaches, with everyone of their persons. ``edges`` are those at members, the fresh ones in place of the stale;
    ``tasks`` are all that name a member, of whatever state; ``absent`` the records that the open ones name and that are withdrawn. Stored
    edges above ``telling_weight`` are without their parts.
    """

    members: Mapping[int, RecordRow]
    neighbours: Mapping[int, RecordRow]
    edges: Mapping[Pair, EdgeRow]
    stale: tuple[Pair, ...]
    decisions: tuple[DecisionRow, ...]
    tasks: tuple[TaskRow, ...]
    absent: frozenset[int] = frozenset()

    @property
    def components(self) -> frozenset[int]:
        """What must be locked: the components of members and of neighbours."""
        return frozenset(
            row.component_id for rows in (self.members, self.neighbours) for row in rows.values()
        )

    def stands(self, *record_ids: int) -> bool:
        """Whether these members are as they were when they were searched: then their edges say what weighing them again would."""
        rows = [self.members[number] for number in record_ids]
        return all(row.linked_version == row.current_version for row in rows)

    def row(self, record_id: int) -> RecordRow | None:
        return self.members.get(record_id) or self.neighbours.get(record_id)


def survey(
    tx: Connection,
    model: Model,
    seeds: Collection[int],
    fresh: Mapping[Pair, EdgeRow],
    searched: Collection[int],
    named: Collection[int] = (),
    supposed: Collection[DecisionRow] = (),
    met: Mapping[int, RecordRow] | None = None,
) -> Survey:
    """Read what a change can reach.

    Args:
        seeds: records whose components are partitioned again.
        fresh: the edges just weighed, which are not written yet.
        searched: the records whose edges ``fresh`` replaces.
        named: records that a task to be opened names.
        supposed: decisions that nobody has made, to see what they would change.
        met: seeds and ends of fresh edges as they stood a moment ago: where to begin, and believed no further.
    """
    ends = {number for pair in fresh for number in pair}
    rows = met or record_store.read_records(tx, {*seeds, *ends})
    reached = set(seeds)
    for pair, edge in fresh.items():
        if ties(edge, model):
            reached.update(pair)
    core = {rows[number].component_id for number in reached if number in rows}
    while True:
        members = {
            number: row
            for number, row in record_store.read_components(tx, core).items()
            if row.state == "active"
        }
        around = graph_store.read_around(tx, members, telling_weight(model))
        decisions = graph_store.read_decisions(tx, members) if around.has_decisions else []
        decisions += [one for one in supposed if any(not side.isdisjoint(members) for side in one.sides)]
        stored = around.edges
        edges = dict(stored)
        if searched:
            edges = {
                pair: edge
                for pair, edge in stored.items()
                if not (pair[0] in searched or pair[1] in searched) or pair in fresh
            }
        edges.update(fresh)
        wanted = {
            number
            for decision in decisions
            if decision.verdict == "same"
            for side in decision.sides
            for number in side
        }
        wanted.update(chain.from_iterable(tied(edges, model)))
        wanted.update(reached)
        missing = wanted - members.keys()
        if not missing:
            break
        joined = {
            row.component_id
            for row in record_store.read_records(tx, missing).values()
            if row.state == "active"
        }
        if joined <= core:
            break
        core |= joined
    stale = tuple(sorted(stored.keys() - edges.keys()))
    tasks = task_store.read_tasks_of(tx, members) if around.has_tasks else []
    found = Survey(members, {}, edges, stale, tuple(decisions), tuple(tasks))
    return with_neighbours(tx, found, named)


def with_neighbours(tx: Connection, found: Survey, named: Collection[int] = ()) -> Survey:
    """Return a survey with its neighbours as they are now.

    Args:
        named: records that a task to be opened names.
    """
    outside = set(chain.from_iterable(chain(found.edges, found.stale)))
    outside.update(named)
    asked = (task for task in found.tasks if task.state == "open")
    outside.update(number for task in asked for side in task.sides for number in side)
    outside -= found.members.keys()
    rows = record_store.read_with_persons(tx, outside) if outside else {}
    neighbours = {number: row for number, row in rows.items() if row.state == "active"}
    return replace(found, neighbours=neighbours, absent=frozenset(rows.keys() - neighbours.keys()))


# Partition -----------------------------------------------------------------------------------------------------------


class FormsOf(Protocol):
    """Where normalised forms come from."""

    def of(self, row: RecordRow) -> NormalisedRecord: ...


@dataclass(frozen=True, slots=True)
class Settled:
    """How members stand after a change: their component, their person (None: linking has not taken them), what was refused."""

    component_of: Mapping[int, int]
    person_of: Mapping[int, int | None]
    refused: tuple[Refusal, ...]


def settle(
    found: Survey,
    model: Model,
    forms: Mapping[int, NormalisedRecord],
    said: Mapping[Pair, PairWeight],
    searched: Collection[int],
) -> Settled:
    """Partition every component of a survey.

    Args:
        forms: normalised forms of the members of components that hold more than one record.
        said: what pairs say that were weighed already, in this transaction: the next one may find other versions.
        searched: records that linking takes now; others that belong to nobody yet stay so.
    """
    components = _components(found, model)
    answers = _partitions(found, model, forms, said, searched, components)
    component_of = {number: component for component, numbers in components.items() for number in numbers}
    person_of: dict[int, int | None] = dict.fromkeys(found.members)
    for answer in answers:
        for group in answer.groups:
            # The earliest record's id: ids are given in order of arrival.
            person_of.update(dict.fromkeys(group, group[0]))
    return Settled(component_of, person_of, tuple(one for answer in answers for one in answer.refused))


def settle_again(
    tx: Connection, model: Model, forms: FormsOf, record_ids: Collection[int]
) -> tuple[Partition, Mapping[Pair, EdgeRow]]:
    """Partition the components of linked records as they stand, to explain them with all their edges; nothing is written."""
    found = survey(tx, model, record_ids, {}, ())
    edges = graph_store.read_edges(tx, found.members)
    parsed = {number: forms.of(row) for number, row in found.members.items()}
    answers = _partitions(found, model, parsed, {}, (), _components(found, model))
    joins = tuple(join for answer in answers for join in answer.joins)
    refused = tuple(one for answer in answers for one in answer.refused)
    return Partition((), joins, refused), edges


def _partitions(
    found: Survey,
    model: Model,
    forms: Mapping[int, NormalisedRecord],
    said: Mapping[Pair, PairWeight],
    searched: Collection[int],
    components: Mapping[int, list[int]],
) -> list[Partition]:
    weights = dict(said)
    edges: dict[int, list[EdgeRow]] = defaultdict(list)
    component_of = {number: component for component, numbers in components.items() for number in numbers}
    for (low, high), edge in found.edges.items():
        component = component_of.get(low)
        if component is not None and component == component_of.get(high):
            edges[component].append(edge)
    decisions = [_link_decision(row) for row in found.decisions if row.verdict != "not-enough"]

    def weigh(low: int, high: int) -> PairWeight:
        known = weights.get((low, high))
        if known is None:
            edge = found.edges.get((low, high))
            if edge is not None and edge.model_revision == model.revision and found.stands(low, high):
                known = weight_of(edge, model)
            else:
                known = PairWeight.of(weigh_pair(forms[low], forms[high], model).score)
            weights[low, high] = known
        return known

    answers = []
    for component, numbers in components.items():
        taking_part = [
            number for number in numbers if number in searched or found.members[number].person_id is not None
        ]
        if len(taking_part) <= 1:
            answers.append(Partition(tuple((number,) for number in taking_part), (), ()))
            continue
        members = {
            number: Member.of(number, found.members[number].key, forms[number]) for number in taking_part
        }
        rows = [row for row in edges[component] if row.low_id in members and row.high_id in members]
        answers.append(
            partition(
                members,
                _edges(rows, forms, model),
                decisions,
                model,
                weigh,
                _compatible(found, rows, model),
            )
        )
    return answers


def _compatible(found: Survey, rows: Iterable[EdgeRow], model: Model) -> list[Pair]:
    """Return the pairs whose stored weights are too much for a contradiction, whatever their starting odds were.

    ``weigh`` would say so too, for hundreds of pairs one by one.
    """
    least, revision = telling_weight(model), model.revision
    standing = {number for number in found.members if found.stands(number)}
    return [
        (low, high)
        for low, high, weight, _, _, _, weighed_by, _ in rows
        if weight > least and weighed_by == revision and low in standing and high in standing
    ]


def _edges(rows: Iterable[EdgeRow], forms: Mapping[int, NormalisedRecord], model: Model) -> list[Edge]:
    live = model.thresholds.live
    edges = []
    for low, high, weight, may_link, *_ in rows:
        # What joins by itself, as most of a large component does, need not be asked whether it may join alone.
        alone = (
            not (may_link and weight >= live)
            and model.ties(weight, may_link)
            and may_join_alone(compare(forms[low], forms[high], model), model)
        )
        edges.append(Edge(low, high, weight, may_link, alone))
    return edges


def _components(found: Survey, model: Model) -> dict[int, list[int]]:
    joined = Unions(found.members)
    for low, high in tied(found.edges, model):
        if low in found.members and high in found.members:
            joined.join(low, high)
    for decision in found.decisions:
        if decision.verdict == "same":
            present = sorted(number for side in decision.sides for number in side if number in found.members)
            for number in present[1:]:
                joined.join(present[0], number)
    return joined.groups()


def _link_decision(row: DecisionRow) -> LinkDecision:
    return LinkDecision(
        decision_id=row.decision_id,
        verdict="same" if row.verdict == "same" else "never",
        left=row.sides[0],
        right=row.sides[1],
        order=row.decision_id,
        has_second_reader=row.seconded_by is not None,
    )


class Unions:
    """Sets that grow together; each is named by its least member."""

    def __init__(self, members: Iterable[int]) -> None:
        self._parent = {member: member for member in members}

    def find(self, member: int) -> int:
        root = member
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[member] != root:
            self._parent[member], member = root, self._parent[member]
        return root

    def join(self, one: int, other: int) -> None:
        if self._parent[one] == self._parent[other]:
            return  # as most pairs of a large set are: nothing to look for
        low, high = pair_of(self.find(one), self.find(other))
        self._parent[high] = low

    def __contains__(self, member: int) -> bool:
        return member in self._parent

    def add(self, member: int) -> None:
        self._parent.setdefault(member, member)

    def groups(self) -> dict[int, list[int]]:
        groups: dict[int, list[int]] = defaultdict(list)
        for member in sorted(self._parent):
            groups[self.find(member)].append(member)
        return dict(groups)
