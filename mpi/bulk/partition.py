"""Step 6 in bulk: persons. Where nothing stands between the records of a component they are one person at once; else the ordered rule."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mpi.bulk.records import Records
from mpi.bulk.weigh import Weighed, Weigher
from mpi.matching import (
    Edge,
    Member,
    Model,
    NormalisedRecord,
    PairWeight,
    Refusal,
    Weigh,
    compare,
    partition,
    score,
)
from mpi.records import RecordKey

Ints = NDArray[np.int64]

PAIRS_AT_ONCE, ROWS_AT_ONCE = 500_000, 100_000
LARGE = 2_000
"""A component of more records than this has too many pairs to weigh them all beforehand."""


@dataclass(frozen=True, slots=True)
class Persons:
    """The person of every row, named by its least row, and the joins that were refused."""

    person: Ints
    refused: tuple[Refusal, ...] = field(repr=False)
    components: int
    ordered: int
    """How many components went through the ordered rule."""
    missed: int
    """Pairs inside components that no edge had; they were weighed for the contradiction veto."""


def partition_records(
    records: Records,
    keys: Callable[[Ints], list[RecordKey]],
    edges: Weighed,
    weigher: Weigher,
    model: Model,
) -> Persons:
    """Group rows into persons by the edges that link.

    The answer is that of ``mpi.matching.partition`` over all edges: a component with no veto between any two of its records joins whole,
    in whatever order; only the others are taken edge by edge.

    Args:
        keys: the record keys of some rows; the order of rows is that of their keys.
        edges: pairs from the review threshold up. Those that link are taken.
    """
    found = _linked(records, keys, edges, weigher, model)
    return found if model.sole is None else _joined_alone(records, keys, edges, weigher, model, found)


def _linked(
    records: Records,
    keys: Callable[[Ints], list[RecordKey]],
    edges: Weighed,
    weigher: Weigher,
    model: Model,
) -> Persons:
    """Group rows by the edges that link by themselves."""
    links = edges.may_link & (edges.weight >= model.thresholds.live)
    size = records.size
    person: Ints = np.arange(size)
    if not links.any():
        return Persons(person, (), 0, 0, 0)
    label = _labels(edges.a[links], edges.b[links], size)
    order = np.argsort(label, kind="stable")
    sorted_labels = label[order]
    starts = np.flatnonzero(np.concatenate(([True], sorted_labels[1:] != sorted_labels[:-1])))
    sizes = np.diff(np.append(starts, size))
    several = sizes > 1
    starts, sizes = starts[several], sizes[several]
    # Rows of one component ascend, so the first is the least.
    inside = np.repeat(np.arange(len(starts)), sizes)
    rows = order[np.repeat(starts, sizes) + _counted(sizes)]
    person[rows] = order[starts][inside]
    component = np.full(size, -1, np.int64)
    component[rows] = inside

    vetoed = sizes > model.group_limit
    vetoed |= _has_two(component, records.verified_numbers(), rows, len(starts))
    vetoed |= _has_two(component, records.numbers("birth_order").astype(np.int64), rows, len(starts))
    known = np.sort(edges.a * size + edges.b)
    near = edges.evidence <= model.thresholds.contradiction
    same = component[edges.a[near]]
    same = same[(same >= 0) & (same == component[edges.b[near]])]
    vetoed[same] = True
    missed = 0
    # What is vetoed already, or too large, goes the long way whatever its other pairs say.
    vetoed |= sizes > LARGE
    if model.quorum is not None:
        # Two groups of two, at the least, and a pair between them that is not sure by itself.
        vetoed |= (sizes >= 4) & _has_unsure(edges, links, component, len(starts), model.quorum.sure)
    for low, high in _inside(order, starts[~vetoed], sizes[~vetoed]):
        new = ~_are_among(known, low * size + high)
        if not new.any():
            continue
        found = weigher.weigh(low[new], high[new])
        missed += len(found)
        against = found.evidence <= model.thresholds.contradiction
        vetoed[component[found.a[against]]] = True
    chosen = np.flatnonzero(vetoed)
    some = _Components(component, order, starts, sizes, chosen)
    refused = _ordered(records, keys, edges, np.zeros(len(edges), np.bool_), weigher, model, person, some)
    return Persons(person, tuple(refused), len(starts), len(chosen), missed)


def _joined_alone(
    records: Records,
    keys: Callable[[Ints], list[RecordKey]],
    edges: Weighed,
    weigher: Weigher,
    model: Model,
    found: Persons,
) -> Persons:
    """Take again, by the rule itself, every component in which a record that joined nobody has a pair that may join it alone.

    A component is of persons here: all that a pair ties together from the weight up at which somebody else may be meant.
    """
    assert model.sole is not None
    size = records.size
    person = found.person.copy()
    one, other = person[edges.a], person[edges.b]
    apart = np.flatnonzero((edges.weight >= model.sole.rival) & (one != other))
    is_alone = np.bincount(person, minlength=size) == 1
    asked = apart[is_alone[one[apart]] | is_alone[other[apart]]]
    asked = asked[weigher.may_join_alone(edges.a[asked], edges.b[asked])]
    if not len(asked):
        return found
    able = np.zeros(len(edges), np.bool_)
    able[asked] = True
    label = _labels(one[apart], other[apart], size)[person].astype(np.int64)
    wanted = np.unique(label[edges.a[asked]])
    which = np.minimum(np.searchsorted(wanted, label), len(wanted) - 1)
    component = np.where(wanted[which] == label, which, -1)
    rows = np.flatnonzero(component >= 0)
    order = rows[np.argsort(component[rows], kind="stable")]
    sizes = np.bincount(component[rows], minlength=len(wanted))
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    some = _Components(component, order, starts, sizes, np.arange(len(wanted)))
    refused = _ordered(records, keys, edges, able, weigher, model, person, some)
    kept = [one for one in found.refused if component[one.low_id] < 0]
    return replace(found, person=person, refused=(*kept, *refused), ordered=found.ordered + len(wanted))


def _labels(one: Ints, other: Ints, size: int) -> NDArray[np.int32]:
    """Give every row the number of what pairs tie it to."""
    graph = coo_array(
        (np.ones(len(one), np.int8), (one.astype(np.int32), other.astype(np.int32))), shape=(size, size)
    )
    label: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return label


def _counted(sizes: Ints) -> Ints:
    """Return 0, 1, … for each size, one after another."""
    return np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)


def _are_among(known: Ints, codes: Ints) -> NDArray[np.bool_]:
    """Say which codes are among the known ones, which stand in order."""
    if not len(known):
        return np.zeros(len(codes), np.bool_)
    found: NDArray[np.bool_] = known[np.minimum(np.searchsorted(known, codes), len(known) - 1)] == codes
    return found


def _has_two(component: Ints, values: Ints, rows: Ints, count: int) -> NDArray[np.bool_]:
    """Say which components hold two different values; 0 is none."""
    told = rows[values[rows] > 0]
    most, least = np.zeros(count, np.int64), np.full(count, np.iinfo(np.int64).max)
    np.maximum.at(most, component[told], values[told])
    np.minimum.at(least, component[told], values[told])
    two: NDArray[np.bool_] = (most > 0) & (most != least)
    return two


def _has_unsure(
    edges: Weighed, links: NDArray[np.bool_], component: Ints, count: int, sure: int
) -> NDArray[np.bool_]:
    """Say which components are held together by a pair below this weight: the pairs from there up leave them in parts.

    Args:
        links: which edges link.
    """
    firm = links & (edges.weight >= sure)
    part = _labels(edges.a[firm], edges.b[firm], len(component))
    rest = links & ~firm
    one, other = edges.a[rest], edges.b[rest]
    has = np.zeros(count, np.bool_)
    has[component[one[part[one] != part[other]]]] = True
    return has


def _inside(order: Ints, starts: Ints, sizes: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Yield every pair inside components, many at a time."""
    waiting: list[tuple[Ints, Ints]] = []
    held = 0
    for size in np.unique(sizes).tolist():
        first = starts[sizes == size]
        at_once = max(1, PAIRS_AT_ONCE // (size * (size - 1) // 2))
        low, high = np.triu_indices(size, 1)
        for start in range(0, len(first), at_once):
            some = first[start : start + at_once, None]
            waiting.append((order[(some + low).ravel()], order[(some + high).ravel()]))
            held += len(waiting[-1][0])
            if held >= PAIRS_AT_ONCE:
                yield _joined(waiting)
                waiting, held = [], 0
    if held:
        yield _joined(waiting)


def _joined(pairs: list[tuple[Ints, Ints]]) -> tuple[Ints, Ints]:
    low, high = (np.concatenate(one).astype(np.int64) for one in zip(*pairs, strict=True))
    return low, high


@dataclass(frozen=True, slots=True)
class _Components:
    """Rows by component: ``order`` holds those of the first from ``starts[0]`` on, ``sizes[0]`` of them. -1: a row of none.

    ``chosen`` are those that the rule itself must take.
    """

    component: Ints
    order: Ints
    starts: Ints
    sizes: Ints
    chosen: Ints


def _ordered(
    records: Records,
    keys: Callable[[Ints], list[RecordKey]],
    edges: Weighed,
    able: NDArray[np.bool_],
    weigher: Weigher,
    model: Model,
    person: Ints,
    components: _Components,
) -> list[Refusal]:
    """Take components edge by edge, by the rule itself.

    Args:
        able: which edges may join alone.
        person: what is found is written into it.
    """
    component, order, starts, sizes, chosen = (
        components.component,
        components.order,
        components.starts,
        components.sizes,
        components.chosen,
    )
    if not len(chosen):
        return []
    is_chosen = np.zeros(len(starts), np.bool_)
    is_chosen[chosen] = True
    low_at, high_at = component[edges.a], component[edges.b]
    within = (low_at >= 0) & (low_at == high_at)
    within[within] = is_chosen[low_at[within]]
    held, place = edges.kept(within), low_at[within]
    in_turn = np.argsort(place, kind="stable")
    held, place, may_join = held.kept(in_turn), place[in_turn], able[within][in_turn]
    refused: list[Refusal] = []
    for some in _batches(chosen, sizes):
        # Their pairs alone become objects: those of all components need not be held at once.
        theirs = slice(*np.searchsorted(place, (some[0], some[-1] + 1)))
        by_component, known_of = _as_objects(held.kept(theirs), may_join[theirs], place[theirs])
        known = np.sort(held.a[theirs] * records.size + held.b[theirs])
        weighable = np.array([at for at in some if sizes[at] <= LARGE], np.int64)
        for low, high in _inside(order, starts[weighable], sizes[weighable]):
            new = ~_are_among(known, low * records.size + high)
            found = weigher.weigh(low[new], high[new])
            for a, b, weight, said, at in zip(
                found.a.tolist(),
                found.b.tolist(),
                found.weight.tolist(),
                found.evidence.tolist(),
                component[found.a].tolist(),
                strict=True,
            ):
                known_of[at][a, b] = PairWeight(weight, said)
        together = [order[starts[at] : starts[at] + sizes[at]].astype(np.int64) for at in some]
        # Fetching one row costs next to nothing, fetching for one component as much as for thousands.
        people = _members(records, keys, np.concatenate(together))
        for at, rows in zip(some, together, strict=True):
            members = {row: people[row] for row in rows.tolist()}
            weigh = _weigh_from(known_of[at], records, rows, model)
            found_persons = partition(members, by_component[at], (), model, weigh)
            for group in found_persons.groups:
                person[list(group)] = group[0]
            refused.extend(found_persons.refused)
    return refused


def _as_objects(
    edges: Weighed, able: NDArray[np.bool_], place: Ints
) -> tuple[dict[int, list[Edge]], dict[int, dict[tuple[int, int], PairWeight]]]:
    """Return edges by the component that they lie in, and what each says."""
    by_component: dict[int, list[Edge]] = defaultdict(list)
    known_of: dict[int, dict[tuple[int, int], PairWeight]] = defaultdict(dict)
    for a, b, weight, may_link, alone, said, at in zip(
        edges.a.tolist(),
        edges.b.tolist(),
        edges.weight.tolist(),
        edges.may_link.tolist(),
        able.tolist(),
        edges.evidence.tolist(),
        place.tolist(),
        strict=True,
    ):
        by_component[at].append(Edge(a, b, weight, may_link, alone))
        known_of[at][a, b] = PairWeight(weight, said)
    return by_component, known_of


def _members(records: Records, keys: Callable[[Ints], list[RecordKey]], rows: Ints) -> dict[int, Member]:
    told = records.taken(("number", "number_state", "birth_order"), rows)
    columns = (column.to_pylist() for column in told.values())
    return {
        row: Member(row, key, number if state == "v" else "", birth_order)
        for row, key, number, state, birth_order in zip(rows.tolist(), keys(rows), *columns, strict=True)
    }


def _batches(chosen: Ints, sizes: Ints) -> Iterator[list[int]]:
    waiting: list[int] = []
    held = 0
    for at, size in zip(chosen.tolist(), sizes[chosen].tolist(), strict=True):
        waiting.append(at)
        held += size
        if held >= ROWS_AT_ONCE:
            yield waiting
            waiting, held = [], 0
    if waiting:
        yield waiting


def _weigh_from(
    known: Mapping[tuple[int, int], PairWeight], records: Records, rows: Ints, model: Model
) -> Weigh:
    """Give what a pair says: as worked out, or of a component too large for that, when it is asked for."""

    @cache
    def forms() -> dict[int, NormalisedRecord]:
        return dict(zip(rows.tolist(), records.forms(rows), strict=True))

    def weigh(low: int, high: int) -> PairWeight:
        said = known.get((low, high))
        if said is None:
            said = PairWeight.of(score(compare(forms()[low], forms()[high], model), model))
        return said

    return weigh


def lenient(model: Model) -> Model:
    """Return a model that links at even odds, without the sole candidate. The vetoes of the partition stand, but that two verified numbers
    forbid only what they outweigh.
    """
    thresholds = replace(model.thresholds, live=model.thresholds.balanced)
    return replace(model, thresholds=thresholds, sole=None, is_lenient=True)
