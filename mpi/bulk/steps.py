"""A comparison step by step over many pairs of rows, where each step asks the engine only once for every distinct pair of values.

Pairs repeat values far more often than rows: two Smiths meet many other two Smiths. So a step is worked out for the distinct
combinations of what it looks at, and a step that earlier steps decide already looks at nothing.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mpi.bulk.records import Records, combined
from mpi.bulk.sql import (
    NOT_SAID,
    TOLD,
    WORD_COUNT,
    asked_columns,
    best_lists,
    code_of,
    step_statement,
    table_columns,
    word_of,
)
from mpi.matching.definition import Program
from mpi.matching.language import Choice, Let, Step, expressions_of, names_in, parse

Ints = NDArray[np.int64]
Codes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Said:
    """What steps came to, an entry a pair: words as numbers (``code_of``), and texts as places in an array."""

    words: Mapping[str, Codes]
    texts: Mapping[str, tuple[NDArray[np.int32], Any]]


@dataclass(frozen=True, slots=True)
class _Plan:
    """A step, and what it looks at: columns of the records, words and texts of earlier steps.

    ``columns`` and ``statements`` are those for lists of ``best`` that hold one value at most, and for longer ones.
    """

    step: Step
    columns: Mapping[bool, tuple[str, ...]]
    words: tuple[str, ...]
    texts: tuple[str, ...]
    gives_text: bool
    groups: tuple[int, ...]
    statements: Mapping[bool, str]
    lists: tuple[str, ...]


class Steps:
    """Works out a program's steps over pairs of rows of one table. Letters outside ASCII are not for it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, records: Records, program: Program) -> None:
        self._connection, self._records, self._program = connection, records, program
        values = {"given_value", "family_value"}
        steps = (*program.steps, *TOLD)
        words = {step.name for step in steps} - values
        self._plans = [self._plan(step, words, values) for step in steps]
        self._known: dict[tuple[str, tuple[int, ...]], int] = {}
        self._several: dict[str, NDArray[np.bool_]] = {}
        self._columns: dict[str, tuple[int, Any]] = {}
        for group, one in enumerate(records.groups):
            for name in one.values.column_names:
                self._columns[name] = (group, one.values.column(name).combine_chunks())
        for name in best_lists(program):
            group, lists = self._columns[name]
            size = pc.list_value_length(lists).to_numpy()
            self._several[name] = size > 1
            for first, column in _firsts(name, self._columns, size).items():
                self._columns[first] = (group, column)

    def _plan(self, step: Step, words: set[str], values: set[str]) -> _Plan:
        columns = {single: asked_columns(step, single=single) for single in (True, False)}
        asked = {name for text in expressions_of(step.choice) for name in names_in(text)}
        lists = best_lists(Program((), {}, (step,), frozenset()))
        groups = dict.fromkeys(self._records.group_of(name) for name in columns[False])
        return _Plan(
            step,
            columns,
            tuple(sorted(asked & words)),
            tuple(sorted(asked & values)),
            step.name in values,
            tuple(groups),
            {
                single: step_statement(step, self._program, "bulk_pairs", single=single)
                for single in (True, False)
            },
            lists,
        )

    def over(self, a: Ints, b: Ints) -> Said:
        """Work out all steps for pairs of rows."""
        words: dict[str, Codes] = {}
        texts: dict[str, tuple[NDArray[np.int32], Any]] = {}
        rows: dict[int, tuple[NDArray[np.int32], NDArray[np.int32]]] = {}
        for plan in self._plans:
            for group in plan.groups:
                if group not in rows:
                    rows[group] = (
                        self._records.groups[group].places(a),
                        self._records.groups[group].places(b),
                    )
            said = self._decided(plan, words, len(a))
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

    def _decided(self, plan: _Plan, words: Mapping[str, Codes], count: int) -> Codes:
        """Return what earlier steps alone decide, NOT_SAID where they do not."""
        if not plan.words:
            return np.full(count, self._foreseen(plan, ()), np.uint8)
        first, inverse = combined([words[name] for name in plan.words], [WORD_COUNT] * len(plan.words))
        met = zip(*(words[name][first].tolist() for name in plan.words), strict=True)
        said = np.array([self._foreseen(plan, codes) for codes in met], np.uint8)
        found: Codes = said[inverse]
        return found

    def _foreseen(self, plan: _Plan, codes: tuple[int, ...]) -> int:
        """Return what a step comes to if all it asks for is words, and those are these."""
        known = self._known.get((plan.step.name, codes))
        if known is None:
            words = dict(zip(plan.words, map(word_of, codes), strict=True))
            word = _foreseen(plan.step.choice, dict.fromkeys(self._program.absent, "missing") | words)
            # A step that gives a text can only be foreseen to give none; the number then says nothing but that.
            known = NOT_SAID if word is None else code_of(word) if word else 0
            self._known[plan.step.name, codes] = known
        return known

    def _looked_at(
        self,
        plan: _Plan,
        which: Ints,
        rows: Mapping[int, tuple[NDArray[np.int32], NDArray[np.int32]]],
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
        for name in plan.words:
            sides.append(words[name][which])
            sizes.append(WORD_COUNT)
        for name in plan.texts:
            sides.append(texts[name][0][which])
            sizes.append(len(texts[name][1]))
        first, inverse = combined(sides, sizes)
        pairs = which[first]
        several = np.zeros(len(pairs), np.bool_)
        for name in plan.lists:
            for side in rows[self._records.group_of(name)]:
                several |= self._several[name][side[pairs]]
        parts, order = [], []
        for single, some in ((True, np.flatnonzero(~several)), (False, np.flatnonzero(several))):
            if not len(some):
                continue
            chosen = pairs[some]
            columns: dict[str, Any] = {"pair": pa.array(np.arange(len(chosen)))}
            for place, letter in enumerate("ab"):
                for name in plan.columns[single]:
                    group, column = self._columns[name]
                    columns[f"{letter}_{name}"] = column.take(pa.array(rows[group][place][chosen]))
            columns |= {f"step_{name}": pa.array(words[name][chosen]) for name in plan.words}
            columns |= {name: texts[name][1].take(pa.array(texts[name][0][chosen])) for name in plan.texts}
            parts.append(self._asked(pa.table(columns), plan.statements[single]))
            order.append(some)
        found = pa.concat_arrays(parts)
        if len(parts) > 1:
            back = np.empty(len(pairs), np.int64)
            back[np.concatenate(order)] = np.arange(len(pairs))
            found = found.take(pa.array(back))
        return found, inverse

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


def _firsts(name: str, columns: Mapping[str, tuple[int, Any]], size: NDArray[Any]) -> dict[str, Any]:
    """Return a list's ``first_columns``: its length, and of its first value what ``best`` may ask."""
    found: dict[str, Any] = {f"{name}_size": pa.array(np.minimum(size, 255).astype(np.uint8))}
    for column in table_columns(name):
        lists = columns[column][1]
        starts = lists.offsets.to_numpy()[:-1]
        # An empty list has no first value: it stands for nothing, and nobody looks at it.
        places = pa.array(np.where(size > 0, starts, 0), mask=size == 0)
        first = lists.values.take(places)
        if pa.types.is_struct(first.type):
            parts = {f"{column}_1_{one.name}": pc.struct_field(first, one.name) for one in first.type}
        else:
            parts = {f"{column}_1": first}
        found |= {
            one: values.fill_null("" if values.type == pa.string() else False)
            for one, values in parts.items()
        }
    return found


# What earlier steps decide -------------------------------------------------------------------------------------


_parsed = cache(parse)
"""Nobody changes a tree here."""


class _Unknown:
    """What only the records tell."""


_UNKNOWN = _Unknown()


def _foreseen(choice: Choice, words: Mapping[str, str]) -> str | None:
    """Return the word that a choice comes to whatever the records hold; None where they matter."""
    known: dict[str, Any] = dict(words)

    def value(text: str) -> Any:
        return _evaluated(_parsed(text[1:]), known) if text.startswith("=") else text

    found: Any = None
    for case in choice.cases:
        if isinstance(case, Let):
            known[case.name] = _evaluated(_parsed(case.expression), known)
            continue
        holds = _evaluated(_parsed(case.condition), known)
        if holds is _UNKNOWN:
            return None
        if holds:
            found = value(case.value)
            break
    else:
        found = value(choice.otherwise)
    return None if found is _UNKNOWN else str(found)


def _evaluated(node: ast.expr, known: Mapping[str, Any]) -> Any:
    """Evaluate an expression as far as words of steps go."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return known.get(name, _UNKNOWN)
        case ast.Tuple(elts=elements):
            return tuple(ast.literal_eval(element) for element in elements)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            found = _evaluated(operand, known)
            return _UNKNOWN if found is _UNKNOWN else not found
        case ast.BoolOp(op=op, values=values):
            decides = isinstance(op, ast.Or)
            sides = [_evaluated(value, known) for value in values]
            if any(side is not _UNKNOWN and bool(side) is decides for side in sides):
                return decides
            return _UNKNOWN if any(side is _UNKNOWN for side in sides) else not decides
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            one, other = _evaluated(left, known), _evaluated(right, known)
            if one is _UNKNOWN or other is _UNKNOWN:
                return _UNKNOWN
            if isinstance(op, ast.Eq | ast.NotEq):
                return (one == other) is isinstance(op, ast.Eq)
            if isinstance(op, ast.In | ast.NotIn):
                return (one in other) is isinstance(op, ast.In)
    return _UNKNOWN
