"""The steps of matching over records in memory, one record and one pair at a time: what bulk and the index are held against."""

from collections.abc import Iterable
from dataclasses import dataclass

from mpi.bulk.partition import lenient
from mpi.matching import (
    Edge,
    Member,
    Model,
    NormalisedRecord,
    PairWeight,
    block,
    compare,
    decide,
    may_join_alone,
    normalise,
    partition,
    score,
)
from mpi.records import RecordKey, SourceRecord
from mpi.training.pairs import Pair, components, newest


@dataclass(frozen=True)
class Population:
    """Normalised records in order of key."""

    keys: tuple[RecordKey, ...]
    records: tuple[NormalisedRecord, ...]

    @classmethod
    def of(cls, records: Iterable[SourceRecord], model: Model) -> "Population":
        by_key = newest(records)
        keys = tuple(sorted(by_key))
        return cls(keys, tuple(normalise(by_key[key], model) for key in keys))


def blocked_pairs(people: Population, model: Model) -> tuple[list[Pair], list[int]]:
    """Return every pair that shares a key in use, in order, and the keys that are overfull."""
    holders: dict[int, tuple[str, list[int]]] = {}
    for place, record in enumerate(people.records):
        for rule, key in block(record, model):
            holders.setdefault(key, (rule, []))[1].append(place)
    overfull = sorted(key for key, (rule, places) in holders.items() if len(places) > 4 * model.caps[rule])
    found = {
        (low, high)
        for key, (_, places) in holders.items()
        if key not in overfull
        for later, high in enumerate(places)
        for low in places[:later]
    }
    return sorted(found), overfull


def weighed_pairs(people: Population, model: Model) -> list[tuple[Pair, int, bool]]:
    """Return every candidate pair with its weight, and whether no safety rule holds it back."""
    found = []
    for low, high in blocked_pairs(people, model)[0]:
        comparison = compare(people.records[low], people.records[high], model)
        scored = score(comparison, model)
        found.append(((low, high), scored.weight, not decide(scored, comparison, model).obstacles))
    return found


def linked(people: Population, model: Model, *, balanced: bool = False) -> list[tuple[RecordKey, ...]]:
    """Return the persons of several records; ``balanced``: at even odds and without the safety rules of pairs."""
    records = people.records
    linking = lenient(model) if balanced else model
    edges = [
        edge
        for (low, high), weight, is_free in weighed_pairs(people, model)
        for alone in [may_join_alone(compare(records[low], records[high], model), model)]
        for edge in [Edge(low, high, weight, balanced or is_free, alone)]
        if linking.ties(weight, edge.may_link)
    ]
    parts = components(len(records), ((edge.low_id, edge.high_id) for edge in edges))
    part_of = {place: number for number, part in enumerate(parts) for place in part}
    by_part: dict[int, list[Edge]] = {}
    for edge in edges:
        by_part.setdefault(part_of[edge.low_id], []).append(edge)

    def weigh(low: int, high: int) -> PairWeight:
        return PairWeight.of(score(compare(records[low], records[high], model), model))

    groups: list[tuple[RecordKey, ...]] = []
    for number, part in enumerate(parts):
        members = {place: Member.of(place, people.keys[place], records[place]) for place in part}
        split = partition(members, by_part[number], (), linking, weigh)
        groups.extend(tuple(people.keys[place] for place in group) for group in split.groups)
    return [group for group in groups if len(group) > 1]
