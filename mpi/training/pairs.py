"""Pairs of records to learn from and to evaluate on: those that share a blocking key, and random ones."""

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from mpi.matching import Model, NormalisedRecord, block, normalise
from mpi.records import RecordKey, SourceRecord

Pair = tuple[int, int]
"""Places of two records in a ``Population``, the lower first."""


@dataclass(frozen=True, slots=True)
class Population:
    """Normalised records with their keys, in order of key, so that nothing hangs on the order of the file."""

    keys: tuple[RecordKey, ...]
    records: tuple[NormalisedRecord, ...] = field(repr=False)

    @classmethod
    def of(cls, records: Iterable[SourceRecord], model: Model) -> "Population":
        """Normalise records; of several versions under one key the newest counts, see ``newest``."""
        by_key = newest(records)
        keys = tuple(sorted(by_key))
        return cls(keys, tuple(normalise(by_key[key], model) for key in keys))

    def __len__(self) -> int:
        return len(self.keys)


def newest(records: Iterable[SourceRecord]) -> dict[RecordKey, SourceRecord]:
    """Return one record a key: the one of the latest ``updated_at``; equal or absent times are settled by content, never by order."""
    by_key: dict[RecordKey, SourceRecord] = {}
    for record in records:
        held = by_key.setdefault(record.key, record)
        if held is not record and _age(record) > _age(held):
            by_key[record.key] = record
    return by_key


def _age(record: SourceRecord) -> tuple[float, str]:
    at = record.updated_at.timestamp() if record.updated_at else float("-inf")
    return at, json.dumps(record.to_payload(), sort_keys=True)


@dataclass(frozen=True, slots=True)
class Blocked:
    """Candidate pairs, and the keys that held more records than four times their rule's cap."""

    pairs: tuple[Pair, ...] = field(repr=False)
    overfull: tuple[int, ...]
    pairs_by_rule: dict[str, int]


def blocked_pairs(population: Population, model: Model) -> Blocked:
    """Return every pair that shares a key, once; keys that grew past four times the cap are left out and listed."""
    holders: dict[int, list[int]] = {}
    rule_of: dict[int, str] = {}
    for place, record in enumerate(population.records):
        for rule, key in block(record, model):
            holders.setdefault(key, []).append(place)
            rule_of[key] = rule
    found: set[Pair] = set()
    overfull: list[int] = []
    by_rule = dict.fromkeys(model.rules, 0)
    for key, places in holders.items():
        if len(places) > 4 * model.caps[rule_of[key]]:
            overfull.append(key)
            continue
        by_rule[rule_of[key]] += len(places) * (len(places) - 1) // 2
        for later, high in enumerate(places):
            for low in places[:later]:
                found.add((low, high))
    return Blocked(tuple(sorted(found)), tuple(sorted(overfull)), by_rule)


def random_pairs(population: Population, count: int, seed: int) -> Iterator[Pair]:
    """Yield pairs drawn by chance: nearly all are strangers."""
    dice = random.Random(seed)  # noqa: S311 - a sample needs a seed, not a secret
    size = len(population)
    for _ in range(count if size > 1 else 0):
        one = dice.randrange(size)
        other = dice.randrange(size - 1)
        other += other >= one
        yield (one, other) if one < other else (other, one)


def components(size: int, pairs: Iterable[Pair]) -> list[list[int]]:
    """Return the connected parts that hold at least one pair, each in order."""
    parent = list(range(size))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    touched: set[int] = set()
    for low, high in pairs:
        touched.update((low, high))
        one, other = root(low), root(high)
        if one != other:
            parent[max(one, other)] = min(one, other)
    groups: dict[int, list[int]] = {}
    for place in sorted(touched):
        groups.setdefault(root(place), []).append(place)
    return list(groups.values())


def pairs_within(groups: Iterable[Sequence[int]]) -> Iterator[Pair]:
    """Yield every pair inside each group."""
    for group in groups:
        ordered = sorted(group)
        for later, high in enumerate(ordered):
            for low in ordered[:later]:
                yield low, high
