"""The worst errors, explained: wrong pairs with the path by which they came together, and missed ones with what held them apart."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mpi.matching import Model, NormalisedRecord, compare, decide, explain, normalise, score
from mpi.records import RecordKey, SourceRecord
from mpi.training.judge import Judged
from mpi.training.labels import record_key
from mpi.training.pairs import Pair, pairs_within
from mpi.training.weighed import Weighed

MOST = 50
MOST_OF_A_PERSON = 100
"""Of a person of more records than this the first by key are looked at."""

MOST_LOOKED_AT = 200_000
"""Errors beyond this are counted, not looked at."""


_Step = tuple[bool, int, Pair]
"""Whether a pair is linked unseen, its weight, and the pair."""


class Explainer:
    """What is known of the records behind an error: nothing, their weights, or with records and a model also levels and parts."""

    def __init__(
        self,
        judged: Judged,
        weighed: Weighed | None,
        records: Mapping[RecordKey, SourceRecord] | None = None,
        model: Model | None = None,
        *,
        show_values: bool = False,
    ) -> None:
        self._judged = judged
        self._records = records or {}
        self._model = model
        self._show_values = show_values
        self._normalised: dict[int, NormalisedRecord] = {}
        self._weights: dict[Pair, int] = {}
        self._edges: dict[int, list[_Step]] = {}
        if weighed is not None:
            columns = (weighed.low, weighed.high, weighed.weights, weighed.may_link)
            for low, high, weight, may_link in zip(*(column.tolist() for column in columns), strict=True):
                self._weights[low, high] = weight
                if judged.persons[low] == judged.persons[high]:
                    self._edges.setdefault(int(judged.persons[low]), []).append(
                        (may_link, weight, (low, high))
                    )

    def errors(self) -> dict[str, Any]:
        """Return the worst wrong pairs and the heaviest missed ones, with how many there are to choose from.

        Wrong pairs: those with an edge of their own first, the heaviest first (there the model is sure and wrong), then those that came
        together through other records. Missed pairs: the heaviest first, then those that were never compared.
        """
        wrong = sorted(
            self._limited(self._wrong_pairs()),
            key=lambda pair: (pair not in self._weights, -self._weights.get(pair, 0), pair),
        )
        missed = sorted(
            self._limited(self._missed_pairs()),
            key=lambda pair: (pair not in self._weights, -self._weights.get(pair, 0), pair),
        )
        return {
            "wrong": [self._told(pair, is_wrong=True) for pair in wrong[:MOST]],
            "missed": [self._told(pair, is_wrong=False) for pair in missed[:MOST]],
        }

    def _limited(self, pairs: Iterator[Pair]) -> Iterator[Pair]:
        for _, pair in zip(range(MOST_LOOKED_AT), pairs, strict=False):
            yield pair

    def _wrong_pairs(self) -> Iterator[Pair]:
        yield from _split_pairs(self._judged.persons, self._judged.truths)

    def _missed_pairs(self) -> Iterator[Pair]:
        yield from _split_pairs(self._judged.truths, self._judged.persons)

    def _told(self, pair: Pair, *, is_wrong: bool) -> dict[str, Any]:
        low, high = pair
        told: dict[str, Any] = {"low": list(self._judged.keys[low]), "high": list(self._judged.keys[high])}
        weight = self._weights.get(pair)
        if weight is not None:
            told["weight"] = weight
        told |= self._compared(low, high)
        if is_wrong and self._edges:
            path = self._path(int(self._judged.persons[low]), low, high)
            told["path"] = [
                {"low": list(self._judged.keys[a]), "high": list(self._judged.keys[b]), "weight": weight}
                for _, weight, (a, b) in path
            ]
            told["how"] = (
                "direct"
                if len(path) == 1
                else f"through {len(path) - 1} other"
                if path
                else "not by the pairs given"
            )
            if not all(may_link for may_link, _, _ in path):
                told["how"] += ", by a pair that is not linked unseen"
        elif not is_wrong:
            told["how"] = (
                "compared" if weight is not None else "never compared" if self._weights else "not known"
            )
        return told

    def _compared(self, low: int, high: int) -> dict[str, Any]:
        model = self._model
        keys = [record_key(self._judged.keys[place]) for place in (low, high)]
        if model is None or not all(key in self._records for key in keys):
            return {}
        a, b = (self._read(place, key, model) for place, key in zip((low, high), keys, strict=True))
        comparison = compare(a, b, model)
        scored = score(comparison, model)
        told: dict[str, Any] = {
            "weight": scored.weight,
            "obstacles": list(decide(scored, comparison, model).obstacles),
            "parts": [
                {"field": one.field, "level": one.level, "weight": one.weight, "words": one.words}
                for one in explain(scored, model)
            ],
        }
        if self._show_values:
            told["values"] = [self._records[key].to_payload() for key in keys]
        return told

    def _read(self, place: int, key: RecordKey, model: Model) -> NormalisedRecord:
        if place not in self._normalised:
            self._normalised[place] = normalise(self._records[key], model)
        return self._normalised[place]

    def _path(self, person: int, start: int, end: int) -> list["_Step"]:
        """Return the way between two records over the edges that joined their person: those that link unseen, heaviest first."""
        parent: dict[int, int] = {}

        def root(place: int) -> int:
            while parent.setdefault(place, place) != place:
                place = parent[place]
            return place

        tree: dict[int, list[_Step]] = {}
        for edge in sorted(self._edges.get(person, ()), key=lambda one: (not one[0], -one[1], one[2])):
            low, high = edge[2]
            if root(low) != root(high):
                parent[root(low)] = root(high)
                tree.setdefault(low, []).append(edge)
                tree.setdefault(high, []).append(edge)
        came_by: dict[int, tuple[int, _Step]] = {}
        waiting, seen = [start], {start}
        while waiting:
            place = waiting.pop()
            for edge in tree.get(place, ()):
                low, high = edge[2]
                other = high if low == place else low
                if other not in seen:
                    seen.add(other)
                    came_by[other] = (place, edge)
                    waiting.append(other)
        path = []
        while end != start and end in came_by:
            end, edge = came_by[end]
            path.append(edge)
        return path[::-1]


def _split_pairs(groups: Any, others: Any) -> Iterator[Pair]:
    """Yield the pairs that share a group and not the other grouping, of the groups that hold such pairs only."""
    order = np.lexsort((others, groups))
    ordered, of = groups[order], others[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    ends = np.append(starts[1:], len(ordered))
    for start, end in zip(
        starts[of[starts] != of[ends - 1]].tolist(), ends[of[starts] != of[ends - 1]].tolist(), strict=True
    ):
        places = sorted(order[start:end].tolist())[:MOST_OF_A_PERSON]
        for low, high in pairs_within([places]):
            if others[low] != others[high]:
                yield low, high
