"""What a person should look at, as the index would ask it of the same records: pairs of persons, and persons that are not at one."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mpi.bulk.partition import Persons
from mpi.bulk.records import Records
from mpi.bulk.weigh import CONFLICTS, Weighed
from mpi.matching import Model
from mpi.matching.questions import FORM_SYSTEMS, Kind, asked_between, sides_by_number, sides_of_source
from mpi.records import RecordKey

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Task:
    """A question: its kind, why it is asked, and its sides, each the rows that stand together."""

    kind: str
    reason: str
    sides: tuple[tuple[int, ...], ...] = field(repr=False)
    weight: int | None = None


def open_tasks(
    records: Records,
    sources: Ints,
    keys: Callable[[Ints], list[RecordKey]],
    edges: Weighed,
    persons: Persons,
    model: Model,
) -> Iterator[Task]:
    """Yield the tasks of a partition, worst kind first within each pair or person, in order of their rows.

    Args:
        sources: for each row a number of its organisation and system.
    """
    members = _Members(persons.person)
    yield from _between(records, edges, persons, members)
    yield from _within(records, sources, keys, members, model)


class _Members:
    """Who is of which person; only persons that are asked for are put together."""

    def __init__(self, person: Ints) -> None:
        self.person = person
        self.order = np.argsort(person, kind="stable")
        ordered = person[self.order]
        self.starts = (
            np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1]))) if len(person) else person
        )
        self.sizes = np.diff(np.append(self.starts, len(person)))
        self.names = ordered[self.starts]

    def of(self, person: int) -> tuple[int, ...]:
        return self.at(int(np.searchsorted(self.names, person)))

    def at(self, place: int) -> tuple[int, ...]:
        start = int(self.starts[place])
        return tuple(self.order[start : start + int(self.sizes[place])].tolist())

    def differ(self, values: Ints, low: Ints, high: Ints) -> NDArray[np.bool_]:
        """Say of pairs of persons whether a record of one and a record of the other have two different values; 0 is none."""
        if not len(low):
            return np.zeros(0, np.bool_)
        ordered = values[self.order]
        most = np.maximum.reduceat(ordered, self.starts)
        least = np.minimum.reduceat(np.where(ordered > 0, ordered, np.iinfo(np.int64).max), self.starts)
        one, other = np.searchsorted(self.names, low), np.searchsorted(self.names, high)
        told = (most[one] > 0) & (most[other] > 0)
        alike = (least[one] == most[one]) & (least[other] == most[other]) & (most[one] == most[other])
        differ: NDArray[np.bool_] = told & ~alike
        return differ

    def have(self, values: Ints, *, where: NDArray[np.bool_], equal: bool) -> NDArray[np.bool_]:
        """Say which persons have a value twice (``equal``), or two different ones, among the rows asked for."""
        place = np.repeat(np.arange(len(self.starts)), self.sizes)
        chosen = where[self.order]
        place, value = place[chosen], values[self.order][chosen]
        order = np.lexsort((value, place))
        place, value = place[order], value[order]
        neighbours = (place[1:] == place[:-1]) & ((value[1:] == value[:-1]) == equal)
        found = np.zeros(len(self.starts), np.bool_)
        found[place[1:][neighbours]] = True
        return found


def _between(records: Records, edges: Weighed, persons: Persons, members: _Members) -> Iterator[Task]:
    one, other = persons.person[edges.a], persons.person[edges.b]
    apart = np.flatnonzero(one != other)
    low, high = np.minimum(one, other)[apart], np.maximum(one, other)[apart]
    # Verified numbers or orders of birth tell two persons apart: no clerk is asked.
    asked = ~members.differ(records.verified_numbers(), low, high)
    asked &= ~members.differ(records.numbers("birth_order").astype(np.int64), low, high)
    apart, low, high = apart[asked], low[asked], high[asked]
    order = np.lexsort((high, low))
    apart, low, high = apart[order], low[order], high[order]
    refused = {
        (min(one.low_id, one.high_id), max(one.low_id, one.high_id)): one.veto for one in persons.refused
    }
    ends = np.flatnonzero(
        np.concatenate((low[1:] != low[:-1], [True])) | np.concatenate((high[1:] != high[:-1], [True]))
    )
    start = 0
    for end in ends.tolist() if len(apart) else []:
        places, pair = apart[start : end + 1], (int(low[start]), int(high[start]))
        start = end + 1
        sides = (members.of(pair[0]), members.of(pair[1]))
        vetoes = {
            refused[a, b]
            for a, b in zip(edges.a[places].tolist(), edges.b[places].tolist(), strict=True)
            if (a, b) in refused
        }
        conflicts = {
            said for place in edges.conflict[places].tolist() if (said := CONFLICTS[place]) is not None
        }
        weight = int(edges.weight[places].max())
        kind, reason = asked_between(vetoes, conflicts)
        yield Task(kind.value, reason, sides, weight)


def _within(
    records: Records, sources: Ints, keys: Callable[[Ints], list[RecordKey]], members: _Members, model: Model
) -> Iterator[Task]:
    """Look closer at those persons only whose records have two numbers or one source, or who are too many."""
    number, state = records.codes("number"), records.codes("number_state")
    used = np.isin(state, [records.code_in("number_state", one) for one in ("v", "c")])
    asked = members.sizes > model.group_limit
    asked |= members.have(number, where=used, equal=False)
    asked |= members.have(sources, where=np.ones(len(sources), np.bool_), equal=True)
    several = np.flatnonzero(asked & (members.sizes > 1))
    for start in range(0, len(several), 50_000):
        groups = [members.at(place) for place in several[start : start + 50_000].tolist()]
        rows = np.array([row for group in groups for row in group], np.int64)
        taken = records.taken(("number", "number_state"), rows)
        numbers = iter(zip(*(column.to_pylist() for column in taken.values()), strict=True))
        names = iter(keys(rows))
        for group in groups:
            by_number: dict[str, list[int]] = defaultdict(list)
            by_source: dict[tuple[str, str], list[int]] = defaultdict(list)
            for row in group:
                text, said = next(numbers)
                key = next(names)
                if text and said in ("v", "c"):
                    by_number[text].append(row)
                if key.system not in FORM_SYSTEMS:
                    by_source[key.organisation, key.system].append(row)
            if (apart := sides_by_number(by_number)) is not None:
                yield Task(Kind.NUMBERS.value, "numbers-differ", (tuple(apart[0]), tuple(apart[1])))
            for _, same in sorted(by_source.items()):
                if (apart := sides_of_source(same)) is not None:
                    yield Task(Kind.DUPLICATE.value, "same-source", (tuple(apart[0]), tuple(apart[1])))
            if len(group) > model.group_limit:
                yield Task(Kind.OUTSIZED.value, "outsized", (group,))
