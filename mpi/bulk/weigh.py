"""Pairs of rows compared, scored and graded: levels by SQL, and each pattern of levels weighed once by ``mpi.matching``."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mpi.bulk.records import Records, combined
from mpi.bulk.sql import code_of
from mpi.bulk.steps import Said, Steps
from mpi.matching import Comparison, Model, compare, safety_obstacles
from mpi.matching.compare import MISSING
from mpi.matching.decide import NUMBERS_CONFLICT, SAME_NUMBER_CONFLICT
from mpi.matching.definition import program_of

Ints = NDArray[np.int64]

_YES = code_of("yes")
CONFLICTS = (None, SAME_NUMBER_CONFLICT, NUMBERS_CONFLICT)


@dataclass(frozen=True, slots=True)
class Weighed:
    """Pairs of rows with what the model says of them, an entry a pair. ``conflict`` is a place in CONFLICTS.

    ``pattern`` is a place in ``patterns``: the levels, and whether a placeholder or a later birth is on either side.
    """

    a: Ints
    b: Ints
    weight: Ints
    evidence: Ints
    may_link: NDArray[np.bool_]
    conflict: NDArray[np.int8]
    pattern: Ints
    patterns: "Patterns"

    @classmethod
    def blank(cls, size: int, patterns: "Patterns") -> "Weighed":
        """Return room for so many pairs, to be filled in."""
        a, b, weight, evidence, pattern = (np.empty(size, np.int64) for _ in range(5))
        may_link, conflict = np.empty(size, np.bool_), np.empty(size, np.int8)
        return cls(a, b, weight, evidence, may_link, conflict, pattern, patterns)

    def __len__(self) -> int:
        return len(self.a)

    def kept(self, which: NDArray[Any] | slice) -> "Weighed":
        """Return some of the pairs, by mask, by places or as a slice."""
        return Weighed(
            self.a[which],
            self.b[which],
            self.weight[which],
            self.evidence[which],
            self.may_link[which],
            self.conflict[which],
            self.pattern[which],
            self.patterns,
        )

    def is_edge(self, model: Model) -> NDArray[np.bool_]:
        """Say which pairs are worth keeping, as the index keeps them."""
        return (self.weight >= model.thresholds.review) | (self.conflict > 0)


class Compared(NamedTuple):
    """Pairs of rows as they compare, before anything is weighed, an entry a pair.

    ``codes`` are numbers of patterns; ``given`` and ``family`` say how rare the agreeing names are, whether their level counts it or not.
    """

    codes: Ints
    given: Ints
    family: Ints


class Patterns:
    """The patterns of levels met so far, each weighed once, and graded once where that is asked for."""

    def __init__(self, model: Model) -> None:
        self._model = model
        program = program_of(model.specs)
        self.levels = [program.levels[name] for name in model.fields]
        rivals = len(model.rivals)
        self._parts = [
            np.array(
                [
                    model.parts[name].get(level, (0,) * rivals) if level != MISSING else (0,) * rivals
                    for level in levels
                ],
                np.int64,
            )
            for name, levels in zip(model.fields, self.levels, strict=True)
        ]
        self._reach = 4 * math.prod(map(len, self.levels))
        self._codes = np.empty(0, np.int64)
        self._order = np.empty(0, np.int64)
        """Places of the codes in their order."""
        self.sums = np.empty((0, rivals), np.int64)
        self.given = np.empty((0, rivals), np.bool_)
        self.family = np.empty((0, rivals), np.bool_)
        self.same_number = np.empty(0, np.bool_)
        self.other_number = np.empty(0, np.bool_)
        self._obstacles: dict[int, tuple[str, ...]] = {}
        self._hindered = np.empty(0, np.int8)
        """Whether a safety rule stands in the way; -1 where nobody asked yet."""

    def __len__(self) -> int:
        return len(self._codes)

    def codes(
        self, levels: Sequence[NDArray[np.uint8]], placeholder: NDArray[Any], later: NDArray[Any]
    ) -> Ints:
        """Give every row the number of its pattern, out of level codes a field."""
        code: Ints = placeholder.astype(np.int64) * 2 + later
        for words, column in zip(self.levels, levels, strict=True):
            place = np.zeros(256, np.int64)
            for number, word in enumerate(words):
                place[code_of(word)] = number
            code *= len(words)
            code += place[column]
        return code

    def code_of(self, comparison: Comparison) -> int:
        code = comparison.is_placeholder * 2 + comparison.is_later_birth
        for words, level in zip(self.levels, comparison.levels, strict=True):
            code = code * len(words) + words.index(level)
        return code

    def codes_of(self, places: Ints) -> Ints:
        """Return the numbers of patterns by their place: those stay the same from run to run, places do not."""
        found: Ints = self._codes[places]
        return found

    def levels_of(self, codes: Ints) -> NDArray[np.uint8]:
        """Return for each pattern number a row of places in ``levels``, a field a column."""
        found = np.empty((len(codes), len(self.levels)), np.uint8)
        rest = codes
        for field in reversed(range(len(self.levels))):
            rest, found[:, field] = np.divmod(rest, len(self.levels[field]))
        return found

    def places(self, codes: Ints) -> Ints:
        """Return where each pattern stands in ``sums`` and the others; new ones are weighed first."""
        first, inverse = combined([codes], [self._reach])
        distinct = codes[first]
        self._learn(distinct[~np.isin(distinct, self._codes)])
        if not len(distinct):
            return np.empty(0, np.int64)
        found: Ints = self._order[np.searchsorted(self._codes, distinct, sorter=self._order)][inverse]
        return found

    def _learn(self, codes: Ints) -> None:
        if not len(codes):
            return
        model = self._model
        levels = self.levels_of(codes)
        sums = np.tile(np.array(model.priors, np.int64), (len(codes), 1))
        for field, parts in enumerate(self._parts):
            sums += parts[levels[:, field]]
        self.sums = np.concatenate((self.sums, sums))
        self.given = np.concatenate((self.given, self._counted("given", levels)))
        self.family = np.concatenate((self.family, self._counted("family", levels)))
        self.same_number = np.concatenate(
            (self.same_number, self._has(levels, "nhs_number", ("verified", "claimed")))
        )
        self.other_number = np.concatenate((self.other_number, self._has(levels, "nhs_number", ("differ",))))
        self._hindered = np.concatenate((self._hindered, np.full(len(codes), -1, np.int8)))
        self._codes = np.concatenate((self._codes, codes))
        self._order = np.argsort(self._codes)

    def _has(self, levels: NDArray[np.uint8], field: str, wanted: Iterable[str]) -> NDArray[np.bool_]:
        if field not in self._model.fields:
            return np.zeros(len(levels), np.bool_)
        place = self._model.fields.index(field)
        chosen = np.array([level in wanted for level in self.levels[place]], np.bool_)
        found: NDArray[np.bool_] = chosen[levels[:, place]]
        return found

    def _counted(self, field: str, levels: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Say against which rivals the frequency of an agreeing name counts."""
        model = self._model
        table = model.frequency.get(field)
        against = [table is not None and rival in table.against for rival in model.rivals]
        which = self._has(levels, field, table.levels if table is not None else ())
        return which[:, None] & np.array(against, np.bool_)

    def comparisons(self, places: Ints) -> list[Comparison]:
        """Return patterns as comparisons, without the agreeing names."""
        codes = self._codes[places]
        marks = (codes // (self._reach // 4)).tolist()
        return [
            Comparison(
                tuple(words[level] for words, level in zip(self.levels, row, strict=True)),
                "",
                "",
                mark & 2 != 0,
                mark & 1 != 0,
                self._model.fields,
            )
            for row, mark in zip(self.levels_of(codes).tolist(), marks, strict=True)
        ]

    def obstacles(self, places: Ints) -> list[tuple[str, ...]]:
        """Return the safety rules that stand in the way of patterns."""
        new = [place for place in np.unique(places).tolist() if place not in self._obstacles]
        for place, comparison in zip(new, self.comparisons(np.array(new, np.int64)), strict=True):
            self._obstacles[place] = tuple(safety_obstacles(comparison))
        return [self._obstacles[place] for place in places.tolist()]

    def hindered(self, places: Ints) -> NDArray[np.bool_]:
        """Say which patterns a safety rule stands in the way of."""
        asked = np.zeros(len(self), np.bool_)
        asked[places] = True
        new = np.flatnonzero(asked & (self._hindered < 0))
        self._hindered[new] = [bool(found) for found in self.obstacles(new)]
        found: NDArray[np.bool_] = self._hindered[places] > 0
        return found


class Weigher:
    """Weighs pairs of rows of one table of normalised records."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, records: Records, model: Model) -> None:
        self._connection = connection
        self._model = model
        self.patterns = Patterns(model)
        self._records = records
        self._odd = records.numbers("is_odd")
        self._has_odd = bool(self._odd.any())
        self._steps = Steps(connection, records, program_of(model.specs))
        self._years = records.numbers("birth_0")

    def weigh(self, a: Ints, b: Ints) -> Weighed:
        """Compare, score and grade pairs of rows; the answers stand in the order of the pairs."""
        return self.weigh_compared(a, b, self.compare(a, b))

    def weigh_compared(self, a: Ints, b: Ints, compared: Compared) -> Weighed:
        """As ``weigh``, of pairs that have been compared."""
        return self._scored(a, b, *compared)

    def compare(self, a: Ints, b: Ints) -> Compared:
        """Compare pairs of rows, whatever the model's weights may be; the answers stand in the order of the pairs."""
        odd = self._odd[a] | self._odd[b] if self._has_odd else None
        codes = np.empty(len(a), np.int64)
        given, family = np.zeros(len(a), np.int64), np.zeros(len(a), np.int64)
        plain = np.arange(len(a)) if odd is None else np.flatnonzero(~odd)
        if len(plain):
            said = self._steps.over(a[plain], b[plain])
            levels = [said.words[name] for name in self._model.fields]
            marks = (said.words[name] == _YES for name in ("is_placeholder", "is_later_birth"))
            codes[plain] = self.patterns.codes(levels, *marks)
            decade = np.minimum(self._years[a[plain]], self._years[b[plain]]) // 10
            given[plain] = self._rare("given", said, np.where(said.words["has_decade"] == _YES, decade, -1))
            family[plain] = self._rare("family", said, np.full(len(plain), -1))
        if odd is not None and odd.any():
            self._weigh_odd(a, b, np.flatnonzero(odd), codes, given, family)
        return Compared(codes, given, family)

    def _rare(self, name: str, said: Said, decade: NDArray[Any]) -> Ints:
        """Return how much each pair's agreeing name says by how rare it is, of its decade where one is told."""
        table = self._model.frequency.get(name)
        if table is None or name not in self._model.fields:
            return np.zeros(len(decade), np.int64)
        places, texts = said.texts[f"{name}_value"]
        first, inverse = combined([places, decade + 1], [len(texts), 1_001])
        values = texts.take(pa.array(places[first])).to_pylist()
        parts = [
            table.part(value if ten < 0 else f"{value}|{ten}")
            for value, ten in zip(values, decade[first].tolist(), strict=True)
        ]
        found: Ints = np.array(parts, np.int64)[inverse]
        return found

    def _weigh_odd(self, a: Ints, b: Ints, which: Ints, codes: Ints, given: Ints, family: Ints) -> None:
        rows = np.unique(np.concatenate((a[which], b[which])))
        forms = dict(zip(rows.tolist(), self._records.forms(rows), strict=True))
        for pair in which.tolist():
            comparison = compare(forms[int(a[pair])], forms[int(b[pair])], self._model)
            codes[pair] = self.patterns.code_of(comparison)
            for name, value, parts in (
                ("given", comparison.given, given),
                ("family", comparison.family, family),
            ):
                if name in self._model.frequency:
                    parts[pair] = self._model.frequency[name].part(value)

    def may_join_alone(self, a: Ints, b: Ints) -> NDArray[np.bool_]:
        """Say which pairs are enough where nobody else can be meant, as ``mpi.matching.may_join_alone`` does."""
        sole = self._model.sole
        if sole is None or not len(a):
            return np.zeros(len(a), np.bool_)
        pattern, totals = self._totals(*self.compare(a, b))
        found: NDArray[np.bool_] = (totals + np.array(sole.allowance)).min(
            axis=1
        ) >= self._model.thresholds.live
        kinds, kind = np.unique(pattern, return_inverse=True)
        answered = [sole.answers.issuperset(codes) for codes in self.patterns.obstacles(kinds)]
        return found & np.array(answered, np.bool_)[kind]

    def _totals(self, codes: Ints, given: Ints, family: Ints) -> tuple[Ints, Ints]:
        """Return each pair's pattern, and its weight against every rival."""
        patterns = self.patterns
        pattern = patterns.places(codes)
        totals: Ints = patterns.sums[pattern]
        totals += given[:, None] * patterns.given[pattern]
        totals += family[:, None] * patterns.family[pattern]
        return pattern, totals

    def _scored(self, a: Ints, b: Ints, codes: Ints, given: Ints, family: Ints) -> Weighed:
        patterns = self.patterns
        pattern, totals = self._totals(codes, given, family)
        # The first of equal rivals, as online: they stand in the order of their names.
        best = totals.argmin(axis=1)
        weight = totals[np.arange(len(a)), best] if len(a) else np.empty(0, np.int64)
        evidence = weight - np.array(self._model.priors, np.int64)[best]
        limits = self._model.thresholds
        is_weak = weight < limits.review
        # Below both thresholds safety rules change nothing: most patterns need no grade.
        matters = weight >= min(limits.live, limits.review)
        hindered = np.zeros(len(a), np.bool_)
        hindered[matters] = patterns.hindered(pattern[matters])
        may_link = (weight >= limits.live) & ~hindered
        shared = ~may_link & patterns.same_number[pattern] & (is_weak | hindered)
        two = ~may_link & ~shared & patterns.other_number[pattern] & ~is_weak
        conflict = shared.astype(np.int8) + two.astype(np.int8) * np.int8(2)
        return Weighed(a, b, weight, evidence, may_link, conflict, pattern, patterns)
