"""The small closed language in which levels, agreeing values and blocking keys are stated, and its compiler to Python.

A condition is an expression over two normalised records ``a`` and ``b`` (``x`` and ``y`` where two single values are compared): their
columns, the names of steps before it, ``and or not``, comparisons, ``any(... for ... in ...)`` and the functions of ``VOCABULARY``.
Nothing else is accepted, so that a definition means the same wherever it is compiled: here to Python, in ``mpi.bulk`` to SQL.
"""

import ast
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from mpi.matching import text

VOCABULARY: Mapping[str, Callable[..., Any]] = {
    "similarity": text.similarity,
    "one_edit": text.one_edit,
    "sound": text.sound,
    "digits": text.digits,
    "count_words": text.count_words,
    "count_common": text.count_common,
    "telling_words": text.telling_words,
    "outward_of": text.outward_of,
    "system_of": text.system_of,
    "value_of": text.value_of,
}
"""Functions of texts. ``len``, ``min``, ``max`` and ``any`` are Python's; ``best`` and ``commoner`` are told below."""

_BUILT_IN = frozenset(("len", "min", "max", "any", "best", "commoner"))
_NODES = (
    ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In,
    ast.NotIn, ast.Name, ast.Load, ast.Store, ast.Attribute, ast.Subscript, ast.Constant, ast.Call, ast.GeneratorExp,
    ast.comprehension, ast.BinOp, ast.Add, ast.Mult, ast.Tuple, ast.JoinedStr, ast.FormattedValue,
)  # fmt: skip


class Let(NamedTuple):
    """A name for an expression that later cases of the same choice use."""

    name: str
    expression: str


class Case(NamedTuple):
    """What stands if a condition holds: a word, or after ``=`` an expression."""

    value: str
    condition: str


@dataclass(frozen=True, slots=True)
class Choice:
    """An ordered choice: the first case whose condition holds."""

    cases: tuple[Case | Let, ...]
    otherwise: str

    def words(self) -> tuple[str, ...]:
        """Return the words that it can come to by itself, in order, without those of expressions."""
        values = [case.value for case in self.cases if isinstance(case, Case)]
        return tuple(dict.fromkeys(word for word in (*values, self.otherwise) if not word.startswith("=")))


@dataclass(frozen=True, slots=True)
class Pairwise:
    """A choice between two single values, ``x`` and ``y``, and the rank of its words: ``best`` takes the highest of all pairs."""

    choice: Choice
    ranks: tuple[str, ...]
    """From least to most; the first is also what two lists come to when one of them is empty."""


@dataclass(frozen=True, slots=True)
class Step:
    """A named choice over two records; later steps may ask for its word."""

    name: str
    choice: Choice


def choose(*cases: tuple[str, str] | Let, otherwise: str) -> Choice:
    return Choice(tuple(case if isinstance(case, Let) else Case(*case) for case in cases), otherwise)


def parse(expression: str) -> ast.expr:
    """Read an expression.

    Raises:
        ValueError: it is not one of the language.
    """
    try:
        tree = ast.parse(expression, mode="eval").body
    except SyntaxError as fault:
        raise ValueError("not an expression of the matching language") from fault
    for node in ast.walk(tree):
        if not isinstance(node, _NODES):
            raise ValueError(f"not in the matching language: {type(node).__name__}")
        if isinstance(node, ast.Call):
            _check_call(node)
        if isinstance(node, ast.Attribute | ast.Name):
            named = node.attr if isinstance(node, ast.Attribute) else node.id
            if named.startswith("_"):
                raise ValueError("not in the matching language: a private name")
    return tree


def _check_call(node: ast.Call) -> None:
    called = node.func
    if node.keywords:
        raise ValueError("not in the matching language: a named argument")
    if isinstance(called, ast.Attribute) and called.attr in ("startswith", "endswith"):
        return
    if isinstance(called, ast.Name) and (called.id in VOCABULARY or called.id in _BUILT_IN):
        return
    raise ValueError("not in the matching language: an unknown function")


parsed = cache(parse)
"""``parse``, for those who change nothing in the tree."""


@cache
def names_in(expression: str) -> frozenset[str]:
    """Return the plain names that an expression asks for: steps, lets, loop variables, records."""
    return frozenset(node.id for node in ast.walk(parsed(expression)) if isinstance(node, ast.Name))


def expressions_of(choice: Choice) -> Iterable[str]:
    for case in choice.cases:
        if isinstance(case, Let):
            yield case.expression
        else:
            yield case.condition
            if case.value.startswith("="):
                yield case.value[1:]
    if choice.otherwise.startswith("="):
        yield choice.otherwise[1:]


def in_order(steps: Iterable[Step]) -> list[Step]:
    """Put steps after those that they ask for.

    Raises:
        ValueError: two steps ask for each other.
    """
    waiting = {step.name: step for step in steps}
    asked = {
        name: {one for text_ in expressions_of(step.choice) for one in names_in(text_)} & waiting.keys()
        for name, step in waiting.items()
    }
    ordered: list[Step] = []
    while waiting:
        ready = [name for name in waiting if not asked[name] & waiting.keys()]
        if not ready:
            raise ValueError("levels that ask for each other")
        ordered.extend(waiting.pop(name) for name in ready)
    return ordered


# To Python -----------------------------------------------------------------------------------------------------


class _Rename(ast.NodeTransformer):
    """Turn a record's columns into local names, and steps that this model does not have into ``'missing'``."""

    def __init__(self, steps: frozenset[str], absent: frozenset[str]) -> None:
        self.columns: set[tuple[str, str]] = set()
        self._steps, self._absent = steps, absent

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id in ("a", "b"):
            self.columns.add((node.value.id, node.attr))
            return ast.Name(f"{node.value.id}_{node.attr}", ast.Load())
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in self._absent:
            return ast.Constant("missing")
        return ast.Name(f"step_{node.id}", ast.Load()) if node.id in self._steps else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id == "best":
            pairwise, ours, theirs = node.args
            assert isinstance(pairwise, ast.Name)
            return ast.Call(
                ast.Name(f"best_{pairwise.id}", ast.Load()), [self.visit(ours), self.visit(theirs)], []
            )
        if isinstance(node.func, ast.Name) and node.func.id == "commoner":
            one, other, table = node.args
            asked = ast.Subscript(ast.Name("frequency", ast.Load()), table, ast.Load())
            return ast.Call(node.func, [self.visit(one), self.visit(other), asked], [])
        return self.generic_visit(node)


def _python(expression: str, rename: _Rename) -> str:
    return ast.unparse(ast.fix_missing_locations(rename.visit(parse(expression))))


def _value(value: str, rename: _Rename, code: Mapping[str, int] | None) -> str:
    if value.startswith("="):
        return _python(value[1:], rename)
    return repr(value) if code is None else str(code[value])


def _choice_lines(
    choice: Choice, target: str, rename: _Rename, depth: int, code: Mapping[str, int] | None = None
) -> list[str]:
    """Write a choice as nested ifs; a let opens one level more, so that nothing is worked out before it is asked for."""
    lines: list[str] = []
    word = "if"
    for case in choice.cases:
        pad = "    " * depth
        if isinstance(case, Let):
            if word == "elif":
                lines.append(f"{pad}else:")
                depth += 1
                word = "if"
            lines.append(f"{'    ' * depth}{case.name} = {_python(case.expression, rename)}")
        else:
            lines.append(f"{pad}{word} {_python(case.condition, rename)}:")
            lines.append(f"{pad}    {target}{_value(case.value, rename, code)}")
            word = "elif"
    pad = "    " * depth
    if word == "elif":
        lines.append(f"{pad}else:")
        pad += "    "
    lines.append(f"{pad}{target}{_value(choice.otherwise, rename, code)}")
    return lines


def pairwise_source(name: str, pairwise: Pairwise) -> str:
    """Write the function that weighs two values, and ``best`` of two lists of them."""
    rename = _Rename(frozenset(), frozenset())
    code = {word: rank for rank, word in enumerate(pairwise.ranks)}
    top = len(pairwise.ranks) - 1
    return "\n".join((
        f"def rank_{name}(x, y):",
        *_choice_lines(pairwise.choice, "return ", rename, 1, code),
        f"def best_{name}(ours, theirs):",
        "    best = 0",
        "    for x in ours:",
        "        for y in theirs:",
        f"            rank = rank_{name}(x, y)",
        "            if rank > best:",
        f"                if rank == {top}:",
        f"                    return {pairwise.ranks[-1]!r}",
        "                best = rank",
        f"    return WORDS_{name}[best]",
        "",
    ))  # fmt: skip


def comparer_source(
    steps: Iterable[Step], results: Iterable[str], absent: Iterable[str], extras: Iterable[str]
) -> str:
    """Write ``compare(a, b, frequency)``: a tuple of the result steps' words, then the extra steps' values."""
    steps = list(steps)
    rename = _Rename(frozenset(step.name for step in steps), frozenset(absent))
    body = [line for step in steps for line in _choice_lines(step.choice, f"step_{step.name} = ", rename, 1)]
    words = ", ".join(f"step_{name}" for name in results)
    last = ", ".join((f"({words},)", *(_python(extra, rename) for extra in extras)))
    fetched = [f"    {record}_{column} = {record}.{column}" for record, column in sorted(rename.columns)]
    return "\n".join(("def compare(a, b, frequency):", *fetched, *body, f"    return {last}", ""))


@dataclass(frozen=True, slots=True)
class KeyRule:
    """A blocking rule: the texts that it makes of a record ``a``, each a key."""

    text: str
    """An f-string of parts that are set apart by spaces."""
    when: str = "True"
    each: tuple[tuple[str, str], ...] = ()
    """Loop variables and the lists that they run over."""


def blocker_source(rules: Mapping[str, KeyRule]) -> str:
    """Write ``keys(a)``: a list of (rule, text) of a record, in the order of the rules."""
    rename = _Rename(frozenset(), frozenset())
    body: list[str] = []
    for name, rule in rules.items():
        depth = 1
        condition = _python(rule.when, rename)
        if condition != "True":
            body.append(f"    if {condition}:")
            depth += 1
        for variable, column in rule.each:
            body.append(f"{'    ' * depth}for {variable} in {_python(column, rename)}:")
            depth += 1
        body.append(f"{'    ' * depth}found.append(({name!r}, {_python(rule.text, rename)}))")
    fetched = [f"    {record}_{column} = {record}.{column}" for record, column in sorted(rename.columns)]
    return "\n".join(("def keys(a):", *fetched, "    found = []", *body, "    return found", ""))


def compiled(source: str, name: str, **known: Any) -> Callable[..., Any]:
    """Compile a source that was written here, from checked expressions only, and return its function ``name``."""
    space: dict[str, Any] = {**VOCABULARY, **known}
    exec(compile(source, f"<matching {name}>", "exec"), space)  # noqa: S102 - our own text, of a closed language
    function: Callable[..., Any] = space[name]
    return function
