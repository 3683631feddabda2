"""Levels for Spark: all that SQL says alike in both engines stays SQL; similarities and edits go to the online comparator's functions.

Spark's own similarity is another one, and a function in Python cannot stand inside a lambda. So each part of a definition that asks
for one (``best``, an ``any`` over similar names, ``one_edit``) becomes a step of its own, before those that need its word. The
other steps are translated; that one is a function over columns of Arrow, compiled from the same definition as the online one.
"""

import ast
from collections import namedtuple
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mpi.bulk.sql import code_of, table_columns
from mpi.matching.definition import COLUMNS, OPEN, PAIRWISES, Program
from mpi.matching.language import (
    Case,
    Choice,
    Let,
    Step,
    choose,
    comparer_source,
    compiled,
    expressions_of,
    in_order,
    names_in,
    pairwise_source,
    parse,
)
from mpi.matching.normalise import Place

_DEAR = frozenset(("best", "similarity", "one_edit"))
_YES, _NO = "agree", "no"


@dataclass(frozen=True, slots=True)
class Near:
    """A step that Python works out. ``asked``: the step that says whether any later one needs it; empty if that is not known before."""

    step: Step
    asked: str
    columns: tuple[tuple[str, str], ...]
    """Record and column, as it reads them."""

    def arguments(self) -> list[str]:
        """Return the table's columns that the function takes, after the word of ``asked``."""
        return [
            f"{record}_{one}"
            for record, column in self.columns
            for one in table_columns(column)
            if not one.endswith("_sounds")
        ]


def split(program: Program) -> tuple[Program, tuple[Near, ...]]:
    """Return the same program with what is dear in steps of their own, and those steps."""
    steps: list[Step] = []
    nears: list[Near] = []
    late: set[str] = set()
    for step in program.steps:
        parting = _Parting(step.choice, frozenset(late), len(nears))
        choice = parting.choice()
        if parting.nears or any(names_in(text) & late for text in expressions_of(step.choice)):
            late.add(step.name)
        steps += [*parting.asks, *(near.step for near in parting.nears), Step(step.name, choice)]
        nears += parting.nears
    return (
        Program(program.fields, program.levels, tuple(in_order(steps)), program.absent),
        tuple(
            Near(Step(near.step.name, Choice(near.step.choice.cases[bool(near.asked) :], near.step.choice.otherwise)),
                 near.asked, near.columns)
            for near in nears
        ),
    )  # fmt: skip


class _Parting:
    """One choice, of which the dear parts are taken out, case by case."""

    def __init__(self, choice: Choice, late: frozenset[str], count: int) -> None:
        self._given, self._late, self._count = choice, set(late), count
        self._before: list[Case | Let] = []
        """What is known beforehand: if one of these cases holds, nothing after it is asked for."""
        self.asks: list[Step] = []
        self.nears: list[Near] = []

    def choice(self) -> Choice:
        cases: list[Case | Let] = []
        for case in self._given.cases:
            if isinstance(case, Let):
                let = Let(case.name, self._without(case.expression))
                if self._is_late(case.expression) or let.expression != case.expression:
                    self._late.add(case.name)
                else:
                    self._before.append(let)
                cases.append(let)
                continue
            condition = self._without(case.condition)
            cases.append(Case(self._value(case.value), condition))
            if condition == case.condition and not self._is_late(condition):
                self._before.append(Case(_NO, condition))
        return Choice(tuple(cases), self._value(self._given.otherwise))

    def _is_late(self, text: str) -> bool:
        return bool(names_in(text) & self._late)

    def _value(self, value: str) -> str:
        return "=" + self._without(value[1:]) if value.startswith("=") else value

    def _without(self, text: str) -> str:
        tree = parse(text)
        return ast.unparse(_Replace(self).visit(tree)) if _asks(tree, _DEAR) else text

    def name(self, node: ast.expr, guards: Sequence[ast.expr]) -> ast.expr:
        """Take a dear part out, and return what stands for it."""
        number = self._count + len(self.nears) + 1
        said = ast.unparse(node)
        cheap = [guard for guard in map(ast.unparse, guards) if not self._is_late(guard)]
        before = [*self._before, *([Case(_NO, f"not ({' and '.join(cheap)})")] if cheap else [])]
        asked = f"ask_{number}" if any(isinstance(one, Case) for one in before) else ""
        is_level = isinstance(node, ast.Call) and _called(node) == "best"
        choice = choose(otherwise=f"={said}") if is_level else choose((_YES, said), otherwise="differ")
        if asked:
            self.asks.append(Step(asked, Choice(tuple(before), _YES)))
            choice = Choice((Case(OPEN, f"{asked} == {_NO!r}"), *choice.cases), choice.otherwise)
        self.nears.append(Near(Step(f"near_{number}", choice), asked, _columns(node)))
        self._late.add(f"near_{number}")
        word = ast.Name(f"near_{number}", ast.Load())
        return word if is_level else ast.Compare(word, [ast.Eq()], [ast.Constant(_YES)])


class _Replace(ast.NodeTransformer):
    def __init__(self, parting: _Parting) -> None:
        self._parting = parting
        self._guards: list[ast.expr] = []

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        # What stands before it in an "and" must hold, or it is not asked for; in an "or" it must not.
        held = len(self._guards)
        for place, value in enumerate(node.values):
            is_cheap = not _asks(value, _DEAR)
            node.values[place] = self.visit(value)
            if is_cheap:
                self._guards.append(value if isinstance(node.op, ast.And) else ast.UnaryOp(ast.Not(), value))
        del self._guards[held:]
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if _called(node) in ("best", "any", "one_edit") and _asks(node, _DEAR):
            return self._parting.name(node, self._guards)
        return self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        if isinstance(node.left, ast.Call) and _called(node.left) == "similarity":
            return self._parting.name(node, self._guards)
        return self.generic_visit(node)


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _asks(tree: ast.AST, functions: frozenset[str]) -> bool:
    return any(isinstance(node, ast.Call) and _called(node) in functions for node in ast.walk(tree))


def _columns(node: ast.expr) -> tuple[tuple[str, str], ...]:
    found = {
        (one.value.id, one.attr): None
        for one in ast.walk(node)
        if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name) and one.value.id in ("a", "b")
    }
    return tuple(sorted(found))


# Over columns of Arrow -----------------------------------------------------------------------------------------


def worked_out(near: Near, arrays: Sequence[pa.Array]) -> pa.Array:
    """Return the code of the step's word for every row; where it is not asked for, that of ``open``.

    Args:
        arrays: if there is a step ``asked``, its codes; then the columns of ``Near.arguments``.
    """
    compare = _compiled(near.step)
    codes = pa.repeat(pa.scalar(code_of(OPEN), pa.int8()), len(arrays[0]))
    columns = list(arrays)
    wanted = None
    if near.asked:
        wanted = pc.not_equal(columns.pop(0), code_of(_NO))
        columns = [column.filter(wanted) for column in columns]
    sides: dict[str, dict[str, list[Any]]] = {"a": {}, "b": {}}
    for record, name in near.columns:
        width = 3 if COLUMNS[name] == "date" else 1
        taken, columns = columns[:width], columns[width:]
        sides[record][name] = _values(taken, COLUMNS[name])
    one, other = (_rows(sides[record]) for record in ("a", "b"))
    found = pa.array([code_of(compare(a, b, None)[0]) for a, b in zip(one, other, strict=True)], pa.int8())
    return found if wanted is None else pc.replace_with_mask(codes, wanted, found)


@lru_cache(maxsize=256)
def _compiled(step: Step) -> Callable[..., Any]:
    pairwises = "".join(pairwise_source(name, pairwise) for name, pairwise in PAIRWISES.items())
    words = {f"WORDS_{name}": pairwise.ranks for name, pairwise in PAIRWISES.items()}
    return compiled(pairwises + comparer_source([step], [step.name], (), ()), "compare", **words)


@lru_cache(maxsize=256)
def _side_of(columns: tuple[str, ...]) -> Any:
    """Return the type of a record that has these columns alone."""
    make: Any = namedtuple
    return make("Side", columns)


def _rows(columns: dict[str, list[Any]]) -> list[Any]:
    return list(map(_side_of(tuple(columns))._make, zip(*columns.values(), strict=True)))


def _values(arrays: Sequence[Any], kind: str) -> list[Any]:
    """Return a column's values as a normalised record has them."""
    if kind == "date":
        return list(zip(*(array.to_pylist() for array in arrays), strict=True))
    (array,) = arrays
    if kind not in ("texts", "places"):
        values: list[Any] = array.to_pylist()
        return values
    flat = array.flatten()
    if kind == "texts":
        each = flat.to_pylist()
    else:
        parts = (flat.field(name).to_pylist() for name in ("postcode", "numbers", "words", "is_shared"))
        each = list(map(Place._make, zip(*parts, strict=True)))
    lists, start = [], 0
    for length in array.value_lengths().to_pylist():
        lists.append(tuple(each[start : start + length]))
        start += length
    return lists
