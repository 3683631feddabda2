"""The worst errors, explained: wrong pairs with the path by which they came together, and missed ones with what held them apart."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np

from mpi.matching import Model, NormalisedRecord, compare, decide, explain, normalise, score
from mpi.records import SourceRecord
from mpi.training.judge import Judged
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
        read: Callable[[Iterable[int]], Mapping[int, SourceRecord]] = lambda places: {},
        model: Model | None = None,
        *,
        show_values: bool = False,
    ) -> None:
        """Prepare.

        Args:
            read: gives the records, as sent, of some places in ``Judged.keys``, where there are any.
        """
        self._judged = judged
        self._weighed = weighed
        self._read_records = read
        self._records: Mapping[int, SourceRecord] = {}
        self._model = model
        self._show_values = show_values
        self._normalised: dict[int, NormalisedRecord] = {}
        none = np.empty(0, np.int64)
        low, high = (weighed.low, weighed.high) if weighed is not None else (none, none)
        codes = low * len(judged.keys) + high
        order = np.argsort(codes, kind="stable")
        self._codes, self._places = codes[order], order
        self._joined = np.flatnonzero(judged.persons[low] == judged.persons[high])

    def errors(self) -> dict[str, Any]:
        """Return the worst wrong pairs and the heaviest missed ones, with how many there are to choose from.

        Wrong pairs: those with an edge of their own first, the heaviest first (there the model is sure and wrong), then those that came
        together through other records. Missed pairs: the heaviest first, then those that were never compared.
        """
        judged = self._judged
        wrong = self._worst(_split_pairs(judged.persons, judged.truths))
        missed = self._worst(_split_pairs(judged.truths, judged.persons))
        self._records = self._read_records(sorted({place for pair, _ in (*wrong, *missed) for place in pair}))
        return {
            "wrong": [self._told(pair, weight, is_wrong=True) for pair, weight in wrong],
            "missed": [self._told(pair, weight, is_wrong=False) for pair, weight in missed],
        }

    def _worst(self, pairs: Iterator[Pair]) -> list[tuple[Pair, int | None]]:
        """Return the heaviest pairs with their weights, and then those that have none."""
        ends = np.array(list(islice(pairs, MOST_LOOKED_AT)), np.int64).reshape(-1, 2)
        codes = ends[:, 0] * len(self._judged.keys) + ends[:, 1]
        if self._weighed is None or not len(self._codes):
            known = np.zeros(len(codes), np.bool_)
            weights = np.zeros(len(codes), np.int64)
        else:
            at = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
            known = self._codes[at] == codes
            weights = np.where(known, self._weighed.weights[self._places[at]], 0)
        order = np.lexsort((codes, -weights, ~known))[:MOST].tolist()
        return [
            ((int(ends[place, 0]), int(ends[place, 1])), int(weights[place]) if known[place] else None)
            for place in order
        ]

    def _told(self, pair: Pair, weight: int | None, *, is_wrong: bool) -> dict[str, Any]:
        low, high = pair
        told: dict[str, Any] = {"low": list(self._judged.keys[low]), "high": list(self._judged.keys[high])}
        if weight is not None:
            told["weight"] = weight
        told |= self._compared(low, high)
        if is_wrong and len(self._joined):
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
                "compared" if weight is not None else "never compared" if len(self._codes) else "not known"
            )
        return told

    def _compared(self, low: int, high: int) -> dict[str, Any]:
        model = self._model
        if model is None or low not in self._records or high not in self._records:
            return {}
        a, b = (self._read(place, model) for place in (low, high))
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
            told["values"] = [self._records[place].to_payload() for place in (low, high)]
        return told

    def _read(self, place: int, model: Model) -> NormalisedRecord:
        if place not in self._normalised:
            self._normalised[place] = normalise(self._records[place], model)
        return self._normalised[place]

    def _steps_of(self, person: int) -> list["_Step"]:
        """Return the weighed pairs inside a person."""
        assert self._weighed is not None
        weighed = self._weighed
        inside = self._joined[self._judged.persons[weighed.low[self._joined]] == person]
        columns = (weighed.may_link, weighed.weights, weighed.low, weighed.high)
        rows = zip(*(column[inside].tolist() for column in columns), strict=True)
        return [(may_link, weight, (low, high)) for may_link, weight, low, high in rows]

    def _path(self, person: int, start: int, end: int) -> list["_Step"]:
        """Return the way between two records over the edges that joined their person: those that link unseen, heaviest first."""
        parent: dict[int, int] = {}

        def root(place: int) -> int:
            while parent.setdefault(place, place) != place:
                place = parent[place]
            return place

        tree: dict[int, list[_Step]] = {}
        for edge in sorted(self._steps_of(person), key=lambda one: (not one[0], -one[1], one[2])):
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
