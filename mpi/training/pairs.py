"""Pairs of records to learn from and to evaluate on, as rows: those that share a blocking key, and random ones."""

import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mpi.bulk.block import Candidates
from mpi.records import RecordKey, SourceRecord

Pair = tuple[int, int]
"""Places of two records in order of key, the lower first."""

Rows = NDArray[np.int32]


def newest(records: Iterable[SourceRecord]) -> dict[RecordKey, SourceRecord]:
    """Return one record a key: the one of the latest ``updated_at``; equal or absent times are settled by content, never by order."""
    by_key: dict[RecordKey, SourceRecord] = {}
    for record in records:
        held = by_key.setdefault(record.key, record)
        if held is not record and _age(record) > _age(held):
            by_key[record.key] = record
    return by_key


def newest_of(records: Iterable[SourceRecord]) -> Iterable[SourceRecord]:
    """Return the records of ``newest``."""
    return newest(records).values()


def _age(record: SourceRecord) -> tuple[float, str]:
    at = record.updated_at.timestamp() if record.updated_at else float("-inf")
    return at, json.dumps(record.to_payload(), sort_keys=True)


def candidate_pairs(candidates: Candidates) -> tuple[Rows, Rows]:
    """Return every pair that shares a key in use, once, in order: lower and higher rows."""
    slices = [candidates.pairs(number) for number in range(candidates.slices)]
    low, high = (np.concatenate([one[side].astype(np.int32) for one in slices]) for side in (0, 1))
    return low, high


def random_pairs(size: int, count: int, seed: int) -> tuple[Rows, Rows]:
    """Return pairs drawn by chance among as many rows: nearly all are strangers."""
    dice = np.random.default_rng(seed)
    count = count if size > 1 else 0
    one = dice.integers(0, max(size, 1), count)
    other = dice.integers(0, max(size - 1, 1), count)
    other += other >= one
    return np.minimum(one, other).astype(np.int32), np.maximum(one, other).astype(np.int32)


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
