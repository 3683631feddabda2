"""A comparison step by step over many pairs of rows, where each step asks the engine only once for every distinct pair of values.

Pairs repeat values far more often than rows: two Smiths meet many other two Smiths. So a step is worked out for the distinct
combinations of what it looks at, and a step that earlier steps decide already looks at nothing.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mpi.bulk.elements import Bests
from mpi.bulk.foresee import Facts, Foresight, Rows, Values, Which
from mpi.bulk.records import Places, Records, combined
from mpi.bulk.sql import (
    NOT_SAID,
    TOLD,
    WORD_COUNT,
    Best,
    asked_columns,
    bests_of,
    code_of,
    step_statement,
    table_columns,
    word_of,
)
from mpi.matching.definition import Program
from mpi.matching.language import Choice, Step, expressions_of, names_in

Ints = NDArray[np.int64]
Codes = NDArray[np.uint8]

FACTS_FROM = 20_000
"""Pairs at once from which facts are worked out: that is some work for every value of a table, whatever pairs come."""


@dataclass(frozen=True, slots=True)
class Said:
    """What steps came to, an entry a pair: words as numbers (``code_of``), and texts as places in an array."""

    words: Mapping[str, Codes]
    texts: Mapping[str, tuple[NDArray[np.int32], Any]]


@dataclass(frozen=True, slots=True)
class _Plan:
    """A step, and what it looks at: columns of the records and their groups, words and texts of earlier steps, ``best`` of lists."""

    step: Step
    foresight: Foresight
    columns: tuple[str, ...]
    groups: tuple[int, ...]
    words: tuple[str, ...]
    texts: tuple[str, ...]
    bests: tuple[Best, ...]
    statement: str
    gives_text: bool


class _Rows(dict[int, tuple[Places, Places]]):
    """Of each group of columns, which value either row of a pair has."""

    def __init__(self, records: Records, a: Ints, b: Ints) -> None:
        super().__init__()
        self._records, self._a, self._b = records, a, b

    def __missing__(self, group: int) -> tuple[Places, Places]:
        one = self._records.groups[group]
        self[group] = one.places(self._a), one.places(self._b)
        return self[group]


@cache
def _foresight(choice: Choice, absent: frozenset[str], groups: tuple[tuple[str, ...], ...]) -> Foresight:
    """Return a choice's foresight where columns stand in these groups: working it out costs more than a small table's pairs."""
    group_of = {name: place for place, names in enumerate(groups) for name in names}
    return Foresight(choice, absent, lambda column: group_of[table_columns(column)[0]])


class Steps:
    """Works out a program's steps over pairs of rows of one table. Letters outside ASCII are not for it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, records: Records, program: Program) -> None:
        self._connection, self._records, self._program = connection, records, program
        values = {"given_value", "family_value"}
        steps = (*program.steps, *TOLD)
        words = {step.name for step in steps} - values
        self._groups = tuple(tuple(one.values.column_names) for one in records.groups)
        self._plans = [self._plan(step, words, values) for step in steps]
        self._known: dict[tuple[str | int, ...], tuple[int, int]] = {}
        facts = (fact for plan in self._plans if not plan.gives_text for fact in plan.foresight.facts)
        self._values = Values(connection, records, facts)
        self._bests = Bests(connection, records)
        self._facts: dict[str, Facts] = {}
        self._columns = {
            name: one.values.column(name).combine_chunks()
            for one in records.groups
            for name in one.values.column_names
        }

    def _plan(self, step: Step, words: set[str], values: set[str]) -> _Plan:
        columns = asked_columns(step)
        asked = {name for text in expressions_of(step.choice) for name in names_in(text)}
        return _Plan(
            step,
            _foresight(step.choice, self._program.absent, self._groups),
            columns,
            tuple(dict.fromkeys(map(self._records.group_of, columns))),
            tuple(sorted(asked & words)),
            tuple(sorted(asked & values)),
            bests_of(step),
            step_statement(step, self._program, "bulk_pairs"),
            step.name in values,
        )

    def _group_of(self, column: str) -> int:
        """Return the group that holds a column of a normalised record."""
        return self._records.group_of(table_columns(column)[0])

    def over(self, a: Ints, b: Ints) -> Said:
        """Work out all steps for pairs of rows."""
        words: dict[str, Codes] = {}
        texts: dict[str, tuple[NDArray[np.int32], Any]] = {}
        rows = _Rows(self._records, a, b)
        for plan in self._plans:
            said = self._decided(plan, words, rows, len(a))
            open_ = np.flatnonzero(said == NOT_SAID)
            found: Any = pa.array([], pa.string())
            inverse = np.zeros(0, np.int32)
            if len(open_):
                found, inverse = self._looked_at(plan, open_, rows, words, texts)
            if not plan.gives_text:
                if len(open_):
                    said[open_] = found.to_numpy()[inverse]
                words[plan.step.name] = said
                continue
            # What is decided without a look is that there is no text.
            encoded = pa.concat_arrays([pa.array([""], pa.string()), found]).dictionary_encode()
            places = np.zeros(len(a), np.int32)
            places[open_] = encoded.indices.to_numpy()[1:][inverse]
            texts[plan.step.name] = (places, encoded.dictionary)
        return Said(words, texts)

    def _decided(self, plan: _Plan, words: Mapping[str, Codes], rows: Rows, count: int) -> Codes:
        """Return what earlier steps decide, then facts of one record, then equalities; NOT_SAID where none of them does."""
        looked = _Looked(count, self._foreseen(plan, None, ())[0])
        if plan.words:
            columns = (words[name][looked.open] for name in plan.words)
            looked.further(columns, [WORD_COUNT] * len(plan.words), partial(self._foreseen, plan, None))
        facts = self._facts_of(plan, looked.count)
        if facts is not None:
            ask = partial(self._foreseen, plan, facts)
            looked.further(facts.told(rows, looked.open), facts.sizes, ask)
            if looked.count:
                needed = looked.each(lambda numbers: ask(numbers)[1])
                looked.further([facts.equal(rows, looked.open, needed)], [facts.equalities], ask)
        return looked.said

    def _facts_of(self, plan: _Plan, count: int) -> Facts | None:
        """Return the facts that a step asks for; none for few pairs, for which it costs less to look at the texts."""
        if plan.gives_text or not plan.foresight.facts:
            return None
        if plan.step.name not in self._facts:
            if count < FACTS_FROM:
                return None
            self._facts[plan.step.name] = Facts(plan.foresight, self._values)
        return self._facts[plan.step.name]

    def _foreseen(self, plan: _Plan, facts: Facts | None, numbers: tuple[int, ...]) -> tuple[int, int]:
        """Return what a step comes to where words, and then facts, are these; and which equalities it would need (``Facts.needed``)."""
        key: tuple[str | int, ...] = (plan.step.name, facts is not None, *numbers)
        found = self._known.get(key)
        if found is None:
            known: dict[str, Any] = dict(zip(plan.words, map(word_of, numbers), strict=False))
            if facts is not None:
                so_far = len(plan.words) + len(facts.sizes)
                told, equal = numbers[len(plan.words) : so_far], numbers[so_far:]
                needed = self._foreseen(plan, facts, numbers[:so_far])[1] if equal else 0
                known |= facts.says(told, needed, *equal)
            word, missed = plan.foresight.told(known)
            # A step that gives a text can only be foreseen to give none; the number then says nothing but that.
            code = NOT_SAID if word is None else code_of(word) if word else 0
            found = self._known[key] = code, facts.needed(missed) if facts is not None else 0
        return found

    def _looked_at(
        self,
        plan: _Plan,
        which: Ints,
        rows: Rows,
        words: Mapping[str, Codes],
        texts: Mapping[str, tuple[NDArray[np.int32], Any]],
    ) -> tuple[Any, NDArray[np.int32]]:
        """Ask the engine about the distinct combinations of what a step looks at.

        Returns:
            What it says of each, and which of them each pair is.
        """
        sides: list[NDArray[Any]] = []
        sizes: list[int] = []
        for group in plan.groups:
            for side in rows[group]:
                sides.append(side[which])
                sizes.append(self._records.groups[group].values.num_rows)
        small = {f"step_{name}": words[name][which] for name in plan.words}
        for best in plan.bests:
            lists = (rows[self._group_of(names[0])][side][which] for side, names in enumerate(best.lists))
            small[f"best_{best.pairwise}"] = self._bests.of(best, *lists)
        sides += small.values()
        sizes += [WORD_COUNT] * len(small)
        for name in plan.texts:
            sides.append(texts[name][0][which])
            sizes.append(len(texts[name][1]))
        first, inverse = combined(sides, sizes)
        columns: dict[str, Any] = {"pair": pa.array(np.arange(len(first)))}
        for name in plan.columns:
            for letter, side in zip("ab", rows[self._records.group_of(name)], strict=True):
                columns[f"{letter}_{name}"] = self._columns[name].take(pa.array(side[which[first]]))
        columns |= {name: pa.array(codes[first]) for name, codes in small.items()}
        columns |= {name: texts[name][1].take(pa.array(texts[name][0][which[first]])) for name in plan.texts}
        return self._asked(pa.table(columns), plan.statement), inverse

    def _asked(self, pairs: pa.Table, statement: str) -> Any:
        self._connection.register("bulk_pairs", pairs)
        try:
            answer = self._connection.sql(statement).to_arrow_table()
        finally:
            self._connection.unregister("bulk_pairs")
        found = answer.column("said").combine_chunks()
        place = answer.column("pair").to_numpy()
        if not (place[1:] > place[:-1]).all():
            found = found.take(pa.array(np.argsort(place)))
        return found


class _Looked:
    """What small numbers came to for pairs so far: a word's code each, and which pairs are still open."""

    def __init__(self, count: int, said: int) -> None:
        self.said = np.full(count, said, np.uint8)
        self.open: Which = slice(None) if said == NOT_SAID else np.empty(0, np.int64)
        """Which pairs are open; a slice if all of them are, which is no work to take."""
        self.count = count if said == NOT_SAID else 0
        self._met: list[tuple[int, ...]] = [()]
        self._place = np.zeros(self.count, np.int32)
        """Of each open pair the place in ``_met`` of the numbers that it had so far."""

    def each(self, says: Callable[[tuple[int, ...]], int]) -> NDArray[np.int32]:
        """Return for every open pair what is said of its numbers so far."""
        found: NDArray[np.int32] = np.array([says(numbers) for numbers in self._met], np.int32)[self._place]
        return found

    def further(
        self,
        columns: Iterable[NDArray[Any]],
        sizes: Sequence[int],
        says: Callable[[tuple[int, ...]], tuple[int, int]],
    ) -> None:
        """Look at more numbers of the open pairs. ``says`` is asked once for every combination that is met."""
        if not self.count:
            return
        reach = len(self._met) * math.prod(sizes)
        code: NDArray[Any] = self._place.astype(np.int32 if reach < 1 << 31 else np.int64)
        for column, size in zip(columns, sizes, strict=True):
            code *= size
            code += column
        if reach <= _LOOK_UP:
            is_met = np.zeros(reach, np.bool_)
            is_met[code] = True
            distinct: NDArray[Any] = np.flatnonzero(is_met)
            by_code = np.zeros(reach, np.int32)
            by_code[distinct] = np.arange(len(distinct))
            place = by_code[code]
        else:
            first, place = combined([code.astype(np.int64)], [reach])
            distinct = code[first]
        self._met = [self._numbers(one, sizes) for one in distinct.tolist()]
        found = np.array([says(numbers)[0] for numbers in self._met], np.uint8)[place]
        self.said[self.open] = found
        still = np.flatnonzero(found == NOT_SAID)
        self._place = place
        if len(still) < self.count:
            self.open = still if isinstance(self.open, slice) else self.open[still]
            self.count = len(still)
            self._place = place[still]

    def _numbers(self, code: int, sizes: Sequence[int]) -> tuple[int, ...]:
        numbers: list[int] = []
        for size in reversed(sizes):
            code, number = divmod(code, size)
            numbers.append(number)
        return (*self._met[code], *reversed(numbers))


_LOOK_UP = 1 << 20
"""Numbers below this are looked up in a table; greater ones are told apart by sorting."""
