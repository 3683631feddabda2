"""The one generator of SQL: compiles the definitions of ``mpi.matching`` to the dialect of DuckDB.

A pair is a row whose columns are those of record ``a`` and record ``b``, each with that letter before its name (``a_number``). Of a
normalised record's columns a date is three numbers (``a_birth_0``: year), a list of names a list beside the list of its sounds
(``a_given``, ``a_given_sounds``), and places a list of structs that hold their district too (``outward``). Two columns more say
how rare the first given and family name is (``a_given_part``, ``a_family_part``).

Levels are small numbers, ``code_of`` says which. Nothing is ever null; an index past the end of a list is, and counts as untrue.
"""

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple, TypeGuard

from mpi.matching.definition import (
    COLUMNS,
    COMPARATORS,
    DECADE,
    EITHER_LATER_BIRTH,
    EITHER_PLACEHOLDER,
    OPEN,
    PAIRWISES,
    PLACE_PARTS,
    Program,
)
from mpi.matching.language import (
    Case,
    Choice,
    KeyRule,
    Pairwise,
    Step,
    choose,
    expressions_of,
    names_in,
    parsed,
)
from mpi.matching.text import KINDS_OF_STREET, LETTERS_OF_A_WORD

WORDS: tuple[str, ...] = tuple(
    dict.fromkeys(
        word
        for comparator in COMPARATORS.values()
        for words in (("missing",), comparator.levels, *(step.choice.words() for step in comparator.steps))
        for word in words
    )
)
SOUNDED = ("given", "family", "previous", "halves")
"""Lists of names that have their sounds beside them."""


def table_columns(name: str) -> tuple[str, ...]:
    """Return the table's columns that hold a column of a normalised record."""
    if COLUMNS[name] == "date":
        return tuple(f"{name}_{part}" for part in range(3))
    return (name, f"{name}_sounds") if name in SOUNDED else (name,)


def code_of(word: str) -> int:
    """Return the number of a level."""
    return _CODES[word]


def word_of(code: int) -> str:
    """Return the level that a number stands for."""
    return _WORDS[code]


_WORDS = tuple(dict.fromkeys((*WORDS, "swapped", "no", "yes", OPEN)))
_CODES = {word: code for code, word in enumerate(_WORDS)}
WORD_COUNT = len(_WORDS)
NOT_SAID = 255
"""No level's number."""


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class _Sql(NamedTuple):
    """A piece of SQL and its type: text, number, flag, texts, date, place, places, level. ``sounds``: beside names, their sounds."""

    text: str
    kind: str
    sounds: str = ""


@dataclass(frozen=True, slots=True)
class _Scope:
    """What names stand for: the steps of a program, loop variables and lets."""

    steps: frozenset[str] = frozenset()
    values: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()
    names: Mapping[str, _Sql] | None = None
    bests: bool = False
    """Whether what ``best`` comes to is a column."""
    record: str = ""
    """Before a column's name; empty where the letter of the record itself is: ``a_``."""

    def having(self, name: str, what: _Sql) -> "_Scope":
        return replace(self, names={**(self.names or {}), name: what})


def _sql(node: ast.expr, scope: _Scope) -> _Sql:
    """Compile an expression of the matching language."""
    match node:
        case ast.Constant(value=str() as text):
            return _Sql(quoted(text), "word")
        case ast.Constant(value=bool() as flag):
            return _Sql("true" if flag else "false", "flag")
        case ast.Constant(value=int() as number):
            return _Sql(str(number), "number")
        case ast.Constant(value=float() as number):
            return _Sql(repr(number), "number")
        case ast.Name(id=name):
            return _named(name, scope)
        case ast.Attribute(value=ast.Name(id=("a" | "b") as record), attr=column):
            return _column(record, column, scope)
        case ast.Attribute(value=value, attr=part):
            return _part(_sql(value, scope), part)
        case ast.Subscript(value=value, slice=ast.Constant(value=int() as place)):
            return _item(_sql(value, scope), place)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _joined_lists(_sql(left, scope), _sql(right, scope))
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _Sql(f"({_sql(left, scope).text} * {_sql(right, scope).text})", "number")
        case ast.BoolOp(op=op, values=values):
            return _Sql(_in_turn([_true(value, scope) for value in values], isinstance(op, ast.And)), "flag")
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _Sql(f"(NOT {_true(operand, scope)})", "flag")
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return _Sql(_compared(left, op, right, scope), "flag")
        case ast.Call(func=ast.Attribute(value=value, attr=method), args=[argument]):
            function = {"startswith": "starts_with", "endswith": "ends_with"}[method]
            return _Sql(f"{function}({_sql(value, scope).text}, {_sql(argument, scope).text})", "flag")
        case ast.Call(func=ast.Name(id=function), args=arguments):
            return _called(function, arguments, scope)
    raise ValueError(f"cannot be said in SQL: {ast.unparse(node)}")


def _in_turn(conditions: Sequence[str], is_and: bool) -> str:
    """Join conditions. The engine reorders those of an AND as it likes: a CASE keeps a dear one behind the cheap ones before it."""
    for place, condition in enumerate(conditions):
        if place and any(dear in condition for dear in _DEAR):
            before = _in_turn(conditions[:place], is_and)
            rest = _in_turn(conditions[place:], is_and)
            return (
                f"CASE WHEN {before} THEN {rest} ELSE false END"
                if is_and
                else f"CASE WHEN {before} THEN true ELSE {rest} END"
            )
    return "(" + (" AND " if is_and else " OR ").join(conditions) + ")"


def _true(node: ast.expr, scope: _Scope) -> str:
    """Compile an expression as a condition: empty and zero are false, as in Python."""
    found = _sql(node, scope)
    if found.kind == "flag":
        return found.text
    if found.kind == "number":
        return f"{found.text} <> 0"
    if found.kind in ("texts", "places"):
        return f"len({found.text}) > 0"
    return f"{found.text} <> ''"


def _named(name: str, scope: _Scope) -> _Sql:
    if scope.names and name in scope.names:
        return scope.names[name]
    if name in scope.absent:
        return _Sql(str(code_of("missing")), "level")
    if name in scope.values:
        return _Sql(name, "text")
    if name in scope.steps:
        return _Sql(f"step_{name}", "level")
    raise ValueError(f"nothing is called {name}")


def _column(record: str, column: str, scope: _Scope) -> _Sql:
    letter = scope.record if scope.record != "" else f"{record}_"
    name = f"{letter}{column}" if scope.record != "." else column
    kind = COLUMNS[column]
    return _Sql(name, kind, f"{name}_sounds" if column in SOUNDED else "")


def _part(place: _Sql, part: str) -> _Sql:
    mark = "_" if place.kind == "first-place" else "."
    return _Sql(f"{place.text}{mark}{part}", PLACE_PARTS.get(part, "text"))


def _item(of: _Sql, place: int) -> _Sql:
    if of.kind == "date":
        return _Sql(f"{of.text}_{place}", "number")
    if of.kind == "text":
        return _Sql(f"left({of.text}, 1)" if place == 0 else f"{of.text}[{place + 1}]", "letter")
    return _Sql(f"{of.text}[{place + 1}]", {"texts": "text", "places": "place"}[of.kind])


def _joined_lists(one: _Sql, other: _Sql) -> _Sql:
    sounds = f"list_concat({one.sounds}, {other.sounds})" if one.sounds and other.sounds else ""
    return _Sql(f"list_concat({one.text}, {other.text})", one.kind, sounds)


_SIGNS: Mapping[type[ast.cmpop], str] = {
    ast.Eq: "=", ast.NotEq: "<>", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip


def _compared(left: ast.expr, op: ast.cmpop, right: ast.expr, scope: _Scope) -> str:
    one = _sql(left, scope)
    if isinstance(op, ast.In | ast.NotIn):
        word = "IN" if isinstance(op, ast.In) else "NOT IN"
        if isinstance(right, ast.Tuple):
            values = [str(ast.literal_eval(value)) for value in right.elts]
            listed = ", ".join(
                str(code_of(value)) if one.kind == "level" else quoted(value) for value in values
            )
            return f"{one.text} {word} ({listed})"
        found = f"list_contains({_sql(right, scope).text}, {one.text})"
        return found if word == "IN" else f"(NOT {found})"
    other = _sql(right, scope)
    if one.kind == "level" and isinstance(right, ast.Constant):
        other = _Sql(str(code_of(str(ast.literal_eval(right)))), "level")
    if one.kind == "first-place":
        return "(" + " AND ".join(f"{one.text}_{part} = {other.text}_{part}" for part in PLACE_PARTS) + ")"
    if one.kind == other.kind == "letter" and one.text.startswith("left("):
        # The first letter as a number: a third of the cost of cutting it off.
        one, other = (_Sql(f"unicode({side.text[5:-4]})", "number") for side in (one, other))
    return f"{one.text} {_SIGNS[type(op)]} {other.text}"


# Functions -----------------------------------------------------------------------------------------------------


def _called(function: str, arguments: list[ast.expr], scope: _Scope) -> _Sql:
    if function == "any":
        assert isinstance(arguments[0], ast.GeneratorExp)
        return _Sql(f"len({_filtered(arguments[0], scope)}) > 0", "flag")
    if function == "min" and isinstance(arguments[0], ast.GeneratorExp):
        return _Sql(f"list_min({_filtered(arguments[0], scope)})", "text")
    if function == "best":
        assert isinstance(arguments[0], ast.Name)
        sides = [_sql(argument, scope) for argument in arguments[1:]]
        if scope.bests:
            return _Sql(f"best_{arguments[0].id}", "level")
        return _best(PAIRWISES[arguments[0].id], sides[0], sides[1])
    if function == "sound":
        sounds = _sql(arguments[0], scope).sounds
        if not sounds:
            raise ValueError("a sound of what has none beside it")
        return _Sql(sounds, "text")
    if function == "outward_of":
        assert isinstance(arguments[0], ast.Attribute) and arguments[0].attr == "postcode"
        return _part(_sql(arguments[0].value, scope), "outward")
    if function == "commoner":
        one, other, table = arguments
        named = str(ast.literal_eval(table))
        mine, theirs = _sql(one, scope).text, _sql(other, scope).text
        less = f"a_{named}_part < b_{named}_part"
        equal = f"a_{named}_part = b_{named}_part AND {mine} <= {theirs}"
        return _Sql(f"CASE WHEN {less} OR ({equal}) THEN {mine} ELSE {theirs} END", "text")
    found = [_sql(argument, scope) for argument in arguments]
    text = [one.text for one in found]
    if function == "len":
        return _Sql(f"length({text[0]})" if found[0].kind == "text" else f"len({text[0]})", "number")
    if function in ("min", "max"):
        return _Sql(f"{'least' if function == 'min' else 'greatest'}({', '.join(text)})", found[0].kind)
    if function == "similarity":
        # As in Python: the lesser text first, rounded, so that a last bit puts no pair on another level.
        return _Sql(
            f"round(jaro_winkler_similarity(least({text[0]}, {text[1]}), greatest({text[0]}, {text[1]})), 6)",
            "number",
        )
    if function == "one_edit":
        return _Sql(
            f"CASE WHEN abs(length({text[0]}) - length({text[1]})) < 2"
            f" THEN damerau_levenshtein({text[0]}, {text[1]}) = 1 ELSE false END",
            "flag",
        )
    if function == "digits":
        year, month, day = (f"{text[0]}_{part}" for part in range(3))
        return _Sql(f"lpad(CAST({year}::INTEGER * 10000 + {month} * 100 + {day} AS VARCHAR), 8, '0')", "text")
    if function == "count_words":
        counted = f"len(list_distinct(string_split({text[0]}, ' ')))"
        return _Sql(
            f"CASE WHEN {text[0]} = '' THEN 0 WHEN instr({text[0]}, ' ') = 0 THEN 1 ELSE {counted} END",
            "number",
        )
    if function == "count_common":
        mine, theirs = text
        common = f"len(list_intersect(string_split({mine}, ' '), string_split({theirs}, ' ')))"
        # Most are of one word, and need no lists.
        single = f"instr({mine}, ' ') = 0 AND instr({theirs}, ' ') = 0"
        return _Sql(
            f"CASE WHEN {single} THEN CAST({mine} = {theirs} AND {mine} <> '' AS BIGINT) ELSE {common} END",
            "number",
        )
    if function == "telling_words":
        kinds = ", ".join(quoted(kind) for kind in KINDS_OF_STREET)
        return _Sql(
            f"list_filter(string_split({text[0]}, ' '), lambda one: length(one) >= {LETTERS_OF_A_WORD} AND one NOT IN ({kinds}))",
            "texts",
        )
    if function == "system_of":
        return _Sql(f"split_part({text[0]}, '|', 1)", "text")
    if function == "value_of":
        return _Sql(f"substr({text[0]}, instr({text[0]}, '|') + 1)", "text")
    raise ValueError(f"no SQL for {function}")


def _asks_for_sound(node: ast.AST, variable: str) -> bool:
    return any(
        isinstance(one, ast.Call)
        and isinstance(one.func, ast.Name)
        and one.func.id == "sound"
        and isinstance(one.args[0], ast.Name)
        and one.args[0].id == variable
        for one in ast.walk(node)
    )


def _looped(of: _Sql, variable: str, with_sounds: bool) -> tuple[str, _Sql]:
    """Return the list to run over and what the loop variable stands for in it."""
    element = {"texts": "text", "places": "place"}[of.kind]
    if with_sounds:
        return f"list_zip({of.text}, {of.sounds})", _Sql(f"{variable}[1]", element, f"{variable}[2]")
    return of.text, _Sql(variable, element)


def _short(condition: str) -> str:
    # A plain AND works out both sides for every row; the condition of a CASE stops where it can.
    return (
        f"CASE WHEN {condition} THEN true ELSE false END"
        if " AND " in condition or " OR " in condition
        else condition
    )


def _filtered(node: ast.GeneratorExp, scope: _Scope) -> str:
    """Compile a generator to the list of those values of its first variable for which there is one of the others."""

    def inner(place: int, scope: _Scope) -> str:
        loop = node.generators[place]
        assert isinstance(loop.target, ast.Name)
        variable = loop.target.id
        conditions: list[ast.expr] = list(loop.ifs)
        last = place == len(node.generators) - 1
        if last and not (isinstance(node.elt, ast.Name) and node.elt.id == variable):
            conditions.append(node.elt)
        elif last and not conditions:
            conditions = []
        sounds = any(_asks_for_sound(one, variable) for one in ast.walk(node))
        over, stands = _looped(_sql(loop.iter, scope), variable, sounds)
        within = scope.having(variable, stands)
        said = [_true(condition, within) for condition in conditions]
        if not last:
            said.append(f"len({inner(place + 1, within)}) > 0")
        if not said:
            return over
        return f"list_filter({over}, lambda {variable}: {_short(' AND '.join(said))})"

    return inner(0, scope)


def _best(pairwise: Pairwise, ours: _Sql, theirs: _Sql) -> _Sql:
    """Compile the highest rank of all pairs of two lists."""
    sounds = any(_asks_for_sound(parsed(text), "x") for text in expressions_of(pairwise.choice))
    mine, x = _looped(ours, "x", sounds)
    other, y = _looped(theirs, "y", sounds)
    ranks = {word: str(rank) for rank, word in enumerate(pairwise.ranks)}
    rank = _choice(pairwise.choice, _Scope(names={"x": x, "y": y}), ranks)
    best = f"list_max(list_transform({mine}, lambda x: list_max(list_transform({other}, lambda y: {rank}))))"
    coded = " ".join(
        f"WHEN {place} THEN {code_of(word)}" for place, word in enumerate(pairwise.ranks) if place
    )
    return _Sql(f"CASE {best} {coded} ELSE {code_of(pairwise.ranks[0])} END", "level")


class Best(NamedTuple):
    """``best`` of a list of either record, each of one column or of several put together."""

    pairwise: str
    lists: tuple[tuple[str, ...], tuple[str, ...]]


@cache
def bests_of(step: Step) -> tuple[Best, ...]:
    """Return what a step asks of two lists by ``best``."""
    found: dict[Best, None] = {}
    for text in expressions_of(step.choice):
        for node in ast.walk(parsed(text)):
            if is_best(node):
                name, one, other = node.args
                assert isinstance(name, ast.Name)
                found[Best(name.id, (_together(one), _together(other)))] = None
    return tuple(found)


def _together(node: ast.expr) -> tuple[str, ...]:
    if isinstance(node, ast.BinOp):
        return _together(node.left) + _together(node.right)
    assert isinstance(node, ast.Attribute)
    return (node.attr,)


def is_best(node: ast.AST) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "best"


def element_columns(column: str) -> tuple[str, ...]:
    """Return what stands in a table of single values of a list: the parts of a place, a name and its sound."""
    if COLUMNS[column] == "places":
        return (*PLACE_PARTS, "outward")
    return ("text", "sound") if column in SOUNDED else ("text",)


@cache
def pairwise_statement(best: Best, pairs: str) -> str:
    """Write the rank (``said``) of every pair of single values: ``element_columns`` of either, after ``x_`` and ``y_``, and ``pair``."""
    pairwise = PAIRWISES[best.pairwise]
    names = {
        letter: _Sql(letter, "first-place")
        if COLUMNS[column] == "places"
        else _Sql(f"{letter}_text", "text", f"{letter}_sound" if column in SOUNDED else "")
        for letter, (column, *_) in zip("xy", best.lists, strict=True)
    }
    ranks = {word: str(rank) for rank, word in enumerate(pairwise.ranks)}
    said = _choice(pairwise.choice, _Scope(names=names), ranks)
    return f"SELECT pair, CAST({said} AS UTINYINT) AS said FROM {pairs}"


# Choices -------------------------------------------------------------------------------------------------------

_DEAR = ("jaro_winkler", "damerau", "list_intersect")


def _choice(choice: Choice, scope: _Scope, words: Mapping[str, str] | None = None) -> str:
    """Compile a choice to CASE. A dear let that is asked for again is worked out once, as the variable of a list of one."""

    def value(text: str, scope: _Scope) -> str:
        if text.startswith("="):
            return _sql(parsed(text[1:]), scope).text
        return words[text] if words is not None else str(code_of(text))

    def rest(place: int, scope: _Scope) -> str:
        whens: list[str] = []
        for at in range(place, len(choice.cases)):
            case = choice.cases[at]
            if isinstance(case, Case):
                condition = _true(parsed(case.condition), scope)
                whens.append(f"WHEN {condition} THEN {value(case.value, scope)}")
                continue
            said = _sql(parsed(case.expression), scope)
            if said.kind != "flag" and said.kind != "number":
                said = _Sql(_true(parsed(case.expression), scope), "flag")
            asked = sum(case.name in names_in(text) for text in _after(choice, at))
            if asked > 1 and any(dear in said.text for dear in _DEAR):
                bound = scope.having(case.name, _Sql(case.name, said.kind))
                let = f"[{_short(said.text) if said.kind == 'flag' else said.text}]"
                last = f"list_transform({let}, lambda {case.name}: {rest(at + 1, bound)})[1]"
                return _case(whens, last)
            scope = scope.having(case.name, said)
        return _case(whens, value(choice.otherwise, scope))

    return rest(0, scope)


def _case(whens: list[str], otherwise: str) -> str:
    return f"CASE {' '.join(whens)} ELSE {otherwise} END" if whens else otherwise


def _after(choice: Choice, place: int) -> Iterable[str]:
    return expressions_of(Choice(choice.cases[place + 1 :], choice.otherwise))


# One record ----------------------------------------------------------------------------------------------------


def condition_of(node: ast.expr) -> str:
    """Compile a condition that asks for one record only, over a table of such records; never null.

    Raises:
        ValueError: it cannot be said without what stands beside the table.
    """
    return f"coalesce({_true(node, _Scope(record='.'))}, false)"


def expression_of(node: ast.expr) -> str:
    """Compile what one record holds, over a table of such records; null where it holds none.

    Raises:
        ValueError: it cannot be said without what stands beside the table.
    """
    return _sql(node, _Scope(record=".")).text


# Statements ----------------------------------------------------------------------------------------------------


def compare_statement(program: Program, pairs: str, kept: Iterable[str] = ()) -> str:
    """Write the whole comparison of every row of ``pairs`` in one: columns ``level_<field>`` and what ``compare`` tells beside them.

    Args:
        kept: columns of ``pairs`` to pass through.
    """
    values = frozenset(("given_value", "family_value"))
    scope = _Scope(frozenset(step.name for step in program.steps), values, program.absent)
    statement = pairs
    for layer in _layers(program):
        columns = [
            f"{_choice(step.choice, scope)} AS {step.name}"
            if step.name in values
            else f"CAST({_choice(step.choice, scope)} AS UTINYINT) AS step_{step.name}"
            for step in layer
        ]
        statement = f"(SELECT *, {', '.join(columns)} FROM {statement})"
    told = [
        *kept,
        *(f"step_{name} AS level_{name}" for name in program.fields),
        "given_value",
        "family_value",
        f"CASE WHEN {_true(parsed(DECADE), scope)} THEN least(a_birth_0, b_birth_0) // 10 ELSE -1 END AS decade",
        f"{_true(parsed(EITHER_PLACEHOLDER), scope)} AS is_placeholder",
        f"{_true(parsed(EITHER_LATER_BIRTH), scope)} AS is_later_birth",
    ]
    return f"SELECT {', '.join(told)} FROM {statement}"


TOLD = tuple(
    Step(name, choose(("yes", condition), otherwise="no"))
    for name, condition in (
        ("is_placeholder", EITHER_PLACEHOLDER),
        ("is_later_birth", EITHER_LATER_BIRTH),
        ("has_decade", DECADE),
    )
)
"""What is told beside the levels, as steps."""


def step_statement(step: Step, program: Program, pairs: str) -> str:
    """Write one step over every row of ``pairs``: its number, ``pair``, and what it comes to, ``said``.

    ``pairs`` has ``asked_columns`` of either record, and of earlier steps the words as numbers (``step_<name>``) and the texts; what
    ``best`` comes to is there as well (``best_<name>``), a word's number.
    """
    values = frozenset(("given_value", "family_value"))
    steps = frozenset(one.name for one in program.steps)
    said = _choice(step.choice, _Scope(steps, values, program.absent, bests=True))
    if step.name not in values:
        said = f"CAST({said} AS UTINYINT)"
    return f"SELECT pair, {said} AS said FROM {pairs}"


@cache
def asked_columns(step: Step) -> tuple[str, ...]:
    """Return the table's columns that a step looks at, but for what only ``best`` does."""
    columns: dict[str, None] = {}

    def look(node: ast.AST) -> None:
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in ("a", "b")
        ):
            columns.update(dict.fromkeys(table_columns(node.attr)))
            return
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "commoner":
            columns[f"{ast.literal_eval(node.args[2])}_part"] = None
        if is_best(node):
            return
        for child in ast.iter_child_nodes(node):
            look(child)

    for text in expressions_of(step.choice):
        look(parsed(text))
    return tuple(columns)


def _layers(program: Program) -> list[list[Step]]:
    """Put into one SELECT all steps that ask only for those of earlier ones: planning costs as much as there are layers."""
    depth: dict[str, int] = {}
    layers: list[list[Step]] = []
    for step in program.steps:
        asked = {name for text in expressions_of(step.choice) for name in names_in(text)} & depth.keys()
        depth[step.name] = 1 + max((depth[name] for name in asked), default=-1)
        if depth[step.name] == len(layers):
            layers.append([])
        layers[depth[step.name]].append(step)
    return layers


def columns_of(program: Program) -> frozenset[str]:
    """Return the columns of a normalised record that a program asks for."""
    asked = {"birth", "is_placeholder", "birth_order"}
    for step in program.steps:
        for text in expressions_of(step.choice):
            for node in ast.walk(parsed(text)):
                if (
                    isinstance(node, ast.Attribute)
                    and isinstance(node.value, ast.Name)
                    and node.value.id in ("a", "b")
                ):
                    asked.add(node.attr)
    return frozenset(asked)


def joined_lists(rule: KeyRule) -> dict[str, tuple[str, ...]]:
    """Return what a blocking rule puts together to one list to run over: a name for it, and the columns of a record."""
    found = {}
    for _, expression in rule.each:
        if columns := _joined(parsed(expression)):
            found["_".join(columns)] = columns
    return found


def _joined(node: ast.expr) -> tuple[str, ...]:
    """Return the columns of lists put together, in order; none if it is not that."""
    match node:
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return (*_columns_joined(left), *_columns_joined(right))
    return ()


def _columns_joined(node: ast.expr) -> tuple[str, ...]:
    return (node.attr,) if isinstance(node, ast.Attribute) else _joined(node)


def place_parts(rules: Iterable[KeyRule]) -> tuple[str, ...]:
    """Return the parts of a place that blocking rules ask for, as the table names them."""
    asked = set()
    for rule in rules:
        for text in (rule.text, *(expression for _, expression in rule.each)):
            for node in ast.walk(parsed(text)):
                match node:
                    case ast.Call(func=ast.Name(id="outward_of")):
                        asked.add("outward")
                    case ast.Attribute(value=ast.Name(id="p"), attr=part):
                        asked.add(part)
    return tuple(sorted(asked))


def columns_asked(rule: KeyRule, *, are_joined: bool = False) -> tuple[str, ...]:
    """Return the table's columns that a blocking rule asks for. ``are_joined``: of lists put together, the whole (``joined_lists``)."""
    key = parsed(rule.text)
    found: dict[str, None] = {}
    for variable, expression in ("", rule.text), ("", rule.when), *rule.each:
        tree = parsed(expression)
        columns = [
            one.attr
            for one in ast.walk(tree)
            if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name) and one.value.id == "a"
        ]
        is_joined = are_joined and bool(_joined(tree))
        for column in ["_".join(_joined(tree))] if is_joined else columns:
            told = (column, f"{column}_sounds") if is_joined else table_columns(column)
            has_sounds = _asks_for_sound(key, variable)
            found |= dict.fromkeys(one for one in told if has_sounds or not one.endswith("_sounds"))
    return tuple(found)


def key_statement(
    name: str, rule: KeyRule, records: str, *, with_text: bool = False, are_joined: bool = False
) -> str:
    """Write the keys of a blocking rule: (row, key) of every record that has one, the key a 64-bit hash; if wanted its text too.

    The hash is of the parts of the text: they are set apart by spaces, and only the last of them may hold one.

    Args:
        are_joined: lists that a rule puts together are columns of the table already (``joined_lists``).
    """
    scope = _Scope(record=".")
    for variable, _ in rule.each:
        scope = scope.having(variable, _Sql(variable, "place" if variable == "p" else "text"))
    lists: list[tuple[str, str]] = []
    for variable, expression in rule.each:
        tree = parsed(expression)
        over = _filtered(tree, scope) if isinstance(tree, ast.GeneratorExp) else ""
        sounds = _asks_for_sound(parsed(rule.text), variable)
        if are_joined and (joined := "_".join(_joined(tree))):
            found = _Sql(joined, "texts", f"{joined}_sounds")
        else:
            found = _Sql(over, "places") if over else _sql(tree, scope)
        listed, stands = _looped(found, variable, sounds)
        lists.append((variable, listed))
        scope = scope.having(variable, stands)
    parts = _key_parts(parsed(rule.text), scope)
    hashed = (part for part in _key_parts(parsed(rule.text), scope, as_numbers=True) if part != quoted(" "))
    key = f"hash({', '.join((quoted(name), *hashed))})"
    if with_text:
        said = " || ".join(f"CAST({part} AS VARCHAR)" for part in parts)
        key = f"struct_pack(key := {key}, text := {said})"
    for depth, (variable, listed) in enumerate(reversed(lists)):
        key = f"list_transform({listed}, lambda {variable}: {key})"
        if depth:
            key = f"flatten({key})"
    condition = _true(parsed(rule.when), scope)
    chosen = f"unnest({key})" if lists else key
    statement = f"SELECT row, {chosen} AS key FROM {records} WHERE {condition}"
    return f"SELECT row, key.key AS key, key.text AS text FROM ({statement})" if with_text else statement


def _key_parts(node: ast.expr, scope: _Scope, *, as_numbers: bool = False) -> list[str]:
    """Return the parts of a key's text. ``as_numbers``: a date is its three numbers, which cost less than its digits."""
    if not isinstance(node, ast.JoinedStr):
        return [_sql(node, scope).text]
    parts = []
    for value in node.values:
        if isinstance(value, ast.Constant):
            parts.append(quoted(str(value.value)))
            continue
        assert isinstance(value, ast.FormattedValue)
        said = value.value
        if (
            as_numbers
            and isinstance(said, ast.Call)
            and isinstance(said.func, ast.Name)
            and said.func.id == "digits"
        ):
            date = _sql(said.args[0], scope).text
            parts.extend(f"{date}_{part}" for part in range(3))
        else:
            parts.append(_sql(said, scope).text)
    return parts
