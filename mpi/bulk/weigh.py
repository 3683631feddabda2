"""Pairs of rows compared, scored and graded: levels by SQL, and each pattern of levels weighed once by ``mpi.matching``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mpi.bulk.records import Records
from mpi.bulk.sql import best_lists, code_of, columns_of, compare_statement, table_columns
from mpi.matching import Comparison, Model, compare, safety_obstacles, shares_number
from mpi.matching.decide import NUMBERS_CONFLICT, SAME_NUMBER_CONFLICT
from mpi.matching.definition import program_of
from mpi.matching.score import pattern_of

Ints = NDArray[np.int64]

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

    def __len__(self) -> int:
        return len(self.a)

    def kept(self, which: NDArray[Any]) -> "Weighed":
        """Return some of the pairs, by mask or by places."""
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
    """The patterns of levels met so far, each weighed and graded once."""

    def __init__(self, model: Model) -> None:
        self._model = model
        program = program_of(model.specs)
        self.levels = [program.levels[name] for name in model.fields]
        self._places: dict[int, int] = {}
        self._codes: list[int] = []
        self.comparisons: list[Comparison] = []
        self.obstacles: list[tuple[str, ...]] = []
        rivals = len(model.rivals)
        self.sums = np.empty((0, rivals), np.int64)
        self.given = np.empty((0, rivals), np.bool_)
        self.family = np.empty((0, rivals), np.bool_)
        self.marks = np.empty((0, 3), np.bool_)
        """Has obstacles; the numbers are the same; the numbers differ."""

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
        return np.array(self._codes, np.int64)[places]

    def levels_of(self, codes: Ints) -> NDArray[np.uint8]:
        """Return for each pattern number a row of places in ``levels``, a field a column."""
        found = np.empty((len(codes), len(self.levels)), np.uint8)
        rest = codes
        for field in reversed(range(len(self.levels))):
            rest, found[:, field] = np.divmod(rest, len(self.levels[field]))
        return found

    def places(self, codes: Ints) -> Ints:
        """Return where each pattern stands in ``comparisons``; new ones are weighed first."""
        if not len(codes):
            return np.empty(0, np.int64)
        distinct, inverse = np.unique(codes, return_inverse=True)
        self._learn([code for code in distinct.tolist() if code not in self._places])
        where = np.array([self._places[code] for code in distinct.tolist()], np.int64)
        return where[inverse]

    def _learn(self, codes: Sequence[int]) -> None:
        if not codes:
            return
        sums, given, family, marks = [], [], [], []
        none = (False,) * len(self._model.rivals)
        for code in codes:
            comparison = self._read(code)
            pattern = pattern_of(comparison.levels, self._model)
            obstacles = tuple(safety_obstacles(comparison))
            self._places[code] = len(self.comparisons)
            self._codes.append(code)
            self.comparisons.append(comparison)
            self.obstacles.append(obstacles)
            sums.append(pattern.sums)
            given.append(pattern.given or none)
            family.append(pattern.family or none)
            differ = comparison.level("nhs_number") == "differ"
            marks.append((bool(obstacles), shares_number(comparison), differ))
        self.sums = np.concatenate((self.sums, np.array(sums, np.int64)))
        self.given = np.concatenate((self.given, np.array(given, np.bool_)))
        self.family = np.concatenate((self.family, np.array(family, np.bool_)))
        self.marks = np.concatenate((self.marks, np.array(marks, np.bool_)))

    def _read(self, code: int) -> Comparison:
        levels = []
        for words in reversed(self.levels):
            code, place = divmod(code, len(words))
            levels.append(words[place])
        return Comparison(tuple(reversed(levels)), "", "", bool(code & 2), bool(code & 1), self._model.fields)


class Weigher:
    """Weighs pairs of rows of one table of normalised records."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, records: Records, model: Model) -> None:
        self._connection = connection
        self._model = model
        self.patterns = Patterns(model)
        program = program_of(model.specs)
        asked = columns_of(program)
        names = [one for name in sorted(asked) for one in table_columns(name)]
        names += [f"{name}_part" for name in ("given", "family") if name in model.frequency]
        self._records = records
        self._asked = list(dict.fromkeys(names))
        self._odd = records.numbers("is_odd")
        self._has_odd = bool(self._odd.any())
        self._statements = {
            single: _with_frequencies(
                connection, compare_statement(program, "bulk_pairs", ("pair",), single=single), model
            )
            for single in (True, False)
        }
        self._several = np.zeros(records.size, np.bool_)
        for name in best_lists(program):
            self._several |= records.lengths(name) > 1

    def weigh(self, a: Ints, b: Ints) -> Weighed:
        """Compare, score and grade pairs of rows; the answers stand in the order of the pairs."""
        return self._scored(a, b, *self.compare(a, b))

    def compare(self, a: Ints, b: Ints) -> Compared:
        """Compare pairs of rows, whatever the model's weights may be; the answers stand in the order of the pairs."""
        odd = self._odd[a] | self._odd[b] if self._has_odd else None
        codes = np.empty(len(a), np.int64)
        given, family = np.zeros(len(a), np.int64), np.zeros(len(a), np.int64)
        plain = np.arange(len(a)) if odd is None else np.flatnonzero(~odd)
        several = self._several[a[plain]] | self._several[b[plain]]
        for single, some in ((True, plain[~several]), (False, plain[several])):
            if not len(some):
                continue
            found = self._levels(a[some], b[some], self._statements[single])
            at = some[found["pair"]]
            levels = [found[f"level_{name}"] for name in self._model.fields]
            codes[at] = self.patterns.codes(levels, found["is_placeholder"], found["is_later_birth"])
            given[at], family[at] = found["given_part"], found["family_part"]
        if odd is not None and odd.any():
            self._weigh_odd(a, b, np.flatnonzero(odd), codes, given, family)
        return Compared(codes, given, family)

    def _levels(self, a: Ints, b: Ints, statement: str) -> Mapping[str, NDArray[Any]]:
        columns: dict[str, Any] = {"pair": pa.array(np.arange(len(a), dtype=np.int64))}
        for letter, rows in (("a", a), ("b", b)):
            taken = self._records.taken(self._asked, rows)
            columns |= {f"{letter}_{name}": column for name, column in taken.items()}
        self._connection.register("bulk_pairs", pa.table(columns))
        try:
            found = self._connection.sql(statement).to_arrow_table()
        finally:
            self._connection.unregister("bulk_pairs")
        return {name: found.column(name).to_numpy() for name in found.column_names}

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

    def _scored(self, a: Ints, b: Ints, codes: Ints, given: Ints, family: Ints) -> Weighed:
        patterns = self.patterns
        pattern = patterns.places(codes)
        totals = patterns.sums[pattern]
        totals += given[:, None] * patterns.given[pattern]
        totals += family[:, None] * patterns.family[pattern]
        # The first of equal rivals, as online: they stand in the order of their names.
        best = totals.argmin(axis=1)
        weight = totals[np.arange(len(a)), best] if len(a) else np.empty(0, np.int64)
        evidence = weight - np.array(self._model.priors, np.int64)[best]
        limits = self._model.thresholds
        has_obstacle, same, differ = patterns.marks[pattern].T
        may_link = (weight >= limits.live) & ~has_obstacle
        is_weak = weight < limits.review
        shared = ~may_link & same & (is_weak | has_obstacle)
        two = ~may_link & ~shared & differ & ~is_weak
        conflict = shared.astype(np.int8) + two.astype(np.int8) * np.int8(2)
        return Weighed(a, b, weight, evidence, may_link, conflict, pattern, patterns)


def _with_frequencies(connection: duckdb.DuckDBPyConnection, statement: str, model: Model) -> str:
    """Add to a comparison how rare its agreeing names are, from tables of the model."""
    parts, joins = [], []
    for name in ("given", "family"):
        table = model.frequency.get(name)
        if table is None or name not in model.fields:
            parts.append(f"0 AS {name}_part")
            continue
        for by_decade in (False, True):
            rows = [
                (value.partition("|")[0], int(value.partition("|")[2] or -1), part)
                for value, part in table.values.items()
                if ("|" in value) == by_decade
            ]
            kind = "decade" if by_decade else "name"
            listed = pa.table(
                {
                    "value": pa.array([row[0] for row in rows], pa.string()),
                    "decade": pa.array([row[1] for row in rows], pa.int32()),
                    "part": pa.array([row[2] for row in rows], pa.int32()),
                }
            )
            connection.register("bulk_listed", listed)
            connection.execute(
                f"CREATE OR REPLACE TEMP TABLE {name}_by_{kind} AS SELECT * FROM bulk_listed"
            ).fetchall()
            connection.unregister("bulk_listed")
        joins.append(f"LEFT JOIN {name}_by_name AS {name}_n ON {name}_n.value = c.{name}_value")
        asked = [f"{name}_n.part", str(table.unlisted)]
        if name == "given":
            joins.append(
                "LEFT JOIN given_by_decade AS given_d ON given_d.value = c.given_value AND given_d.decade = c.decade"
            )
            asked.insert(0, "given_d.part")
        parts.append(f"coalesce({', '.join(asked)}) AS {name}_part")
    return f"SELECT c.* EXCLUDE (given_value, family_value, decade), {', '.join(parts)} FROM ({statement}) AS c {' '.join(joins)}"
